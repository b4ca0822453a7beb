"""`python -m bfs_serve`: serve one model over HTTP until told to stop.

Exit codes: 0 after SIGTERM, 1 failure, 2 bad input, 130 after Ctrl-C.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_platform.jobs import name_accelerator
from bfs_platform.proxies import spare_loopback
from bfs_serve.app import AppArgs
from bfs_serve.runtime import Address, Service, check, ray_running

EXIT_OK, EXIT_FAILURE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The options; those of the application come from `AppArgs`."""
    options = _Parser(prog="python -m bfs_serve", description="Serve layers over HTTP.")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s; others need API keys)")
    options.add_argument("--port", type=int, default=8000, help="default %(default)s")
    options.add_argument("--drain-s", type=float, default=60.0, help="seconds that jobs under way get when stopping (default %(default)s)")
    options.add_argument("--studio", choices=["say", "open"], help="when ready, say where the studio is, or open it in the browser")
    options.add_argument("--verbose", action="store_true", help="show Ray's logs")
    for name, field in AppArgs.model_fields.items():
        if field.annotation is not bool:
            text = f"{field.description or ''} (default {field.default})".strip()
            options.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=text)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run and return the exit code."""
    options = parser().parse_args(arguments)
    name_accelerator()
    spare_loopback()
    given = {name: value for name, value in vars(options).items() if name in AppArgs.model_fields}
    address = Address(options.host, options.port)
    try:
        args = AppArgs.model_validate(given)
        check(args, address)
        return _serve(args, address, options)
    except ValidationError as error:
        first = error.errors()[0]
        return _complain(f"{first['loc'][0]}: {first['msg']}" if first["loc"] else first["msg"])
    except BadInput as error:
        return _complain(str(error))
    except RuntimeError as error:
        print(f"the service could not start: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except _Stop as stop:
        return stop.exit_code


def _complain(message: str) -> int:
    print(message, file=sys.stderr)
    return EXIT_BAD_INPUT


class _Stop(BaseException):
    """A signal arrived while starting or stopping."""

    def __init__(self, signum: int) -> None:
        self.exit_code = EXIT_INTERRUPTED if signum == signal.SIGINT else EXIT_OK
        super().__init__()


class _Signals:
    """SIGINT and SIGTERM: while `waiting`, remembered; otherwise they interrupt what is going on."""

    def __init__(self) -> None:
        self.arrived: int | None = None
        self._waiting = False
        self._event = threading.Event()

    def install(self) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.arrived = signum
        if not self._waiting:
            raise _Stop(signum)
        self._event.set()

    def wait(self) -> int:
        """Block until a signal arrives; return the exit code it asks for."""
        self._waiting = True
        while not self._event.wait(3600):
            pass
        self._waiting = False
        return _Stop(self.arrived or signal.SIGTERM).exit_code


@contextlib.contextmanager
def _hushed(verbose: bool) -> Iterator[None]:
    """Ray prints on stdout that the parts of Serve which are being stopped have stopped."""
    with contextlib.nullcontext() if verbose else contextlib.redirect_stdout(io.StringIO()):
        yield


def _show_studio(address: Address, how: str) -> None:
    """Say where the studio is, and open it where there is a screen: text browsers would take the terminal."""
    page = f"{address.local_url}/studio/"
    print(f"studio {page}", file=sys.stderr, flush=True)
    has_screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if how == "open" and has_screen:
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()


def _serve(args: AppArgs, address: Address, options: argparse.Namespace) -> int:
    verbose = options.verbose
    signals = _Signals()
    signals.install()
    num_cpus = max(2, round(args.max_replicas * args.cpus_per_replica) + 1)
    with ray_running(num_cpus, verbose):
        signals.install()  # Ray put its own in place
        service = Service(args, address, verbose)
        try:
            service.start()
            print(f"ready {address.url}", file=sys.stderr, flush=True)
            if options.studio:
                _show_studio(address, options.studio)
            exit_code = signals.wait()
            print("stopping: waiting for jobs under way; press Ctrl-C again to cancel them", file=sys.stderr, flush=True)
            with contextlib.suppress(_Stop):
                service.drain(options.drain_s)
            return exit_code
        finally:
            with _hushed(verbose):
                service.stop()


if __name__ == "__main__":
    sys.exit(main())
