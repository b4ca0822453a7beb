"""No stage learns from parts that never learned anything: refused before any work, until a training made them."""

from pathlib import Path

import pytest

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput
from bfs_model.tiny.components import random_bundle
from bfs_model.tiny.flux_fill import random_flux_fill
from bfs_model.weight import bundle
from bfs_platform.config import load, resolve
from bfs_platform.train.launch import launch
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.launch.pack import pack
from bfs_platform.train.spec import TrainSpec
from bfs_platform.untrained import _TRAINED_BY

SHORT = ("num_workers=0", "threads_per_worker=1", "batch_size=4", "micro_batch_size=2", "num_steps=1", "sample_every_steps=0")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


def spec_of(recipe: str, *changes: str) -> TrainSpec:
    return resolve(recipe, [*SHORT, *changes], TrainSpec)


@pytest.fixture(scope="module")
def fill(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in FLUX.1-Fill's layout."""
    return str(random_flux_fill(tmp_path_factory.mktemp("flux") / "fill"))


@pytest.mark.parametrize(
    ("recipe", "changes", "parts"),
    [
        ("flux_stage1", (), "rgba_vae and compositor"),
        ("flux_stage1", ("network.comp_weight=0",), "rgba_vae"),
        ("flux_stage2", (), "rgba_vae and compositor and sharing"),
        ("tabletop_compositor", (), "rgba_vae"),
        ("tabletop_rgba_vae", ("network.decoder_only=true",), "rgba_vae"),
    ],
)
def test_flux_fill_as_it_comes_is_refused(
    fill: str, recipe: str, changes: tuple[str, ...], parts: str, datasets: dict[int, Path], tmp_path: Path
) -> None:
    """By what it would learn from, with the jobs that train it; `fresh` is no better, and a dry run says so too."""
    for base in (fill, "fresh"):
        with pytest.raises(BadInput) as caught:
            fit(spec_of(recipe, *changes), base, list(datasets.values()), tmp_path / "run", dry_run=True)
        family = "tabletop" if base == "fresh" else "flux"
        assert caught.value.key == "base" and f"was never trained in {parts}; train rgba_vae by " in str(caught.value)
        assert f"jobs/train_rgba_vae.py --recipe {family}_rgba_vae" in str(caught.value)
        assert ("or set network.comp_weight=0" in str(caught.value)) == ("compositor" in parts)
    assert not (tmp_path / "run").exists() and not (tmp_path / "run.base").exists()


@pytest.mark.parametrize("recipe", ["tabletop_rgb_vae", "tabletop_backbone", "tabletop_rgba_vae", "tabletop_shadow", "tabletop_reference"])
def test_what_trains_parts_may_begin_with_it(fill: str, recipe: str) -> None:
    """Networks that stand on none of those parts."""
    assert bundle.untrained(fill) == bundle.TRAINED_PARTS
    assert [launch._check_base(spec_of(recipe).network, base) for base in (fill, "fresh")] == [None, None]


def test_the_remedies_name_recipes_that_exist() -> None:
    """And jobs that do."""
    for part, remedy in _TRAINED_BY.items():
        words = remedy.replace(",", "").split()
        assert Path(__file__).parents[4].joinpath(words[0]).is_file()
        for family in ("tabletop", "flux"):
            assert load(words[2].format(family=family)).network.kind == part  # type: ignore[union-attr]


def test_what_was_trained_on_flux_is_still_flux(fill: str, datasets: dict[int, Path], tmp_path: Path, monkeypatch) -> None:
    """The next remedy is of its size too."""
    monkeypatch.setenv("BFS_ACCEPT_FLUX_LICENCE", "1")
    trained = fit(spec_of("tabletop_rgba_vae"), fill, [datasets[1]], tmp_path / "rgba").parent
    with pytest.raises(BadInput, match="was never trained in compositor; train compositor by .*--recipe flux_compositor; or set"):
        fit(spec_of("flux_stage1", "use_gpu=false", "zero.bf16=false"), str(trained), [datasets[1]], tmp_path / "stage1", dry_run=True)


def test_a_training_takes_its_part_off_the_list(datasets: dict[int, Path], tmp_path: Path) -> None:
    """A bundle says what is left, what is loaded and saved from it too, and a new RGB VAE brings an RGBA VAE that is new again."""
    base = random_bundle(tmp_path / "base", untrained=bundle.TRAINED_PARTS)
    trained = fit(spec_of("tabletop_rgba_vae"), str(base), [datasets[1]], tmp_path / "rgba").parent
    assert bundle.untrained(trained) == ("compositor", "sharing") == BFSPipeline.from_pretrained(trained).untrained
    with pytest.raises(BadInput, match="was never trained in compositor; train .*; or set network.comp_weight=0"):
        fit(spec_of("tabletop_stage1"), str(trained), [datasets[1]], tmp_path / "stage1")
    packed = pack(str(trained), tmp_path / "packed", take=[f"compositor={random_bundle(tmp_path / 'other')}"]).parent
    assert bundle.untrained(packed) == ("sharing",)
    again = fit(spec_of("tabletop_rgb_vae"), str(packed), [datasets[2]], tmp_path / "rgb").parent
    assert bundle.untrained(again) == ("rgba_vae", "sharing")


def test_a_stage_without_phi_leaves_phi_on_the_list(datasets: dict[int, Path], tmp_path: Path) -> None:
    """`comp_weight=0` says that it is not needed: a model comes out that knows its Φ for what it is."""
    base = random_bundle(tmp_path / "base", untrained=("compositor", "sharing"))
    with pytest.raises(BadInput, match="was never trained in sharing; .*; or set network.init=fresh"):
        fit(spec_of("tabletop_stage1", "network.comp_weight=0", "network.init=base"), str(base), [datasets[1]], tmp_path / "run")
    manifest = fit(spec_of("tabletop_stage1", "network.comp_weight=0"), str(base), [datasets[1]], tmp_path / "run")
    assert integrity.read_manifest(manifest.parent)["body"]["untrained"] == ["compositor"]
    assert BFSPipeline.from_pretrained(tmp_path / "run").untrained == ("compositor",)
    with pytest.raises(BadInput, match="was never trained in compositor"):
        fit(spec_of("tabletop_stage2"), str(tmp_path / "run"), list(datasets.values()), tmp_path / "next")
