"""Parts of other packages, found through their entry points: none of our files names them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source import base
from bfs_platform.data.spec import DataSpec, EncodeSpec
from bfs_platform.evaluate.metric import catalogue
from bfs_platform.evaluate.metric.measure import measure
from bfs_platform.evaluate.metric.summary import summarise
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.truth import Identity, Truth
from bfs_platform.registry.spec import Bound, PromotionSpec

Install = Callable[[str, str], None]

SHELF = '''
"""Pictures on a shelf: STEM.png, STEM_empty.png, STEM_mask.png."""

from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source


@source("shelf", Licence("CC0-1.0", True))
def rows(root):
    for path in sorted(root.glob("*_mask.png")):
        stem = path.name.removesuffix("_mask.png")
        parts = {"composite": f"{stem}.png", "background": f"{stem}_empty.png", "object_mask": path.name}
        yield Row(stem, f"a {stem}", {role: Part(name) for role, name in parts.items()})
'''
BRIGHTNESS = '''
"""How bright the layer is where it shows anything."""

import numpy as np

from bfs_platform.evaluate.metric.catalogue import Metric


def brightness(drawn, sample):
    layer = np.asarray(drawn.layer)
    shown = layer[..., 3] > 0
    return float(layer[shown, :3].mean() / 255) if shown.any() else None


METRIC = Metric("brightness", True, "mean level of what the layer shows, 0…1", 2, brightness)
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package of one module and its entry points on the path, as pip would."""
    base.names()  # ours register when they are first imported, and not in a list that goes away
    monkeypatch.setattr(base, "_SOURCES", dict(base._SOURCES))
    site = tmp_path / "site-packages"
    about = site / "their_package-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    catalogue.installed.cache_clear()

    def put(text: str, points: str) -> None:
        (site / "their_package.py").write_text(text)
        (about / "entry_points.txt").write_text(points)

    yield put
    sys.modules.pop("their_package", None)
    catalogue.installed.cache_clear()


def _shelf(folder: Path) -> Path:
    folder.mkdir()
    for number, stem in enumerate(("cup", "vase")):
        empty = np.random.default_rng(number).integers(90, 120, (32, 32, 3), np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 6 + 8 * number : 18 + 8 * number] = 255
        full = np.where(mask[..., None] > 0, np.uint8(200 + 20 * number), empty)
        for name, picture in (("", full), ("_empty", empty), ("_mask", mask)):
            Image.fromarray(picture).save(folder / f"{stem}{name}.png")
    return folder


def test_a_source_of_another_package_builds_a_set(install: Install, tmp_path: Path) -> None:
    """It is listed by name, its licence counts, and a stage-2 set is built from it."""
    install(SHELF, "[bfs.sources]\nshelf = their_package:rows\n")
    assert "shelf" in base.names() and "their_package" not in sys.modules, "listing names imports nothing"
    source = base.open_source("shelf", _shelf(tmp_path / "input"))
    assert source.licence.commercial and [row.id for row in source.rows()] == ["cup", "vase"]
    spec = DataSpec(stage=2, buckets=((32, 32),), encode=EncodeSpec(enabled=False)).named("tabletop_data_stage2")
    build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
    dataset = open_dataset(tmp_path / "out", stage=2)
    assert dataset.body["sources"][0]["name"] == "shelf" and len(dataset) == 2 and dataset.body["rejects"] == {}


def test_a_metric_of_another_package_is_measured_summarised_and_bounded(install: Install) -> None:
    """It stands among the figures of every record and their means, and a gate may bound it."""
    install(BRIGHTNESS, "[bfs.metrics]\nbrightness = their_package:METRIC\n")
    mask = np.zeros((24, 24), bool)
    mask[4:12, 4:12] = True
    background = np.full((24, 24, 3), 90, np.uint8)
    truth = np.where(mask[..., None], np.uint8(200), background)
    sample = Sample("cup", "a cup", Box(4, 4, 12, 12), background, truth, mask, None)
    figures = measure(Truth().predict(sample, 0, None), sample, 0.05)
    assert measure(Identity().predict(sample, 0, None), sample, 0.05)["brightness"] is None
    assert figures["brightness"] == pytest.approx(200 / 255)
    assert summarise([figures])["brightness"]["mean"] == pytest.approx(200 / 255)
    assert catalogue.is_worse_by("brightness", 0.25, 0.75) == 0.5
    assert PromotionSpec(thresholds={"brightness": Bound(min=0.1)}).thresholds["brightness"].min == 0.1


@pytest.mark.parametrize(
    ("text", "points", "rule"),
    [
        ("raise RuntimeError('broken')", "[bfs.metrics]\nmine = their_package:METRIC\n", "cannot be loaded"),
        ("METRIC = 7", "[bfs.metrics]\nmine = their_package:METRIC\n", "no Metric"),
        (BRIGHTNESS, "[bfs.metrics]\nbox_iou = their_package:METRIC\n", "a metric of ours"),
    ],
)
def test_a_bad_metric_is_one_clear_line(install: Install, text: str, points: str, rule: str) -> None:
    """What cannot be loaded, is no metric or takes one of our names is refused, and its package can be found."""
    install(text, points)
    with pytest.raises(BadInput, match=rule):
        catalogue.exact()


def test_a_bad_source_is_one_clear_line(install: Install, tmp_path: Path) -> None:
    """A source that cannot be imported, or registers nothing, is refused when it is asked for; the others can be used."""
    install("raise RuntimeError('broken')", "[bfs.sources]\nmine = their_package:rows\n")
    with pytest.raises(BadInput, match=r"cannot be loaded.*their-package"):
        base.open_source("mine", tmp_path)
    install("rows = 1", "[bfs.sources]\nmine = their_package:rows\n")
    with pytest.raises(BadInput, match="not registered"):
        base.open_source("mine", tmp_path)
    assert base.open_source("tabletop", tmp_path).name == "tabletop"
