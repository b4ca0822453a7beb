"""`bfs doctor`."""

import json
import os
import subprocess
import sys

from bfs_platform.cli.command import doctor


def test_the_doctor_reports_everything(bfs) -> None:
    """Each check gives one finding; the exit code says whether one of them is broken."""
    result = bfs("doctor", "--json")
    summary = json.loads(result.stdout)
    assert [finding["name"] for finding in summary["findings"]] == list(doctor.CHECKS)
    broken = [finding["name"] for finding in summary["findings"] if finding["status"] == "broken"]
    assert broken == []
    assert (summary["healthy"], result.exit_code) == (True, 0)
    assert summary["versions"]["torch"]


def test_what_a_check_raises_is_what_is_broken() -> None:
    """A check that dies becomes a finding of one line."""

    def dies() -> doctor.Finding:
        raise RuntimeError("two\nlines")

    assert doctor.examine("x", dies) == doctor.Finding("x", "broken", "RuntimeError: two lines")


def test_a_broken_torchvision_is_found(tmp_path, bare_env) -> None:
    """A torchvision that raises at import is called broken."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    code = "from bfs_platform.cli.command.doctor import CHECKS; finding = CHECKS['torchvision'](); print(finding.status, finding.detail)"
    env = bare_env | {"PYTHONPATH": os.fspath(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("broken is built for another torch"), result.stderr
