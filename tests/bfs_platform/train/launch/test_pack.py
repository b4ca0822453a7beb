"""One bundle of several: parts of others, settings of sampling, half precision."""

from pathlib import Path

import pytest
import torch

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.tiny.components import TEST, Geometry, random_bundle
from bfs_platform.train.launch.pack import pack


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles of one geometry with other weights."""
    root = tmp_path_factory.mktemp("pack")
    return random_bundle(root / "one", seed=1), random_bundle(root / "two", seed=2)


def test_takes_a_network_of_another_bundle(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """The named part is the other's, all else the model's own, rounded to half precision; settings travel along."""
    one, two = (BFSPipeline.from_pretrained(folder) for folder in bundles)
    settings = {"default_steps": 9, "true_cfg_scale": 2.0}
    pack(str(bundles[0]), tmp_path / "made", take=[f"transformer={bundles[1]}"], settings=settings)
    made = BFSPipeline.from_pretrained(tmp_path / "made")
    for name, source in (("transformer", two), ("rgba_vae", one), ("compositor", one)):
        for own, theirs in zip(getattr(made, name).parameters(), getattr(source, name).parameters(), strict=True):
            assert torch.equal(own, theirs.half().float()), name
    assert (made.config.default_steps, made.config.true_cfg_scale) == (9, 2.0)


@pytest.mark.parametrize("take", [["scheduler=X"], ["transformer"], ["vae={0}", "vae={0}"]])
def test_refuses_what_is_no_part(take: list[str], bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """Another component, a name without a folder, the same part twice: named, and nothing is written."""
    with pytest.raises(BadInput, match="PART=FOLDER"):
        pack(str(bundles[0]), tmp_path / "made", take=[given.format(bundles[1]) for given in take])
    assert not (tmp_path / "made").exists()


def test_refuses_another_geometry(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """A backbone of other sizes does not go in."""
    other = Geometry(**{**TEST.__dict__, "num_heads": 4})
    wide = random_bundle(tmp_path / "wide", other)
    with pytest.raises(BadInput, match="another geometry"):
        pack(str(bundles[0]), tmp_path / "made", take=[f"transformer={wide}"])


@pytest.mark.parametrize("settings", [{"default_steps": 0}, {"default_steps": 2000}, {"true_cfg_scale": 0.5}])
def test_refuses_settings_out_of_range(settings: dict[str, float], bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """Steps and scale that a call would refuse are refused here."""
    with pytest.raises(BadInput, match=next(iter(settings)).removeprefix("default_")):
        pack(str(bundles[0]), tmp_path / "made", settings=settings)


def test_refuses_what_is_not_there_or_of_another_backbone(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """A part that one side lacks, information sharing of a wider backbone, a reference encoder that is none."""
    bare = BFSPipeline.from_pretrained(bundles[1])
    bare.register_modules(compositor=None)
    bare.save_pretrained(tmp_path / "bare")
    wide = random_bundle(tmp_path / "wide", Geometry(**{**TEST.__dict__, "num_heads": 4}))
    for settings, rule in (
        ({"take": [f"compositor={tmp_path / 'bare'}"]}, "finds no compositor in it"),
        ({"take": [f"sharing={wide}"]}, "another geometry than the sharing"),
        ({"reference": str(bundles[1])}, "holds no reference encoder"),
    ):
        with pytest.raises(BadInput, match=rule):
            pack(str(bundles[0]), tmp_path / "made", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "made").exists()
