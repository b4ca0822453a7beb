"""What trained networks are measured on, and how it is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import PASS
from safetensors.torch import load_file

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput
from bfs_model.latent import encoding
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.network.compositor import CompositorTask
from bfs_platform.train.network.measures import psnr
from bfs_platform.train.report.gates import Gate, GateReport, hold_out, reports_of
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec

SHORT = ["num_workers=0", "threads_per_worker=1", "batch_size=4", "micro_batch_size=2", "num_steps=2", "sample_every_steps=100"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


def test_psnr_by_hand() -> None:
    """An error of 0.2 in a range of 2 is 20 dB; beyond the range it is clipped; equality counts as 100 dB."""
    target = torch.full((3, 1, 2, 2), 0.5)
    output = torch.stack([target[0] + 0.2, target[1], target[2]])
    assert psnr(output, target) == pytest.approx([20, 100, 100], abs=1e-4)
    assert psnr(torch.full((1, 1, 2, 2), 7.0), torch.ones(1, 1, 2, 2)) == [100]


def test_a_report_says_which_gates_failed() -> None:
    """Bounds hold inclusively, NaN passes none, and the manifest and the lines say the same."""
    gates = {"gap": Gate(1.5, at_least=False), "db": Gate(45, at_least=True)}
    assert GateReport("a set", 3, {"gap": 1.5, "db": 45.0, "more": 1.0}, gates).passed
    report = GateReport("a set", 3, {"gap": float("nan"), "db": 44.0}, gates)
    assert not report.passed and not gates["gap"].passed(float("nan"))
    assert report.to_json()["gates"]["db"] == {"at_least": 45, "passed": False}
    assert report.lines() == ["measured on 3 records: a set", "  gap nan  (at most 1.5: FAILED)", "  db 44  (at least 45: FAILED)"]


def test_held_out_records_are_not_trained_on(datasets: dict[int, Path]) -> None:
    """Without a validation set the last tenth stays out of training; with one, all is trained on and that is measured."""
    sets = {"synthetic": open_dataset(datasets[1])}
    kept, held_out = hold_out(sets, "synthetic", 64)
    assert (kept, held_out.rows.tolist()) == (10, [10]) and "not trained on" in held_out.name
    kept, held_out = hold_out({**sets, "validation": open_dataset(datasets[2])}, "synthetic", 3)
    assert (kept, held_out.rows.tolist()) == (11, [0, 1, 2]) and held_out.name.startswith("validation set")
    assert np.concatenate(list(held_out.batches(2))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("recipe", "kind"), [("tabletop_compositor", "compositor"), ("tabletop_rgba_vae", "rgba_vae")])
def test_figures_stand_in_the_manifest(
    recipe: str, kind: str, base: Path, datasets: dict[int, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run ends with its figures on stderr and in the manifest, beside those of earlier runs; Φ is exact on empty layers."""
    manifest = fit(resolve(recipe, SHORT, TrainSpec), str(base), [datasets[1]], tmp_path / "run")
    reports = json.loads(manifest.read_text())["body"]["gates"]
    assert set(reports) == {kind} and reports[kind]["num_records"] == 1
    figures, gates = reports[kind]["figures"], reports[kind]["gates"]
    assert set(gates) < set(figures) and "measured on 1 records" in capfd.readouterr().err
    if kind == "compositor":
        assert figures["identity_error"] == 0 and figures["identity_db"] == 100
        assert figures["phi_gap_db"] == pytest.approx(figures["vae_db"] - figures["phi_db"], abs=1e-4)
    else:
        assert 0 < figures["empty_alpha"] <= 1 and not gates["empty_alpha"]["passed"]
    assert reports_of(str(tmp_path / "run")) == reports


