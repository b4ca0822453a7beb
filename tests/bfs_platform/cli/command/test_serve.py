"""`bfs serve` hands over to the service's own program."""

import subprocess
import sys

from bfs_platform.cli.command.serve import command


def test_options_are_handed_on() -> None:
    """Model and address, and whatever else was given, reach `python -m bfs_serve`."""
    assert command("models:/bfs@champion", "127.0.0.1", 9000, ["--max-replicas", "2"]) == [
        *(sys.executable, "-m", "bfs_serve", "--model", "models:/bfs@champion"),
        *("--host", "127.0.0.1", "--port", "9000", "--max-replicas", "2"),
    ]


def test_the_service_decides_about_its_exit_code(bare_env) -> None:
    """A model that does not exist: the program that took over says so in one line and exits with 2."""
    code = "from bfs_platform.cli.main import main; main()"
    arguments = ["serve", "--model", "no-such-folder"]
    result = subprocess.run([sys.executable, "-c", code, *arguments], env=bare_env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "model=no-such-folder is not a folder" in result.stderr.splitlines()[-1]
