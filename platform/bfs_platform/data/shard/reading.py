"""Reading training sets: random access to records by number, nothing trusted that the manifest does not name."""

import errno
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bfs_model.errors import BadInput, IntegrityError
from bfs_model.picture.images import read_image
from bfs_platform.data.shard.file import PICTURES
from bfs_platform.data.spec import KIND
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.manifests import verify as verify_files
from bfs_platform.storage.path import Location, RemotePath, location, reachable

CACHE_BYTES = 512 * 2**20
# Each holds a descriptor, of which a process usually has 1024.
OPEN_FILES = 64
_NUMERIC = frozenset({"height", "width", "box"})


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
    """A training set of `len()` records, numbered in the order of its shards. Threads may read it; they take turns."""

    def __init__(self, root: Location, manifest: dict[str, Any], cache_bytes: int = CACHE_BYTES) -> None:
        self.root, self.manifest = root, manifest
        self.body: dict[str, Any] = manifest["body"]
        self._starts = [0, *accumulate(shard["num_records"] for shard in self.body["shards"])]
        self._lock = threading.Lock()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        # Per shard the first row of each group: small, so they stay when the file is closed.
        self._groups: dict[int, list[int]] = {}
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
        places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        out: dict[str, Any] = {name: [None] * len(indices) for name in columns}
        with self._lock:
            for position, index in enumerate(indices):
                shard, group, row = self._place(int(index))
                places.setdefault((shard, group), []).append((position, row))
            for (shard, group), members in places.items():
                for name, values in self._columns(shard, group, columns).items():
                    for position, row in members:
                        out[name][position] = values[row]
        for name in _NUMERIC.intersection(columns):
            out[name] = np.array(out[name], np.int32).reshape(len(indices), *([4] if name == "box" else []))
        return out

    def encodings(self, indices: Sequence[int] | np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Encoded columns as float32, read together: latents [n, C, h, w] of `z_bg_mean`, `z_comp_std` …, `prompt_embeds` of T5
        [n, L, D], `pooled_embeds` of CLIP [n, P]. Records whose latents are asked for must be of one size (see `buckets`).
        """
        taken = self.take(indices, [*names, "height", "width"])
        sizes = {(int(h), int(w)) for h, w in zip(taken["height"], taken["width"], strict=True)}
        return {name: _floats(taken[name]).reshape(len(indices), *self._shape(name, sizes)) for name in names}

    def _shape(self, name: str, sizes: set[tuple[int, int]]) -> tuple[int, ...]:
        """Of one record's encoding."""
        if name == "pooled_embeds":
            return (-1,)
        if name == "prompt_embeds":
            return self.body["text_tokens"], self.body["text_dim"]
        assert len(sizes) == 1, f"records of several sizes cannot be stacked: {sorted(sizes)}"
        ((height, width),) = sizes
        factor = self.body["vae_scale_factor"]
        return self.body["latent_channels"], height // factor, width // factor

    def latents(self, name: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """One column of latents, as `encodings` gives it."""
        return self.encodings(indices, [name])[name]

    def prompt_embeds(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """T5's token embeddings, as `encodings` gives them."""
        return self.encodings(indices, ["prompt_embeds"])["prompt_embeds"]

    def pooled_embeds(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """CLIP's pooled embeddings, as `encodings` gives them."""
        return self.encodings(indices, ["pooled_embeds"])["pooled_embeds"]

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
        if shard not in self._groups:
            self._open(shard)
        starts = self._groups[shard]
        inside = index - self._starts[shard]
        group = bisect_right(starts, inside) - 1
        return shard, group, inside - starts[group]

    def _open(self, shard: int) -> pq.ParquetFile:
        """The file of a shard; the one that was not used for longest is closed when there are `OPEN_FILES`."""
        if shard not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close(force=True)
            try:
                file = _parquet(self.root / self.body["shards"][shard]["path"])
            except (OSError, ValueError) as error:
                raise self._unreadable(shard, error) from None
            counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            self._files[shard], self._groups[shard] = file, [0, *accumulate(counts)]
        self._files.move_to_end(shard)
        return self._files[shard]

    def _columns(self, shard: int, group: int, names: Sequence[str]) -> dict[str, list[Any]]:
        """Columns of one row group: those that the cache lacks are read at once, and kept as long as it has room."""
        found = {}
        for name in names:
            if (shard, group, name) in self._cache:
                self._cache.move_to_end((shard, group, name))
                found[name] = self._cache[shard, group, name]
        missing = [name for name in names if name not in found]
        if not missing:
            return found
        try:
            table = self._open(shard).read_row_group(group, columns=missing)
        except OSError as error:
            raise self._unreadable(shard, error) from None
        for name in missing:
            found[name] = self._cache[shard, group, name] = table[name].to_pylist()
            self._cached_bytes += _size(found[name])
        while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
            self._cached_bytes -= _size(self._cache.popitem(last=False)[1])
        return found

    def _unreadable(self, shard: int, error: Exception) -> BadInput:
        path = self.root / self.body["shards"][shard]["path"]
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return BadInput("shard", path, "cannot be opened: this process has too many open files", "raise its limit (ulimit -n)")
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
