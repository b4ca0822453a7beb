"""Reading training sets: random access to records by number, nothing trusted that the manifest does not name."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bfs_model.errors import BadInput, IntegrityError
from bfs_model.images import read_image
from bfs_platform.data.finish import KIND
from bfs_platform.data.shard_file import PICTURES
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.manifests import verify as verify_files
from bfs_platform.storage.path import Location, RemotePath, location, reachable

CACHE_BYTES = 512 * 2**20


def open_dataset(
    directory: str | Path | RemotePath, stage: int | None = None, verify: bool = True, cache_bytes: int = CACHE_BYTES
) -> "Dataset":
    """Open a committed training set, in a directory or on an object store (`s3://bucket/prefix`; records are read by ranges).

    Args: `stage` that it must be of; `verify` hashes every file first (a worker whose driver did so may skip it; pages
    are checked on reading either way); `cache_bytes` of decoded columns are kept.
    Raises: `IntegrityError` naming what is missing or damaged, `BadInput` when it is of another stage.
    """
    root = reachable(location(directory), "dataset")
    if not root.is_dir():
        raise BadInput("dataset", directory, "is not a directory", "build one with jobs/build_stage1.py or jobs/build_stage2.py")
    manifest = verify_files(root, KIND) if verify else read_manifest(root, KIND)
    if stage is not None and manifest["body"]["stage"] != stage:
        found = manifest["body"]["stage"]
        raise BadInput("dataset", directory, f"is a stage-{found} set, not stage {stage}", f"build one with jobs/build_stage{stage}.py")
    return Dataset(root, manifest, cache_bytes)


class Dataset:
    """A training set of `len()` records, numbered in the order of its shards."""

    def __init__(self, root: Location, manifest: dict[str, Any], cache_bytes: int = CACHE_BYTES) -> None:
        self.root, self.manifest = root, manifest
        self.body: dict[str, Any] = manifest["body"]
        self._starts = [0, *accumulate(shard["num_records"] for shard in self.body["shards"])]
        self._files: dict[int, tuple[pq.ParquetFile, list[int]]] = {}
        self._cache: OrderedDict[tuple[int, int, str], list[Any]] = OrderedDict()
        self._cached_bytes, self._cache_bytes = 0, cache_bytes

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def content_hash(self) -> str:
        """Identity of the set: equal for equal content."""
        return str(self.manifest["content_hash"])

    @property
    def encoded(self) -> bool:
        """Whether latents and text embeddings are there."""
        return bool(self.body["encoded"])

    def take(self, indices: Sequence[int] | np.ndarray, columns: Sequence[str]) -> dict[str, Any]:
        """Columns of the records `indices`, in that order: numbers as arrays (`box` [n, 4]), texts and bytes as lists."""
        places = [self._place(int(i)) for i in indices]
        for shard, group in dict.fromkeys((shard, group) for shard, group, _ in places):
            self._load(shard, group, columns)
        out: dict[str, Any] = {}
        for name in columns:
            values = [self._group(shard, group, name)[row] for shard, group, row in places]
            numeric = name in ("height", "width", "box")
            out[name] = np.array(values, np.int32).reshape(len(values), *([4] if name == "box" else [])) if numeric else values
        return out

    def latents(self, name: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 [n, C, h, w] of `z_bg_mean`, `z_comp_std` …; the records must be of one size (see `buckets`)."""
        factor, channels = self.body["vae_scale_factor"], self.body["latent_channels"]
        taken = self.take(indices, [name, "height", "width"])
        sizes = {(int(h), int(w)) for h, w in zip(taken["height"], taken["width"], strict=True)}
        assert len(sizes) == 1, f"records of several sizes cannot be stacked: {sorted(sizes)}"
        height, width = sizes.pop()
        return _floats(taken[name]).reshape(len(taken[name]), channels, height // factor, width // factor)

    def prompt_embeds(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """T5's token embeddings, float32 [n, L, D]."""
        values = self.take(indices, ["prompt_embeds"])["prompt_embeds"]
        return _floats(values).reshape(len(values), self.body["text_tokens"], self.body["text_dim"])

    def pooled_embeds(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """CLIP's pooled embeddings, float32 [n, P]."""
        return _floats(self.take(indices, ["pooled_embeds"])["pooled_embeds"])

    def boxes(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """int32 [n, 4]: x0, y0, x1, y1 in pixels."""
        return self.take(indices, ["box"])["box"]

    def pictures(self, name: str, indices: Sequence[int] | np.ndarray) -> list[np.ndarray | None]:
        """uint8 arrays of `composite`, `background` [H, W, 3], `foreground` [H, W, 4], `object_mask`, `effect_mask` [H, W];
        None where a record has none."""
        assert name in PICTURES, f"{name} is not one of {', '.join(PICTURES)}"
        return [_decoded(name, data) for data in self.take(indices, [f"{name}_png"])[f"{name}_png"]]

    def buckets(self) -> dict[tuple[int, int], np.ndarray]:
        """Record numbers by (height, width), so that batches can be drawn from one size."""
        sizes = self.take(range(len(self)), ["height", "width"])
        pairs = np.stack([sizes["height"], sizes["width"]], axis=1)
        return {(int(h), int(w)): np.flatnonzero((pairs == (h, w)).all(axis=1)) for h, w in np.unique(pairs, axis=0)}

    def _place(self, index: int) -> tuple[int, int, int]:
        """Shard, row group and row of a record."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        starts = self._open(shard)[1]
        inside = index - self._starts[shard]
        group = bisect_right(starts, inside) - 1
        return shard, group, inside - starts[group]

    def _open(self, shard: int) -> tuple[pq.ParquetFile, list[int]]:
        if shard not in self._files:
            entry = self.body["shards"][shard]
            try:
                file = _parquet(self.root / entry["path"])
            except (OSError, ValueError) as error:
                raise self._damaged(shard, error) from None
            counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            self._files[shard] = file, [0, *accumulate(counts)]
        return self._files[shard]

    def _group(self, shard: int, group: int, column: str) -> list[Any]:
        """One column of one row group, kept as long as the cache has room."""
        key = shard, group, column
        if key not in self._cache:
            self._load(shard, group, [column])
        self._cache.move_to_end(key)
        return self._cache[key]

    def _load(self, shard: int, group: int, columns: Sequence[str]) -> None:
        """Read those columns of a row group that are not in the cache, all at once."""
        missing = [name for name in columns if (shard, group, name) not in self._cache]
        if not missing:
            return
        try:
            table = self._open(shard)[0].read_row_group(group, columns=missing)
        except OSError as error:
            raise self._damaged(shard, error) from None
        for name in missing:
            values = self._cache[shard, group, name] = table[name].to_pylist()
            self._cached_bytes += _size(values)
        while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
            self._cached_bytes -= _size(self._cache.popitem(last=False)[1])

    def _damaged(self, shard: int, error: Exception) -> IntegrityError:
        path = self.root / self.body["shards"][shard]["path"]
        return IntegrityError("shard", path, f"is damaged ({str(error).splitlines()[0]})", "build the dataset again")


def _parquet(path: Location) -> pq.ParquetFile:
    if isinstance(path, RemotePath):
        return pq.ParquetFile(path.open(), page_checksum_verification=True)
    return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)


def _floats(values: list[bytes]) -> np.ndarray:
    return np.stack([np.frombuffer(value, "<f4") for value in values]).astype(np.float32)


def _decoded(name: str, data: bytes) -> np.ndarray | None:
    if not data:
        return None
    image = read_image(data, key=name)
    if name == "foreground":
        return image.rgba()
    return image.rgb[..., 1] if name.endswith("mask") else image.rgb


def _size(values: list[Any]) -> int:
    return sum(len(v) if isinstance(v, bytes | str) else 16 for v in values)
