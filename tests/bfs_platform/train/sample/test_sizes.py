"""Training sets whose pictures are of several sizes, as those of photographs are."""

from pathlib import Path

import numpy as np
import pytest
import training

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[int, Path]:
    """Both sets, each of two sizes."""
    root = tmp_path_factory.mktemp("mixed")
    return {stage: training.write_set(root / f"stage{stage}", stage, base, 32, 48) for stage in (1, 2)}


def test_rows_are_grouped_by_size(mixed: dict[int, Path]) -> None:
    """Every row is in one group, as far as they may be trained on."""
    dataset = open_dataset(mixed[1])
    assert [rows.tolist() for rows in batches.by_size(dataset)] == [list(range(11)), list(range(11, 22))]
    assert [rows.tolist() for rows in batches.by_size(dataset, 13)] == [list(range(11)), [11, 12]]
    assert [rows.tolist() for rows in batches.by_size(dataset, 11)] == [list(range(11))]


@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        ("tabletop_rgb_vae", (2,)),
        ("tabletop_rgba_vae", (1,)),
        ("tabletop_backbone", (2,)),
        ("tabletop_compositor", (1,)),
        ("tabletop_stage1", (1,)),
        ("tabletop_stage2", (1, 2)),
    ],
)
def test_every_network_trains_on_them(
    recipe: str, stages: tuple[int, ...], base: Path, mixed: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of both sizes are seen, pictures are drawn, the result is whole."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    seen: set[int] = set()
    original = batches.images, batches.latent_batch

    def images(dataset: object, rows: np.ndarray, column: str) -> object:
        found = original[0](dataset, rows, column)  # type: ignore[arg-type]
        seen.add(found.shape[-1])
        return found

    def latent_batch(dataset: object, rows: np.ndarray, *more: object) -> object:
        found = original[1](dataset, rows, *more)  # type: ignore[arg-type]
        seen.add(found.mask.shape[-1])
        return found

    monkeypatch.setattr(batches, "images", images)
    monkeypatch.setattr(batches, "latent_batch", latent_batch)
    changes = ["num_workers=0", "num_steps=6", "sample_every_steps=6"]
    spec = resolve(recipe, [*training.SHORT, *changes], TrainSpec)
    manifest = fit(spec, str(base), [mixed[stage] for stage in stages], tmp_path / "run")
    assert seen == {32, 48}
    integrity.verify(manifest.parent)


@pytest.mark.parametrize(("recipe", "stage"), [("tabletop_rgb_vae", 2), ("tabletop_rgba_vae", 1)])
def test_crops_fit_into_the_smallest(
    recipe: str, stage: int, base: Path, mixed: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop larger than some picture is refused with the size that is possible."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    spec = resolve(recipe, [*training.SHORT, "num_workers=0", "network.crop=40"], TrainSpec)
    with pytest.raises(BadInput, match=r"network.crop=40 is larger than pictures of .*, 32 pixels; use at most 32"):
        fit(spec, str(base), [mixed[stage]], tmp_path / "run")
