"""The image: what it is made of, and what its file says.."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from manifests import tool
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def dockerfile(repo_root: Path) -> str:
    """Its text, continued lines joined, without comments."""
    text = (repo_root / "infra/image/Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))


def _lint(text: str) -> list[str]:
    done = subprocess.run(
        [str(tool("hadolint")), "--format", "json", "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return [finding["code"] for finding in json.loads(done.stdout)]


@pytest.mark.skipif(tool("hadolint") is None, reason="hadolint is not there; `make tools` brings it")
def test_the_linter_finds_nothing(repo_root: Path) -> None:
    """hadolint has nothing to say, and does say something when a fault is planted."""
    text = (repo_root / "infra/image/Dockerfile").read_text(encoding="utf-8")
    assert _lint(text) == []
    assert _lint(text.replace("WORKDIR /app", "WORKDIR app")) == ["DL3000"]


def test_it_runs_as_nobody_in_particular(dockerfile: str) -> None:
    """The last stage ends with a numeric user that is not root, and asks for the programs that the operator's probes need."""
    last = dockerfile.split("FROM ${BASE_IMAGE}")[-1]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["1000:100"]
    assert {"bash", "wget", "tini"} <= set(last.split())


def test_what_it_copies_is_there_and_not_shut_out(dockerfile: str, repo_root: Path) -> None:
    """Each source of a COPY exists, and .dockerignore lets it in, while it keeps out the rest."""
    let_in = {line[1:] for line in (repo_root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {path for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE) for path in line.split()[:-1]}
    assert copied == let_in and all((repo_root / path).exists() for path in copied)


def test_it_installs_what_production_needs_and_no_tests(repo_root: Path) -> None:
    """The libraries of the extra `operations` at locked versions: MLflow's among them, no linter and no test runner."""
    command = [sys.executable, str(repo_root / "infra/image/dependencies.py"), str(repo_root / "pyproject.toml"), "operations"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    names = {canonicalize_name(Requirement(line).name) for line in printed}
    extras = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tests = {canonicalize_name(Requirement(line).name) for name in ("test", "dev") for line in extras[name]} - {"bfs"}
    locked = {line.partition("==")[0] for line in (repo_root / "requirements.lock").read_text().splitlines()}
    assert {"torch", "ray", "mlflow", "flask-wtf", "boto3", "psycopg", "fastapi"} <= names <= locked
    assert names & tests == set() and "bfs" not in names
