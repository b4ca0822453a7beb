"""Small drawn sources, and an encoder bundle with random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import write_rorem
from object_store import bucket, s3_server  # noqa: F401

from bfs_platform.data.spec import CheckSpec, DataSpec, EncodeSpec
from bfs_platform.storage.path import RemotePath


@pytest.fixture
def rorem(tmp_path: Path) -> Callable[..., Path]:
    """`rorem(num_records, size=32)` writes a folder in RORem's layout and returns it."""

    def make(num_records: int, size: int = 32, name: str = "input") -> Path:
        return write_rorem(tmp_path / name, num_records, size)

    return make


@pytest.fixture(scope="session")
def rorem_seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven records of 32×32 in RORem's layout; not to be changed."""
    return write_rorem(tmp_path_factory.mktemp("rorem"), 7)


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights: 16 latent channels, 4 pixels per latent."""
    from bfs_model.tiny.components import random_bundle

    return random_bundle(tmp_path_factory.mktemp("bundle") / "tiny-random")


@pytest.fixture
def pixel_spec() -> DataSpec:
    """Stage 1 without encoding: 32×32, three records per shard."""
    return small_spec(1, encode=False)


@pytest.fixture
def encoded_spec() -> DataSpec:
    """Stage 1 with encoding: 32×32, three records per shard, two images per batch."""
    return small_spec(1, encode=True)


def small_spec(stage: int, encode: bool) -> DataSpec:
    spec = DataSpec(
        stage=stage,
        buckets=((32, 32),),
        records_per_shard=3,
        max_reject_rate=0.5,
        checks=CheckSpec(duplicate_bits=None),
        encode=EncodeSpec(enabled=encode, batch_size=2),
    )
    return spec.named(f"tabletop_data_stage{stage}")


@pytest.fixture
def upload() -> Callable[[Path, RemotePath], RemotePath]:
    """`upload(folder, place)` puts every file of a folder below `place`, and returns it."""

    def put(folder: Path, place: RemotePath) -> RemotePath:
        for path in folder.rglob("*"):
            if path.is_file():
                (place / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
        return place

    return put
