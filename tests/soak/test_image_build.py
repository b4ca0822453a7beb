"""The image built for real, without Docker: buildah over a Debian base made by debootstrap, and what a container of it can do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = ("buildah", "debootstrap")
BASE, IMAGE, USER = "localhost/bfs-base:1", "localhost/bfs:soak", "1000:100"
PACKAGES = "python3,python3-venv,bash,wget,tini,ca-certificates"
# A part of the build that runs in its base reaches no index: it installs from wheels that were fetched beside it.
OFFLINE = "[global]\nno-index = true\nfind-links = /wheels\n"
Buildah = Callable[..., str]
Inside = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.geteuid() != 0, reason="a base of one's own is made by root"),
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}: apt-get install"),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="wheels are fetched by this Python for Debian's, which is 3.11"),
]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    """Runs buildah over a store of its own. Returns what it prints."""
    store = tmp_path_factory.mktemp("buildah")
    command = ["buildah", "--root", str(store / "root"), "--runroot", str(store / "run"), "--storage-driver", "vfs"]

    def run(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=3600).stdout.strip()

    return run


@pytest.fixture(scope="module")
def image(buildah: Buildah, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this tree, by its unchanged Dockerfile."""
    work = tmp_path_factory.mktemp("image")
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(work / "base")], check=True, timeout=1800)
    scratch = buildah("from", "scratch")
    buildah("add", "-q", scratch, f"{work / 'base'}/", "/")
    buildah("commit", "-q", "--rm", scratch, BASE)
    command = [sys.executable, "infra/image/dependencies.py", "pyproject.toml", "operations"]
    wanted = subprocess.run(command, cwd=repo_root, check=True, capture_output=True, text=True).stdout
    (work / "wanted.txt").write_text(wanted)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "-w", str(work / "wheels"), "-c", "requirements.lock"]
    subprocess.run([*wheel, "setuptools", "wheel", "-r", str(work / "wanted.txt")], cwd=repo_root, check=True, timeout=3600)
    (work / "pip.conf").write_text(OFFLINE)
    mounts = ["-v", f"{work / 'wheels'}:/wheels:ro", "-v", f"{work / 'pip.conf'}:/etc/pip.conf:ro"]
    given = ["--isolation", "chroot", "--pull=never", "--build-arg", f"BASE_IMAGE={BASE}", *mounts]
    buildah("bud", "-q", *given, "-f", str(repo_root / "infra/image/Dockerfile"), "-t", IMAGE, str(repo_root))
    return IMAGE


@pytest.fixture(scope="module")
def inside(buildah: Buildah, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Runs a command in a container, as its user."""
    home = tmp_path_factory.mktemp("home")
    os.chown(home, *map(int, USER.split(":")))
    container = buildah("from", "--pull=never", image)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        # Into a file: what goes through buildah's own pipes is lost now and then.
        told = ["sh", "-c", 'exec "$@" > "$HOME/told"', "sh", *command]
        whole = ["run", "--isolation", "chroot", "--user", USER, "-v", f"{home}:/var/lib/bfs", container, "--", *told]
        try:
            buildah(*whole)
        except subprocess.CalledProcessError as error:
            return subprocess.CompletedProcess(command, error.returncode, (home / "told").read_text(), error.stderr)
        return subprocess.CompletedProcess(command, 0, (home / "told").read_text().strip(), "")

    yield run
    buildah("rm", container)


def test_what_the_image_says_of_itself(buildah: Buildah, image: str) -> None:
    """A numeric user that is not root, and a first process that ends what is left behind."""
    told = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    assert (told["User"], told["Entrypoint"], told["Cmd"]) == (USER, ["tini", "--"], ["bfs", "doctor"])


def test_the_doctor_finds_nothing_wrong(inside: Inside) -> None:
    """What the image runs when it is asked for nothing else."""
    told = inside("tini", "-s", "--", "bfs", "doctor")
    assert told.returncode == 0 and told.stdout.endswith("all good"), told


def test_nothing_but_home_can_be_written(inside: Inside) -> None:
    """Code and environment stay as they were built."""
    assert inside("id", "-u").stdout == "1000"
    for place in ("/opt/bfs/x", "/app/x", "/x"):
        assert inside("touch", place).returncode != 0
    assert inside("touch", "/var/lib/bfs/x").returncode == 0


def test_it_has_what_the_operator_probes_with(inside: Inside) -> None:
    """bash and wget, for the probes of a cluster's pods."""
    assert inside("bash", "-c", "command -v bash wget tini").returncode == 0


def test_its_bill_of_materials_names_what_is_installed(inside: Inside) -> None:
    """The locked versions; written while the image was built."""
    bill = json.loads(inside("cat", "/opt/bfs/bom.json").stdout)
    versions = {part["name"]: part["version"] for part in bill["components"]}
    seen = inside("python3", "-c", "import importlib.metadata as m; print(m.version('ray'), m.version('torch'))").stdout
    assert f"{versions['ray']} {versions['torch']}" == seen and "pytest" not in versions
    assert versions["libc6"] == inside("dpkg-query", "-W", "-f", "${Version}", "libc6").stdout
    assert {"konva", "@fontsource-variable/inter"} <= versions.keys() and "vite" not in versions


@pytest.mark.parametrize("job", ["stage1", "stage2", "build_stage1", "evaluate", "promote"])
def test_jobs_start(inside: Inside, job: str) -> None:
    """Their imports are there."""
    told = inside("python3", f"jobs/{job}.py", "--help")
    assert told.returncode == 0 and "usage" in told.stdout.lower(), told


def test_a_layer_is_drawn(inside: Inside) -> None:
    """By the embedded model, on a picture made there."""
    make = "from PIL import Image; Image.new('RGB', (96, 96), (150, 140, 130)).save('/var/lib/bfs/b.png')"
    assert inside("python3", "-c", make).returncode == 0
    command = ["bfs", "generate", "--background", "/var/lib/bfs/b.png", "--box", "16,16,80,80", "--prompt", "a red cube"]
    drawn = inside(*command, "--steps", "2", "--seed", "1", "--output", "/var/lib/bfs/layer.psd")
    assert drawn.returncode == 0, drawn.stderr
    assert inside("sh", "-c", "head -c 4 /var/lib/bfs/layer.psd").stdout == "8BPS"
