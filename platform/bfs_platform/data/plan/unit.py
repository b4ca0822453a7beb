"""The rows of one shard, and what became of them: all that travels between the job and the workers, beside pictures."""

import json
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

from bfs_platform.data.record import Row


@dataclass(frozen=True, slots=True)
class Unit:
    """The rows of one shard, and the key under which its result may be used again."""

    shard: int
    rows: tuple[Row, ...]
    key: str

    def to_bytes(self) -> bytes:
        """The unit as compressed JSON."""
        value = {"shard": self.shard, "rows": [row.to_json() for row in self.rows], "key": self.key}
        return zlib.compress(json.dumps(value, ensure_ascii=False).encode(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Unit":
        """The reverse of `to_bytes`."""
        value = json.loads(zlib.decompress(data))
        return cls(value["shard"], tuple(Row.from_json(row) for row in value["rows"]), value["key"])


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one unit.

    `records` has per kept record [id, tight box, difference hash]; `rejects` {id, reason, detail}; `shapes` the sizes of the
    encoded columns, as the manifest states them; `seconds` what each stage took; `num_bytes` the size of the shard;
    `unread` how many captions a text encoder did not read whole, by encoder; `measures` has for each its value per kept record.
    """

    shard: int
    key: str
    sha256: str | None
    records: list[list[Any]] = field(default_factory=list)
    rejects: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    shapes: dict[str, int] = field(default_factory=dict)
    num_bytes: int = 0
    unread: dict[str, int] = field(default_factory=dict)
    measures: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The receipt as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt":
        """The reverse of `to_json`. Raises `ValueError` or `TypeError` for something else."""
        return cls(**json.loads(text))
