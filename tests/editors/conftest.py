"""A running service with the embedded model, a picture to draw into, and the plug-ins as people install them."""

import importlib.util
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from services import running
from shells import BIN, bare_shell

from bfs_platform.processes import free_port

READERS = pytest.StashKey[list[str]]()
"""Who has read our documents in this run, with versions; said at its end."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which versions the matrix stands on."""
    if readers := config.stash.get(READERS, None):
        terminalreporter.write_line(f"our documents were read by {', '.join(sorted(readers))}")


@pytest.fixture(scope="module")  # a cluster, whose idle processes would slow every other test
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`bfs serve`, started as a user would; its address."""
    home = tmp_path_factory.mktemp("home")
    with running([str(BIN / "bfs"), "serve", "--model", "tiny", "--port", str(free_port())], bare_shell(home), home) as url:
        yield url


@pytest.fixture(scope="session")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An opaque picture in which every place looks different."""
    y, x = np.indices((120, 160))
    pixels = np.dstack([90 + x % 100, 110 + y, 150 + (x * 7 + y * 3) % 60]).astype(np.uint8)
    path = tmp_path_factory.mktemp("picture") / "background.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def plugins(repo_root: Path) -> ModuleType:
    """`infra/plugins.py`, which packs them."""
    spec = importlib.util.spec_from_file_location("plugins", repo_root / "infra/plugins.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def comfy_nodes(plugins: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The zip, unpacked into `custom_nodes` and imported as ComfyUI imports what lies there."""
    folder = tmp_path_factory.mktemp("custom_nodes")
    zipfile.ZipFile(io.BytesIO(plugins.comfyui())).extractall(folder)
    source = folder / "bfs-layers/__init__.py"
    name = str(source.parent).replace(".", "_x_")  # ComfyUI's own name for it
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for known in [known for known in sys.modules if known.startswith(name)]:
        del sys.modules[known]
