"""Where a build grows: shards with their receipts beside the output, until all are there and the dataset is committed at once.

`.NAME.building/parts/` holds finished shards, `receipts/` one small JSON per shard, written after it. A build that was
killed finds them again; whatever has no receipt, or not the right one, is made anew.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.shard.file import shard_name, write_shard

REJECTS = "rejects.jsonl"


class Workspace:
    """The growing dataset beside `output`."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.root = output.parent / f".{output.name}.building"
        self.parts = self.root / "parts"
        self.receipts = self.root / "receipts"
        self.staging = self.root / "dataset"

    @contextmanager
    def locked(self, owner: str = "") -> Iterator[None]:
        """Create the workspace and hold it. Raises `BadInput` when another process builds the same output."""
        for directory in (self.parts, self.receipts):
            directory.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                remedy = "wait for it or choose another directory"
                raise BadInput("output", self.output, "is being built by another process", remedy) from None
            yield

    def part(self, shard: int) -> Path:
        """The file of a shard that is being collected."""
        return self.parts / f"part-{shard:05d}.parquet"

    def write_part(self, table: pa.Table, shard: int) -> tuple[str, int]:
        """Write a shard. Returns its sha256 and size."""
        part = self.part(shard)
        return write_shard(table, part), part.stat().st_size

    def store(self, receipt: Receipt) -> None:
        """Write a receipt, after its shard is in place."""
        path = self.receipts / f"{receipt.shard:05d}.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        temporary.write_text(receipt.to_json(), encoding="utf-8")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def receipt_of(self, unit: Unit) -> Receipt | None:
        """The valid receipt of `unit`: same key, and the shard it names is there with its sha256. None otherwise."""
        path = self.receipts / f"{unit.shard:05d}.json"
        try:
            receipt = Receipt.from_json(path.read_bytes())
        except (OSError, ValueError, TypeError):
            return None
        if receipt.key != unit.key:
            return None
        if receipt.sha256 is not None:
            part = self.part(unit.shard)
            if not part.is_file() or integrity.sha256_file(part) != receipt.sha256:
                return None
        return receipt

    def write_rejects(self, lines: Iterable[bytes]) -> Path:
        """Write the list of rejects and return its place."""
        with (self.root / REJECTS).open("wb") as file:
            file.writelines(lines)
        return self.root / REJECTS

    def assemble(self, receipts: Iterable[tuple[Receipt, list[str]]]) -> None:
        """Put the shards into a fresh staging folder, each with the records of these ids: as it is or without its near-copies.

        The collected ones stay for a later try.
        """
        shutil.rmtree(self.staging, ignore_errors=True)
        (self.staging / "shards").mkdir(parents=True)
        for receipt, ids in receipts:
            part, target = self.part(receipt.shard), self.staging / shard_name(receipt.shard)
            if ids and len(ids) < len(receipt.records):
                table = pq.read_table(part, page_checksum_verification=True)
                write_shard(table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))), target)
            elif ids:
                _link(part, target)
        shutil.copyfile(self.root / REJECTS, self.staging / REJECTS)

    def commit(self, kind: str, body: dict[str, Any], notes: dict[str, Any]) -> Path:
        """Rename what was assembled onto the output, with its manifest. Returns the manifest's path."""
        manifest = integrity.commit(self.staging, self.output, kind, body, notes)
        self.remove()
        return manifest

    def remove(self) -> None:
        """Clear the workspace away."""
        shutil.rmtree(self.root, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
