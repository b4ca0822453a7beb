"""What has to change for a training set of very many records, beside more of the same."""

import math

from bfs_platform.data.plan.capacity import LISTED_BYTES

_PER_SHARD = 64  # of the recipes for photographs
_ENTRY_BYTES = 150  # of a shard in the manifest: its place, its size, its sha256
_MOST_SHARDS = 1_000_000  # 150 MB of manifest, which whoever opens the set reads
_MOST_LISTED = 10e9  # a disk has that


def changes(num_records: int) -> list[str]:
    """Each a line with its number; hours, nodes, storage and cost are those of `bfs data plan`, which needs a small build."""
    found = []
    if (listed := num_records * LISTED_BYTES) > _MOST_LISTED:
        found.append(f"{listed / 1e9:,.0f} GB of disk where the build's job runs, which lists all records: TMPDIR on such a volume")
    if (shards := math.ceil(num_records / _PER_SHARD)) > _MOST_SHARDS:
        found.append(
            f"{shards:,} shards of {_PER_SHARD} records are {shards * _ENTRY_BYTES / 1e9:,.1f} GB of manifest, which whoever opens the set "
            f"reads: records_per_shard={math.ceil(num_records / _MOST_SHARDS)}"
        )
    if found:
        found.append(f"for {num_records:,} records a build of some hundred first: bfs data plan takes nodes, hours and cost from it")
    return found
