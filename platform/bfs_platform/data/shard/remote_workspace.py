"""A build that grows on an object store.

Stores have no rename and no lock, but a put is atomic. So what is collected lies under `.building/`, and final keys are only ever put
with final bytes: two runs of one build may overlap, and the set of the one that commits first stays right whatever the other still does.
The manifest, put last, is the commit. A dataset that is committed is never replaced by another one: readers of the first would find
the second's shards under their manifest.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.shard.file import shard_bytes, shard_name
from bfs_platform.data.shard.workspace import REJECTS
from bfs_platform.storage.manifests import put_manifest
from bfs_platform.storage.path import RemotePath, Status


class RemoteWorkspace:
    """The growing dataset at the prefix `output`; the same operations as `Workspace`."""

    def __init__(self, output: RemotePath) -> None:
        self.output = output
        self.root = output / ".building"
        self._entries: list[dict[str, Any]] = []

    @contextmanager
    def locked(self, owner: str) -> Iterator[None]:
        """Take the prefix for the build `owner` (a digest of what it makes). Two runs of one build may overlap: they put equal bytes.

        Raises `BadInput` when another build, running or stopped, has it.
        """
        claim = self.root / "build.json"
        try:
            held = json.loads(claim.read_bytes())["owner"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            held = None
        if held not in (None, owner):
            remedy = f"give that one's recipe and input, choose another prefix, or delete everything below {self.output}"
            raise BadInput("output", self.output, "holds the unfinished work of another build", remedy)
        claim.write_bytes(json.dumps({"owner": owner}).encode())
        yield

    def part(self, shard: int) -> RemotePath:
        """The object of a shard as it is collected."""
        return self.root / "parts" / f"part-{shard:05d}.parquet"

    def write_part(self, table: pa.Table, shard: int) -> tuple[str, int]:
        """Put a shard. Returns its sha256 and size."""
        data, digest = shard_bytes(table)
        self.part(shard).write_bytes(data)
        return digest, len(data)

    def store(self, receipt: Receipt) -> None:
        """Put a receipt, after its shard."""
        (self.root / "receipts" / f"{receipt.shard:05d}.json").write_bytes(receipt.to_json().encode())

    def receipt_of(self, unit: Unit) -> Receipt | None:
        """The valid receipt of `unit`: same key, and the shard it names is there with its size. None otherwise.

        The store itself keeps objects from rotting; readers check sha256.
        """
        if f".building/receipts/{unit.shard:05d}.json" not in self._found:
            return None
        try:
            receipt = Receipt.from_json((self.root / "receipts" / f"{unit.shard:05d}.json").read_bytes())
        except (OSError, ValueError, TypeError):
            return None
        status = self._found.get(f".building/parts/part-{unit.shard:05d}.parquet")
        whole = receipt.sha256 is None or (status is not None and status.st_size == receipt.num_bytes)
        return receipt if receipt.key == unit.key and whole else None

    def write_rejects(self, lines: Iterable[bytes]) -> RemotePath:
        """Put the list of rejects and return its place."""
        digest, num_bytes = hashlib.sha256(), 0
        with (self.output / REJECTS).open("wb") as file:
            for line in lines:
                file.write(line)
                digest.update(line)
                num_bytes += len(line)
        self._entries.append({"path": REJECTS, "bytes": num_bytes, "sha256": digest.hexdigest()})
        return self.output / REJECTS

    def assemble(self, receipts: Iterable[tuple[Receipt, list[str]]]) -> None:
        """Put the shards at their places, with the records of these ids. Raises `FileNotFoundError` where a part is gone: another run
        of this build has committed, and cleared the collected parts away."""
        for receipt, ids in receipts:
            part, target = self.part(receipt.shard), self.output / shard_name(receipt.shard)
            if len(ids) == len(receipt.records) and receipt.sha256 is not None:
                part.copy_to(target)
                self._entries.append({"path": shard_name(receipt.shard), "bytes": receipt.num_bytes, "sha256": receipt.sha256})
            elif ids:
                table = pq.read_table(pa.BufferReader(part.read_bytes()), page_checksum_verification=True)
                data, sha256 = shard_bytes(table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))))
                target.write_bytes(data)
                self._entries.append({"path": shard_name(receipt.shard), "bytes": len(data), "sha256": sha256})

    def commit(self, kind: str, body: dict[str, Any], notes: dict[str, Any]) -> RemotePath:
        """Remove what does not belong to the dataset, put the manifest, clear the rest away."""
        listed = {entry["path"] for entry in self._entries}
        for name in self.output.files():
            if name not in listed and name.startswith("shards/"):
                (self.output / name).unlink(missing_ok=True)
        manifest = put_manifest(self.output, kind, body, self._entries, notes)
        self.remove()
        return manifest

    def remove(self) -> None:
        """Clear receipts and claim away."""
        for name in self.root.files():
            (self.root / name).unlink(missing_ok=True)

    @cached_property
    def _found(self) -> dict[str, Status]:
        return self.output.files()


def retract(output: RemotePath) -> None:
    """Take a damaged dataset's manifest away, so that nobody reads it while it is made again."""
    (output / integrity.MANIFEST).unlink(missing_ok=True)
