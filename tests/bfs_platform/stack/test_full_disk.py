"""A stack on a disk of its own, which fills up: what is kept, what is refused, how it goes on, by the runbook's own commands."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from drawn import write_rorem
from runbooks import commands
from stack_shell import FIELDS, Shell, picture

from bfs_platform.data.shard.reading import open_dataset

pytestmark = [pytest.mark.soak, pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")]

_SIZE = "512m"
_PAGE = "infra/runbooks/full-disk.md"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, small."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "bfs-test", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def shell(disk: Path, repo_root: Path) -> Iterator[Shell]:
    """Whatever a test leaves of its stack ends with it."""
    made = Shell(disk, repo_root)
    yield made
    made.run("bfs", "down", "--state", str(made.folder), code=None)


def test_a_full_disk_is_refused_and_gone_on_from(shell: Shell, disk: Path, tmp_path: Path) -> None:
    """What was drawn is there, what is asked for is refused as out of room, a build ends in one line; with room again all of it works."""
    shell.up()
    told = shell.told()
    with shell.client() as client:
        drawn = shell.ask()
        result = drawn.json()["links"]["result"]
        before = client.get(result, headers={"Accept": "image/png"}).content
        _fill(disk)
        said = shell.paste(_diagnosis(shell)[0], shell.env | told | {"BFS_STATE": str(shell.folder)})
        assert said.returncode == 0, said.stderr
        refused = _asked(client)
        assert (refused.status_code, refused.headers.get("retry-after")) == (503, "60"), refused.text
        assert refused.json()["type"] == "urn:bfs:problem:full" and client.get(result, headers={"Accept": "image/png"}).content == before

        source, output = write_rorem(tmp_path / "input", 4, size=128), disk / "set"
        build = ["python", "jobs/build_stage2.py", "--recipe", "tabletop_pixels", "--set", "stage=2", "--source", "rorem"]
        build += ["--input", str(source), "--output", str(output)]
        failed = shell.run(*build, code=None)
        assert not output.exists(), failed

        (disk / "filling").unlink()
        for text in _mend(shell):
            assert shell.paste(text, shell.env | told).returncode == 0
        shell.up()
        shell.status(0)
        shell.run(*build)
        assert len(open_dataset(output)) == 4
        assert _asked(client).status_code == 200


def _fill(disk: Path) -> None:
    """To the last byte."""
    with (disk / "filling").open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert shutil.disk_usage(disk).free == 0


def _asked(client: httpx2.Client) -> httpx2.Response:
    return client.post("/v1/layers", files={"background": picture()}, data=FIELDS | {"seed": "8"}, headers={"Prefer": "wait=100"})


def _diagnosis(shell: Shell) -> list[str]:
    return [block.text for block in commands(shell.root / _PAGE) if block.part == "Diagnosis" and not block.cluster]


def _mend(shell: Shell) -> list[str]:
    return [block.text for block in commands(shell.root / _PAGE) if block.part == "Mend" and not block.cluster]
