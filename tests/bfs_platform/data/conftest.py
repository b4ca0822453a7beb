"""Small drawn sources, and an encoder bundle with random weights."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_platform.data.spec import CheckSpec, DataSpec, EncodeSpec
from bfs_platform.storage.path import RemotePath

COLOURS = {"red": (0.8, 0.15, 0.1), "green": (0.1, 0.6, 0.2), "blue": (0.15, 0.25, 0.8), "yellow": (0.85, 0.75, 0.1)}


def draw_scene(index: int, size: int) -> tuple[dict[str, np.ndarray], str]:
    """A coloured disk with a soft shadow on a gradient: source, mask, GT and effect as uint8, and a caption."""
    draw = np.random.default_rng([5, index])
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    tint = draw.uniform(0.4, 0.8, 3)
    ground = np.clip(tint + 0.15 * (x[..., None] - 0.5) * draw.uniform(-1, 1, 3) - 0.2 * (y[..., None] - 0.5), 0, 1)
    centre, radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.12, 0.2)
    name = list(COLOURS)[index % len(COLOURS)]
    alpha = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * size + 0.5, 0, 1)[..., None]
    shadow = 0.5 * np.exp(-((x - centre[0] - 0.05) ** 2 / (2 * radius**2) + (y - centre[1] - radius) ** 2 / (0.1 * radius**2)))[..., None]
    colour = np.array(COLOURS[name]) * (1.1 - 0.4 * (y[..., None] - centre[1] + radius) / (2 * radius))
    picture = alpha * colour + (1 - alpha) * (1 - shadow) * ground
    effect = (shadow > 0.05) & (alpha < 0.5)
    arrays = {"source": picture, "mask": (alpha[..., 0] > 0.5), "GT": ground, "effect": effect[..., 0]}
    return {key: np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8) for key, value in arrays.items()}, f"a {name} disk"


def write_rorem(root: Path, num_records: int, size: int = 32, first: int = 0) -> Path:
    """A folder in RORem's layout."""
    entries = []
    for folder in ("source", "mask", "GT", "effect"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(first, first + num_records):
        pictures, caption = draw_scene(index, size)
        for folder, picture in pictures.items():
            Image.fromarray(picture).save(root / folder / f"{index:04d}.png")
        entries.append({folder: f"{folder}/{index:04d}.png" for folder in pictures} | {"caption": caption})
    (root / "meta.json").write_text(json.dumps(entries))
    return root


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
    from bfs_model.tiny import random_bundle

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
