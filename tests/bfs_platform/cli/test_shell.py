"""Exit codes, one-line errors, and who may write to stdout."""

import pytest
import typer
from typer.testing import CliRunner

from bfs_model.errors import BadInput
from bfs_platform.cli.shell import Command, Commands, Failure, report


def _app(body) -> typer.Typer:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command("run", cls=Command)
    def run(number: int = 0) -> None:
        body()

    @app.callback()
    def group() -> None:
        """Keeps `run` a sub-command."""

    return app


def _raises(error: BaseException):
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (BadInput("box", "1,2", "is not a box", "give four\nnumbers"), 2, "box=1,2 is not a box; give four numbers.\n"),
        (Failure("the service is busy"), 1, "the service is busy\n"),
        (OSError(28, "No space left on device", "x.png"), 1, "[Errno 28] No space left on device: 'x.png'\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_exit_codes(error, exit_code, said) -> None:
    """Bad input is 2, failure 1, interruption 130; each says at most one line."""
    result = CliRunner().invoke(_app(_raises(error)), ["run"])
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, said, "")


def test_our_own_faults_keep_their_traceback() -> None:
    """An unforeseen error is not dressed up: it goes through, and Python prints it."""
    result = CliRunner().invoke(_app(_raises(ZeroDivisionError())), ["run"])
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["run", "--number", "x"], ["run", "--nubmer", "1"], ["rnu"]])
def test_wrong_usage_is_one_line(arguments) -> None:
    """A wrong option or command: exit code 2 and one line that names the help."""
    result = CliRunner().invoke(_app(_raises(AssertionError("must not run"))), arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "--help" in result.stderr


def test_chatter_goes_to_stderr() -> None:
    """What a library prints while a command runs does not reach stdout; the report does."""

    def body() -> None:
        print("library chatter")
        report({"a": 1}, as_json=True, text="")

    result = CliRunner().invoke(_app(body), ["run"])
    assert result.stdout == '{\n  "a": 1\n}\n'
    assert result.stderr == "library chatter\n"


def test_help_goes_to_stdout() -> None:
    """The help of a command can be piped into a pager."""
    result = CliRunner().invoke(_app(_raises(AssertionError("must not run"))), ["run", "--help"])
    assert result.exit_code == 0
    assert "--number" in result.stdout
    assert result.stderr == ""
