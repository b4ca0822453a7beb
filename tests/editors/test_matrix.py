"""PSD and OpenRaster in the programs that people open them with: every document, every format, every reader.

One reader starts once and reads all documents. The summary of the run names the readers' versions.
"""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack

from . import read_ag_psd, read_gimp, read_krita, read_psd_tools
from .conftest import READERS as VERSIONS
from .scenes import SCENES
from .seen import Seen, SeenLayer

pytestmark = pytest.mark.editors

READERS = {
    ".psd": (read_krita, read_gimp, read_psd_tools, read_ag_psd),
    # GIMP reads OpenRaster from version 3 on, the others are libraries of PSD alone.
    ".ora": (read_krita,),
}
CELLS = [(reader, suffix) for suffix, readers in READERS.items() for reader in readers]
# An editor rounds to 8 bits after every layer, we once.
ROUNDING = 2
# A PSD has 256 opacities, and so has Krita.
OPACITY = 0.5 / 255 + 1e-6


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """All scenes in all formats."""
    folder = tmp_path_factory.mktemp("documents")
    return {suffix: [scene().save(folder / f"{name}{suffix}") for name, scene in SCENES.items()] for suffix in READERS}


@pytest.fixture(scope="module", params=CELLS, ids=[f"{reader.NAME}{suffix}" for reader, suffix in CELLS])
def readings(request: pytest.FixtureRequest, documents: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """What one reader makes of all documents of one format, by the name of the scene."""
    reader, suffix = request.param
    assert isinstance(reader, ModuleType)
    if reader.ABSENT:
        pytest.skip(reader.ABSENT)
    found = reader.read(documents[suffix], tmp_path_factory.mktemp("reading") / "reader")
    request.config.stash.setdefault(VERSIONS, []).append(f"{reader.NAME} {reader.version()} ({suffix})")
    return {path.stem: seen for path, seen in found.items()}


@pytest.mark.parametrize("scene", SCENES)
def test_a_reader_sees_what_we_wrote(readings: dict[str, Seen], scene: str) -> None:
    """Canvas; for every layer its groups, name, place, opacity, mode, visibility, alpha and colours; and the whole picture."""
    seen, stack = readings[scene], SCENES[scene]()
    assert (seen.width, seen.height) == (stack.width, stack.height)
    for found, layer in zip(seen.layers, stack, strict=True):
        _same(found, layer)
    assert _difference(seen, stack) <= ROUNDING


def _same(found: SeenLayer, layer: Layer) -> None:
    assert (found.groups, found.name) == ((layer.group,) if layer.group else (), layer.name)
    assert (found.blend_mode, found.visible) == (layer.blend_mode, layer.visible)
    assert found.opacity == pytest.approx(layer.opacity, abs=OPACITY), layer.name
    if not layer.rgba[..., 3].any():  # nothing to see: some programs keep the clear pixel, some forget it
        assert not found.rgba[..., 3].any()
        return
    assert (found.x, found.y) == (layer.x, layer.y), layer.name
    assert np.array_equal(found.rgba[..., 3], layer.rgba[..., 3]), layer.name
    shown = layer.rgba[..., 3] > 0
    assert np.array_equal(found.rgba[shown], layer.rgba[shown]), layer.name


def _difference(seen: Seen, stack: LayerStack) -> float:
    """The largest difference in levels, of colours as far as they are seen."""
    picture = stack.flatten().convert("RGBA")
    if seen.stored:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    ours, theirs = np.asarray(picture).astype(float), seen.flat.astype(float)
    alpha = np.abs(theirs[..., 3] - ours[..., 3])
    return float(max(alpha.max(), (np.abs(theirs - ours)[..., :3] * ours[..., 3:] / 255).max()))
