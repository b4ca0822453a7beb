"""What every command shares: exit codes, one-line errors, and a stdout that holds nothing but the summary."""

import contextlib
import json
import sys
from contextvars import ContextVar
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from bfs_model.errors import BadInput

FAILURE, BAD_INPUT = 1, 2

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")]

_stdout: ContextVar[TextIO | None] = ContextVar("stdout", default=None)


class Failure(Exception):
    """Something outside our hands went wrong; said in one line, exit code 1."""


class Commands(TyperGroup):
    """Turns `BadInput` and wrong usage into one line and exit code 2, `Failure` and errors of the operating system into one and 1.

    Everything else is a fault of ours: traceback, exit code 1. Ctrl-C gives 130 (typer's own doing).
    """

    def invoke(self, ctx: Any) -> Any:
        """Parse what follows and run the chosen command."""
        try:
            return super().invoke(ctx)
        except BadInput as error:
            _complain(str(error), BAD_INPUT)
        except TyperException as error:
            used = getattr(getattr(error, "ctx", None), "command_path", "bfs")
            _complain(f"{used}: {error.format_message().rstrip('.')}. See {used} --help.", error.exit_code)
        except BrokenPipeError:
            raise
        except (Failure, OSError) as error:
            _complain(str(error), FAILURE)


class Command(TyperCommand):
    """A command during which stdout is stderr, so that no library's chatter ends up in a script's pipe."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `report` knows the real stdout."""
        token = _stdout.set(sys.stdout)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return super().invoke(ctx)
        finally:
            _stdout.reset(token)


def report(summary: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a command's result on the real stdout: `summary` as JSON, or `text`."""
    print(json.dumps(summary, indent=2, ensure_ascii=False) if as_json else text, file=_stdout.get() or sys.stdout, flush=True)


def say(message: str) -> None:
    """A line for the person at the terminal; scripts do not see it."""
    print(message, file=sys.stderr, flush=True)


def _complain(message: str, exit_code: int) -> NoReturn:
    say(" ".join(message.splitlines()))
    raise typer.Exit(exit_code)
