"""The wheel: everything that runs is in it, and plain `bfs` draws without Ray. From another folder, with a bare environment."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest
from environments import brought_along, linked_environment
from PIL import Image
from services import running

import bfs_model
from bfs_platform.processes import free_port

# In the second pass: it takes a minute, and the service starts Ray.
pytestmark = pytest.mark.ray

Run = Callable[..., "subprocess.CompletedProcess[str]"]
BOX, PROMPT = "20,24,84,88", "a large red glossy plastic sphere"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """`pip wheel .` of the files that the repository holds, apart from it: what an earlier build left there must not get in."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in _files(repo_root):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repo_root / name, source / name)
    # setuptools stands in the lock, so nothing has to be downloaded for the build.
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(output), "."]
    built = subprocess.run([sys.executable, *command], cwd=source, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return next(output.glob("*.whl"))


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> list[str]:
    """What the wheel says it needs, extras included."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, wheel: Path, requirements: list[str]) -> Path:
    """The folder of programs after `pip install` of the wheel, without extras."""
    return _installed(tmp_path_factory.mktemp("plain"), wheel, brought_along(requirements))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, wheel: Path, requirements: list[str]) -> Path:
    """The folder of programs after `pip install` of the wheel with the extra `serve`."""
    return _installed(tmp_path_factory.mktemp("serving"), wheel, brought_along(requirements, "serve"))


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"}


@pytest.fixture
def run(tmp_path: Path, bare: dict[str, str]) -> Run:
    """Run a command in a folder of its own, which holds `background.png`; its exit code is 0 unless told otherwise."""
    Image.linear_gradient("L").resize((120, 96)).convert("RGB").save(tmp_path / "background.png")

    def runs(*command: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run([*map(str, command)], cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=300)
        assert result.returncode == code, result.stderr
        return result

    return runs


def _files(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (root / name).is_file()]


def _installed(folder: Path, wheel: Path, distributions: set[str]) -> Path:
    python = linked_environment(folder, distributions)
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    for command in (["install", "--quiet", "--no-index", "--no-deps", str(wheel)], ["check"]):
        result = subprocess.run([*pip, *command], capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
    return python.parent


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path, repo_root: Path) -> None:
    """Every file of the three packages, weights, templates and licences among them, and beside them only the wheel's own."""
    floors = ("bfs_model/", "platform/bfs_platform/", "serve/bfs_serve/")
    ours = {name.removeprefix("platform/").removeprefix("serve/") for name in _files(repo_root) if name.startswith(floors)}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    assert held == ours
    assert {Path(name).suffix for name in held} >= {".py", ".safetensors", ".json", ".j2"} and licences


def test_plain_bfs_draws_without_ray(plain: Path, run: Run, tmp_path: Path) -> None:
    """`bfs generate` draws with the model inside the wheel where Ray, MLflow and DeepSpeed are not installed."""
    absent = run(plain / "python", "-c", "import importlib.util as u; print([u.find_spec(n) for n in ('ray', 'mlflow', 'deepspeed')])")
    assert absent.stdout.strip() == "[None, None, None]"
    assert run(plain / "bfs", "--version").stdout.strip() == f"bfs {bfs_model.__version__}"
    drawn = run(plain / "bfs", "generate", "--background", "background.png", "--box", BOX, "--prompt", PROMPT, "--steps", 2,
                "--seed", 7, "--output", "layer.png", "--composite", "composite.png", "--json")  # fmt: skip
    assert json.loads(drawn.stdout)["seed"] == 7
    layer = Image.open(tmp_path / "layer.png")
    assert (layer.mode, layer.size) == ("RGBA", (120, 96)) and layer.getchannel("A").getextrema()[1] > 0


def test_plain_bfs_draws_from_python(plain: Path, run: Run, tmp_path: Path) -> None:
    """`from bfs_model import BFSPipeline` finds the embedded model from any folder."""
    code = f"""
from bfs_model import BFSPipeline
out = BFSPipeline.from_pretrained("tiny")(background="background.png", box=({BOX}), prompt="{PROMPT}", seed=7, num_inference_steps=1)
out.foregrounds[0].save("layer.png")
"""
    run(plain / "python", "-c", code)
    assert Image.open(tmp_path / "layer.png").size == (120, 96)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["serve"], "serve"),
        (["data", "build", "--stage", "1", "--source", "rorem", "--input", "x", "--output", "y"], "platform"),
        (["promote", "models:/bfs/1"], "platform"),
        (["generate", "--background", "background.png", "--box", BOX, "--prompt", PROMPT, "--output", "x.psd"], "documents"),
    ],
)
def test_what_needs_an_extra_says_which(plain: Path, run: Run, command: list[str], extra: str) -> None:
    """One line that names the extra, and exit code 2."""
    refused = run(plain / "bfs", *command, code=2)
    assert f"pip install 'bfs[{extra}]'" in refused.stderr
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""


def test_the_doctor_finds_plain_bfs_healthy(plain: Path, run: Run) -> None:
    """What only the platform needs may be absent."""
    assert json.loads(run(plain / "bfs", "doctor", "--json").stdout)["healthy"]


def test_the_installed_service_answers(serving: Path, plain: Path, run: Run, bare: dict[str, str], tmp_path: Path) -> None:
    """`bfs serve` of the wheel with its extra becomes ready, and plain `bfs generate --url` gets a layer from it."""
    command = [str(serving / "bfs"), "serve", "--port", str(free_port())]
    with running(command, bare, tmp_path) as url:
        run(
            plain / "bfs", "generate", "--background", "background.png", "--box", BOX, "--prompt", PROMPT, "--url", url, "--output", "l.png"
        )
    assert Image.open(tmp_path / "l.png").mode == "RGBA"
