"""The jobs' command line: what is refused, with which exit code, and that Ray is not even imported then."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bfs_platform.entry.build import main
from bfs_platform.jobs import exit_code


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 2) -> str:
    """Run the job; check the exit code and that one line was said. Returns the line."""
    try:
        returned: int | str | None = exit_code(lambda: main(1, arguments))
    except SystemExit as leaving:
        returned = leaving.code
    captured = capsys.readouterr()
    assert returned == code and captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"--input": "ABSENT"}, "does not exist"),
        ({"--input": "EMPTY"}, "has no meta.json"),
        ({"--source": "rorm"}, "did you mean rorem"),
        ({"--recipe": "tabletop_stage1x"}, "is not a recipe"),
        ({"--set": "loosen_bx=0.2"}, "did you mean loosen_box"),
        ({"--set": "loosen_box=2"}, "loosen_box=2"),
        ({"--set": "buckets=[[60,60]]"}, "not a multiple of 8"),
        ({"--set": "matting.kind=magic"}, "matting.kind"),
        ({"--base": "ABSENT"}, "absent is not a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], rorem: Callable[..., Path], tmp_path: Path, change: dict[str, str], line: str
) -> None:
    """Missing dataset, missing meta.json, unknown source, recipe or key, bad value, missing base."""
    (tmp_path / "empty").mkdir()
    places = {"ABSENT": str(tmp_path / "absent"), "EMPTY": str(tmp_path / "empty")}
    options = {"--source": "rorem", "--input": str(rorem(2)), "--output": str(tmp_path / "out")}
    options |= {key: places.get(value, value) for key, value in change.items()}
    said = refused(capsys, [word for pair in options.items() for word in pair])
    assert line in said
    assert not (tmp_path / "out").exists()


def test_commercial_builds_refuse_research_sources(capsys: pytest.CaptureFixture[str], rorem: Callable[..., Path], tmp_path: Path) -> None:
    """The source is named with its licence."""
    arguments = ["--source", "rorem", "--input", str(rorem(2)), "--output", str(tmp_path / "out"), "--commercial"]
    assert "rorem (research-only) does not allow commercial use" in refused(capsys, arguments)


def test_missing_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage names what is missing."""
    assert "--output" in refused(capsys, ["--source", "rorem"])


def test_refusals_come_before_ray(repo_root: Path, bare_env: dict[str, str], tmp_path: Path) -> None:
    """The job itself, in its own process: exit code 2, one line, no traceback, and Ray was never imported."""
    job = repo_root / "jobs" / "build_stage1.py"
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['build_stage1.py', '--source', 'rorem', '--input', {str(tmp_path / 'absent')!r}]\n"
        f"sys.argv += ['--output', {str(tmp_path / 'out')!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(job)!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert 'ray' not in sys.modules and 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=bare_env, cwd=tmp_path, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stdout == "" and "absent does not exist" in result.stderr and "Traceback" not in result.stderr
