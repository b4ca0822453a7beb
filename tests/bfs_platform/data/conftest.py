"""Small drawn sources, and an encoder bundle with random weights."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawn import write_rorem

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on the loopback interface, and the environment by which every client finds it. Yields its endpoint."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (settings | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}).items():
            patch.setenv(key, value)
        yield settings["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> RemotePath:
    """An empty bucket of its own for each test."""
    from pyarrow.fs import FileSystem

    name = f"b{abs(hash(request.node.nodeid)):x}"
    FileSystem.from_uri("s3://any?allow_bucket_creation=true")[0].create_dir(name)
    return RemotePath("s3", name)


@pytest.fixture
def upload() -> Callable[[Path, RemotePath], RemotePath]:
    """`upload(folder, place)` puts every file of a folder below `place`, and returns it."""

    def put(folder: Path, place: RemotePath) -> RemotePath:
        for path in folder.rglob("*"):
            if path.is_file():
                (place / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
        return place

    return put
