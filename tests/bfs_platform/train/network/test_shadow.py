"""The shadow network from its training to the layers of a stage-1 build."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import PASS

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_model.sampling import shadow_network
from bfs_model.sampling.shadow_network import LearnedShadow
from bfs_platform.config import resolve
from bfs_platform.data.execute.build import build
from bfs_platform.data.execute.work import UnitWorker
from bfs_platform.data.model.base import find, identities
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.shard.workspace import Workspace
from bfs_platform.data.source.base import Source, open_source
from bfs_platform.data.spec import DataSpec
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.network.shadow import ShadowTask
from bfs_platform.train.spec import TrainSpec

SHORT = [
    "num_workers=0",
    "threads_per_worker=1",
    "batch_size=4",
    "micro_batch_size=2",
    "num_steps=2",
    "sample_every_steps=2",
    "network.rank=3",
    "network.num_steps=2",
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path, datasets: dict[int, Path]) -> Path:
    """The folder of a network after two steps of training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BFS_HOME", str(tmp_path_factory.mktemp("home")))
        spec = resolve("tabletop_shadow", [*SHORT, "optimizer.lr=3e-2"], TrainSpec)
        return fit(spec, str(base), [datasets[2]], tmp_path_factory.mktemp("run") / "run").parent


def _loop(source: Source, spec: DataSpec, output: Path) -> Callable[[list[Unit]], Iterator[Receipt]]:
    """A plain loop in place of Ray Data."""

    def stream(units: list[Unit]) -> Iterator[Receipt]:
        worker = UnitWorker(spec, source.folder, "tiny")
        for unit in units:
            yield worker(unit, Workspace(output))

    return stream


def _never(units: list[Unit]) -> Iterator[Receipt]:
    """A stream that must not be started."""
    raise AssertionError(f"work on {len(units)} units began")


def _stage1(source: Source, output: Path, *changes: str, started: bool = True) -> Path:
    settings = ["buckets=[[32, 32]]", "encode.enabled=false", "execution.decoder.isolated=false", "max_reject_rate=0.5", *changes]
    spec = resolve("tabletop_data_stage1", settings, DataSpec)
    return Path(str(build(source, output, spec, stream=_loop(source, spec, output) if started else _never))).parent


def _triplets(root: Path) -> Source:
    """Three records of a square on a plain ground, as a triplet folder."""
    from PIL import Image

    for index in range(3):
        background = np.full((32, 32, 3), 90 + 50 * index, np.uint8)
        layer = np.zeros((32, 32, 4), np.uint8)
        layer[9:20, 6 + 4 * index : 17 + 4 * index] = (200, 40, 30 + 70 * index, 255)
        pictures = {"composite": composite_u8(layer, background), "background": background, "mask": layer[..., 3]}
        for name, picture in pictures.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / name / f"{index}.png")
    (root / "captions.json").write_text('{"0": "a cube", "1": "a cube", "2": "a cube"}')
    return open_source("triplets", root)


def test_the_trained_network_is_a_provider(trained: Path, base: Path) -> None:
    """A run ends in a folder that loads, whose LoRA has left zero, and says what it was trained on; its samples were drawn."""
    provider = LearnedShadow.load(trained)
    state = shadow_network.lora_state(provider.transformer)
    assert all(value.abs().sum() > 0 for name, value in state.items() if "lora_B" in name and "x_embedder" in name)
    _, manifest = shadow_network.located(trained.parent)
    assert manifest["body"]["training"]["recipe"] == "tabletop_shadow" and manifest["body"]["base"]["name"] == str(base)
    assert (trained.parent / "samples" / "shadows.png").is_file()


def test_a_stage_1_build_uses_it(trained: Path, tmp_path: Path) -> None:
    """Layers get the network's shadow, Ĉ is made of them, and the manifest names the network by its content."""
    source = _triplets(tmp_path / "source")
    plain = open_dataset(_stage1(source, tmp_path / "plain", "shadow.kind=none"))
    drawn = open_dataset(_stage1(source, tmp_path / "drawn", "shadow.kind=flux_shadow", f"models.flux_shadow={trained}"))
    assert set(drawn.body["models"]) == {"flux_shadow"}
    rows = range(len(plain))
    for bare, layer, background, picture in zip(
        plain.pictures("foreground", rows),
        drawn.pictures("foreground", rows),
        drawn.pictures("background", rows),
        drawn.pictures("composite", rows),
        strict=True,
    ):
        assert bare is not None and layer is not None and background is not None
        assert (layer[..., 3] >= bare[..., 3]).all() and (layer[..., 3] > bare[..., 3]).any()
        np.testing.assert_array_equal(picture, composite_u8(layer, background))


