"""What every command shares: exit codes, one-line errors, and a stdout that holds nothing but the summary."""

import contextlib
import json
import sys
from contextvars import ContextVar
from functools import cache
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from bfs_model.errors import BadInput
from bfs_platform.cli.extras import explained
from bfs_platform.console import log_file
from bfs_platform.console.screen import answer_stream, say
from bfs_platform.jobs import Failure

FAILURE, BAD_INPUT = 1, 2

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")]

_stdout: ContextVar[TextIO | None] = ContextVar("stdout", default=None)


class Commands(TyperGroup):
    """Turns `BadInput`, wrong usage and absent libraries into one line and exit code 2, `Failure` and errors of the system into one and 1.

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
        except ModuleNotFoundError as error:
            reason = explained(f"bfs {ctx.invoked_subcommand}", error)
            if reason is None:
                raise
            _complain(str(reason), BAD_INPUT)
        except BrokenPipeError:
            raise
        except (Failure, OSError) as error:
            _complain(str(error), FAILURE)


@cache
def _common_options() -> list[Any]:
    """The options that all commands have, as typer makes them."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def options(
        verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show what libraries print; else a log keeps it.")] = False,
    ) -> bool:
        return verbose

    return list(get_command(app).params)


class Command(TyperCommand):
    """A command during which libraries print into a log, so that no chatter ends up in a script's pipe or before people's eyes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += _common_options()

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `report` knows the real stdout."""
        log_file.separate(ctx.command_path.replace(" ", "-"))
        if ctx.params.pop("verbose", False):
            log_file.show_everything()
        token = _stdout.set(answer_stream())
        try:
            with contextlib.redirect_stdout(sys.stderr):
                result = super().invoke(ctx)
            log_file.announce()
            return result
        finally:
            _stdout.reset(token)


def report(summary: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a command's result on the real stdout: `summary` as JSON, or `text`."""
    print(json.dumps(summary, indent=2, ensure_ascii=False) if as_json else text, file=_stdout.get() or sys.stdout, flush=True)


def _complain(message: str, exit_code: int) -> NoReturn:
    say(" ".join(message.splitlines()))
    raise typer.Exit(exit_code)