def test_validation_set_is_checked(base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """A validation set that is trained on, of another stage, or given to a network that is not measured, is refused before a run."""
    spec = resolve("tabletop_compositor", SHORT, TrainSpec)
    for validation, rule in ((datasets[1], "is trained on"), (datasets[2], "is a stage-2 set")):
        with pytest.raises(BadInput, match=rule):
            fit(spec, str(base), [datasets[1]], tmp_path / "run", validation=validation)
    with pytest.raises(BadInput, match="is of no use to a recogniser network"):
        fit(resolve("tabletop_recogniser", SHORT, TrainSpec), str(base), [datasets[2]], tmp_path / "run", validation=datasets[1])
    assert not (tmp_path / "run").exists()


def test_batches_of_the_compositor(base: Path, datasets: dict[int, Path]) -> None:
    """Kinds by probability: empty layers aim at their own background; pairs stand over other records' backgrounds, composited;
    a batch is the same however it is split."""
    sets = {"synthetic": open_dataset(datasets[1])}

    def task(**changes: float) -> CompositorTask:
        spec = resolve("tabletop_compositor", [*SHORT, *(f"network.{k}={v}" for k, v in changes.items())], TrainSpec)
        return CompositorTask(spec, spec.network, str(base), sets)  # type: ignore[arg-type]

    rows = np.arange(6)
    z_bg = torch.from_numpy(sets["synthetic"].latents("z_bg_mean", rows))
    empty = task(empty_probability=1.0, noise=0.0)
    _, (z_fg, bg, z_empty, z_comp, pictures, corners) = empty.batch("synthetic", rows, 3)
    assert torch.equal(z_fg, z_empty.expand_as(z_fg)) and torch.equal(z_comp, z_bg) and torch.equal(bg, z_bg)
    assert torch.equal(pictures, batches.images(sets["synthetic"], rows, "background_png"))
    assert corners.shape == (6, 2) and int(corners.max()) == 0  # latents of 8×8 leave one place for a crop of 16
    paired = task(empty_probability=0.0, pair_probability=1.0)
    _, whole = paired.batch("synthetic", rows, 3)
    assert not torch.equal(whole[1], z_bg) and not torch.allclose(
        whole[3], torch.from_numpy(sets["synthetic"].latents("z_comp_mean", rows))
    )
    parts = [paired.batch("synthetic", part, 3)[1] for part in np.split(rows, 2)]
    for i in (0, 1, 3, 4, 5):
        torch.testing.assert_close(torch.cat([part[i] for part in parts]), whole[i], atol=PASS, rtol=0)
    module = paired.module
    z_comp, composed = whole[3], whole[4]
    torch.testing.assert_close(encoding.encode_images(paired.pipe.vae, composed)[0], z_comp, atol=PASS, rtol=0)
    loss, terms = module(*whole[:5], torch.zeros(6, 2, dtype=torch.long))
    assert set(terms) == {"latent", "decoded"} and float(loss.detach()) > float(terms["latent"].detach())
    _, without = module(*whole[:5], torch.full((6, 2), -1))
    assert set(without) == {"latent", "decoded"} and float(without["decoded"]) == 0, "all ranks add up the same terms"


def test_the_shipped_compositor_still_loads() -> None:
    """The embedded bundle's Φ runs as it was trained, whichever version it is of."""
    pipe = BFSPipeline.from_pretrained("tiny")
    weights = load_file(Path(integrity.__file__).parent / "bundles/tiny/compositor/diffusion_pytorch_model.safetensors")
    assert set(pipe.compositor.state_dict()) == set(weights)
    z = torch.zeros(1, pipe.vae.config.latent_channels, 4, 4)
    assert torch.isfinite(pipe.compositor(z, z, z)).all()


def test_rims_of_crops_do_not_count(base: Path, datasets: dict[int, Path]) -> None:
    """Where the picture is other than what is decoded only in the two outer latents of a crop, the error is that of the rest."""
    sets = {"synthetic": open_dataset(datasets[1])}
    spec = resolve("tabletop_compositor", [*SHORT, "network.crop=6", "network.decoded_share=1"], TrainSpec)
    module = CompositorTask(spec, spec.network, str(base), sets).module  # type: ignore[arg-type]
    latents = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0, 0], [2, 1]])
    crops = torch.stack([latents[0, :, :6, :6], latents[1, :, 2:8, 1:7]])
    with torch.no_grad():
        decoded = encoding.decode_latents(module.vae, crops)
        side, factor = decoded.shape[-1], decoded.shape[-1] // 6
        pictures = torch.zeros(2, 3, 8 * factor, 8 * factor)
        for picture, crop, (row, column) in zip(pictures, decoded, (factor * corners).tolist(), strict=True):
            picture[:, row : row + side, column : column + side] = crop
            picture[:, row, column] += 5.0
        assert float(module._decoded(latents, pictures, corners)) == pytest.approx(1e-3, rel=1e-3)  # the floor alone
        middle = (factor * corners[1] + side // 2).tolist()
        pictures[1, :, middle[0], middle[1]] += 1.0
        expected = (1e-3 + (1 / (2 * factor) ** 2 + 1e-6) ** 0.5) / 2
        assert float(module._decoded(latents, pictures, corners)) == pytest.approx(expected, rel=1e-3)