def test_the_output_of_the_run_may_be_named(trained: Path) -> None:
    """As docs/training.md does: it is the same network as the folder in it."""
    specs = [
        resolve("tabletop_data_stage1", ["shadow.kind=flux_shadow", f"models.flux_shadow={folder}"], DataSpec)
        for folder in (trained, trained.parent)
    ]
    inside, whole = (identities(spec)["flux_shadow"] for spec in specs)
    assert whole["content_hash"] == inside["content_hash"] and whole["name"] == trained.parent.name
    assert find("flux_shadow", specs[1]) == trained


def test_missing_weights_are_named_before_the_first_record(tmp_path: Path, trained: Path, base: Path) -> None:
    """A network that is not there stops a build before anything is read or written; so does one whose base is gone."""
    source = _triplets(tmp_path / "source")
    for path in (tmp_path / "source").rglob("*.png"):
        path.write_bytes(b"never read")
    with pytest.raises(BadInput, match=r"models\.flux_shadow=.*nowhere is not a folder"):
        _stage1(source, tmp_path / "set", "shadow.kind=flux_shadow", f"models.flux_shadow={tmp_path / 'nowhere'}", started=False)
    moved = base.with_name("moved")
    base.rename(moved)
    try:
        with pytest.raises(BadInput, match="is not a folder"):
            _stage1(source, tmp_path / "set", "shadow.kind=flux_shadow", f"models.flux_shadow={trained}", started=False)
    finally:
        moved.rename(base)
    assert not (tmp_path / "set").exists()


def test_batches_show_scenes_and_white(base: Path, datasets: dict[int, Path]) -> None:
    """In its scene the target is the picture itself; whitened, both sides stand over white; a batch is the same however split."""
    sets = {"natural": open_dataset(datasets[2])}

    def task(white: float) -> ShadowTask:
        spec = resolve("tabletop_shadow", [*SHORT, f"network.white_probability={white}"], TrainSpec)
        return ShadowTask(spec, spec.network, str(base), sets)  # type: ignore[arg-type]

    scenes, rows = task(0.0), np.arange(4)
    _, (target, controls, noise, sigma) = scenes.batch("natural", rows, 3)
    torch.testing.assert_close(target, torch.from_numpy(sets["natural"].latents("z_comp_mean", rows)), atol=1e-4, rtol=1e-4)
    assert controls.shape == (4, 3 * target.shape[1], *target.shape[2:]) and noise.shape == target.shape and sigma.shape == (4,)
    _, white = task(1.0).batch("natural", rows, 3)
    assert not torch.allclose(white[0], target)
    torch.testing.assert_close(white[1].chunk(3, dim=1)[2], controls.chunk(3, dim=1)[2], atol=PASS, rtol=0)
    parts = [scenes.batch("natural", part, 3)[1] for part in np.split(rows, 2)]
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), controls, atol=PASS, rtol=0)


def test_desobav2_shows_the_ground_without_shadow(tmp_path: Path) -> None:
    """Built with its recipe, the background is the shadow-free picture with the object filled in, and the shadow is in the picture."""
    from PIL import Image

    root, size = tmp_path / "desoba", 64
    ground = np.full((size, size, 3), 200, np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[20:40, 20:40] = 255
    free = np.where(mask[..., None] > 0, np.uint8([30, 60, 220]), ground)
    shadowed = free.copy()
    shadowed[40:48, 20:50] = 100
    effect = (shadowed != free).any(axis=-1).astype(np.uint8) * 255
    for folder, picture in {"shadow_imgs": shadowed, "shadowfree_imgs": free, "object_masks": mask, "shadow_masks": effect}.items():
        (root / folder).mkdir(parents=True)
        Image.fromarray(picture).save(root / folder / "1.png")
    (root / "TrainLabel.txt").write_text("1.png\n")
    changes = ["buckets=[[64, 64]]", "execution.decoder.isolated=false"]
    spec = resolve("desobav2_data", changes, DataSpec)
    source, output = open_source("desobav2", root), tmp_path / "set"
    dataset = open_dataset(Path(str(build(source, output, spec, stream=_loop(source, spec, output)))).parent)
    (background,), (picture,) = dataset.pictures("background", [0]), dataset.pictures("composite", [0])
    assert background is not None and np.abs(background.astype(int) - 200).max() <= 1 and np.array_equal(picture, shadowed)
