"""The audit tells a known weakness from a list that cannot be reached; its tools are programs that answer as told."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from manifests import tool
from nodes import free_port
from planted import Exporter

ROOT = Path(__file__).resolve().parents[2]
WEAK = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"]}]}, {"name": "b", "version": "2"}]}
WELL = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
STUDIO = {"vulnerabilities": {"c": {"via": ["d"]}, "d": {"via": [{"url": "https://github.com/advisories/GHSA-1"}]}}}
STUDIO_WELL: dict[str, Any] = {"vulnerabilities": {}}
AWAY = {"message": "405 Method Not Allowed"}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a list of accepted weaknesses of its own."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "infra/security/audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "accepted.txt").write_text("# none\n")
    monkeypatch.setattr(module, "ACCEPTED", tmp_path / "accepted.txt")
    return module


def _program(path: Path, told: object, exit_code: int) -> str:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(told) if told else ''}\nEND\necho 'no such host' >&2\nexit {exit_code}\n")
    path.chmod(0o755)
    return str(path)


def _run(audit: ModuleType, folder: Path, python: object, studio: object, *options: str) -> int:
    pip_audit, npm = _program(folder / "pip-audit", python, 1), _program(folder / "npm", studio, 1)
    return int(audit.main(["--pip-audit", pip_audit, "--npm", npm, *options]))


def test_a_weakness_fails_unless_a_reason_is_given(audit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By any of its names; of a locked version, and of what the studio ships."""
    assert _run(audit, tmp_path, WELL, STUDIO_WELL, "--or-skip") == 0
    assert _run(audit, tmp_path, WEAK, STUDIO_WELL, "--or-skip") == 1
    assert capsys.readouterr().out == "a 1: CVE-1 PYSEC-1\n"
    assert _run(audit, tmp_path, WELL, STUDIO, "--or-skip") == 1
    assert capsys.readouterr().out == "d: GHSA-1\n"
    audit.ACCEPTED.write_text("CVE-1 nobody calls it\nGHSA-1 the page never parses what others wrote\n")
    assert _run(audit, tmp_path, WEAK, STUDIO, "--or-skip") == 0
    assert "a 1: CVE-1 PYSEC-1 (accepted: nobody calls it)\n" in capsys.readouterr().out
    audit.ACCEPTED.write_text("CVE-1\n")
    with pytest.raises(ValueError, match="CVE-1 is accepted without a reason"):
        _run(audit, tmp_path, WEAK, STUDIO)


def test_only_a_list_that_cannot_be_reached_is_skipped(
    audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line. A tool that says nothing while the list is there is a failure, and so is a weakness that the other list knows."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(audit, "OSV", f"http://127.0.0.1:{free_port()}/")
    assert _run(audit, tmp_path, None, AWAY, "--or-skip") == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [
        "audit: skipped: osv.dev cannot be reached (no such host)",
        "audit: skipped: npm's list does not answer (405 Method Not Allowed)",
    ]
    assert _run(audit, tmp_path, None, AWAY) == 3
    assert _run(audit, tmp_path, None, STUDIO, "--or-skip") == 1
    assert _run(audit, tmp_path, WEAK, AWAY, "--or-skip") == 1
    with Exporter() as there:
        monkeypatch.setattr(audit, "OSV", f"http://{there.address}/")
        assert _run(audit, tmp_path, None, STUDIO_WELL, "--or-skip") == 2
        assert audit.main(["--pip-audit", str(tmp_path / "none"), "--or-skip"]) == 2


def test_ci_ends_at_a_weakness(audit: ModuleType) -> None:
    """The line of .ci/run has nothing that would let it go on, and the list that is committed can be read."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
    assert ".venv/bin/python infra/security/audit.py --or-skip" in lines and "set -euo pipefail" in lines
    audit.accepted((ROOT / "infra/security/accepted.txt").read_text(encoding="utf-8"))


@pytest.mark.skipif(tool("pip-audit") is None, reason="pip-audit is not there; `make tools` brings it")
def test_the_audit_asks_about_every_locked_version(audit: ModuleType) -> None:
    """As the script runs it, but for the questions themselves; a line of the lock that it cannot read would end it."""
    command = [str(tool("pip-audit")), *audit.OPTIONS, "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    locked = sum("==" in each for each in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())
    assert (done.returncode, locked > 100) == (0, True), done.stderr
    assert f"would have audited {locked} packages" in done.stderr
