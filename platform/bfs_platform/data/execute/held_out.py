"""Other sets whose pictures a build leaves out, so that nothing is trained on what evaluates: what they are, and what they show."""

from collections.abc import Iterator, Sequence

from bfs_platform.data.shard.reading import Dataset, open_dataset
from bfs_platform.data.stage.check import difference_hash
from bfs_platform.storage.path import location


def identities(folders: Sequence[str]) -> list[dict[str, str]]:
    """Name and content hash of each set. Raises `BadInput` or `IntegrityError` for what is none, or is damaged."""
    return [{"name": location(folder).name, "content_hash": open_dataset(folder).content_hash} for folder in folders]


def pictures(folders: Sequence[str]) -> Iterator[tuple[str, int]]:
    """What people call each record of those sets, and the difference hash of its composite. Reads every picture once."""
    for folder in folders:
        dataset = open_dataset(folder, verify=False)
        for start in range(0, len(dataset), 8):
            indices = range(start, min(start + 8, len(dataset)))
            composites = [picture for picture in dataset.pictures("composite", indices) if picture is not None]  # every record has one
            yield from zip(_names(dataset, folder, indices), map(difference_hash, composites), strict=True)


def _names(dataset: Dataset, folder: str, indices: range) -> list[str]:
    return [f"{record_id} of {location(folder).name}" for record_id in dataset.take(indices, ["id"])["id"]]
