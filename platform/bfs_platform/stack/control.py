"""Starting, healing, ending and describing a stack."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.console.screen import say
from bfs_platform.stack import marked, parts, probe, storage
from bfs_platform.stack.application import Application
from bfs_platform.stack.program import UP, Program
from bfs_platform.stack.state import Stack, alone

ENVIRONMENT = "environment"
Part = Program | Application


@dataclass(frozen=True)
class Row:
    """One part: `state` is `up`, `stopped` or what is wrong; `pid` None where no process of its own stands for it."""

    name: str
    state: str
    pid: int | None
    version: str
    url: str
    log: str
    since_s: float | None


def up(
    folder: Path, profile: str | None = None, model: str | None = None, ports: list[str] | None = None, workers: int | None = None
) -> list[Row]:
    """Start what does not run, and start anew what does not answer. Returns what runs then.

    What is not given is as it was in this folder, or else as `Settings` has it; `ports` are NAME=PORT.
    Raises: `BadInput` when the stack runs with other settings, a port is taken or a program is absent; `Failure` when a part does
    not start; what was started before it stays, for another `up` or a `down`.
    """
    with alone(folder):
        stack = Stack.load(folder)
        before = stack.settings if stack else Stack.last_settings(folder)
        settings = before.changed(profile, model, ports, workers)
        if stack is None:
            stack = Stack.new(folder, settings)
        elif stack.records and (settings.profile, settings.ports) != (before.profile, before.ports):
            raise BadInput("state", folder, "holds a stack that runs with another profile or ports", "end it first with `bfs down`")
        if settings.profile == "full":
            storage.check_installed()
        stack.settings = settings
        stack.renew_ports()
        stack.save()  # before anything starts: what has the mark can be found by it
        _end_surplus(stack)
        fresh: set[str] = set()
        for part in _parts(stack):
            if _heal(stack, part, fresh):
                fresh.add(part.name)
        write_whole(folder / ENVIRONMENT, _exports(stack).encode(), key="state")
        return list(_rows(stack))


def down(folder: Path) -> bool:
    """End everything that belongs to the stack; its data, logs, secrets and settings stay. Returns whether there was anything to end."""
    if not folder.is_dir():
        return False
    with alone(folder):
        stack = Stack.load(folder)
        if stack is None:
            return False
        for part in reversed(_parts(stack)):
            say(f"Ending {part.name}.")
            if killed := part.stop(stack):
                say(f"{part.name} had to be killed ({len(killed)} processes).")
        marked.end(None, stack.mark, 0)
        parts.forget_sessions(stack)
        (folder / ENVIRONMENT).unlink(missing_ok=True)
        stack.forget()
        return True


def status(folder: Path) -> list[Row]:
    """What runs where, and with which version. No rows where there is no stack."""
    stack = Stack.load(folder) if folder.is_dir() else None
    return [] if stack is None else list(_rows(stack))


def _parts(stack: Stack) -> list[Part]:
    """In the order in which they start."""
    return [*parts.programs(stack), Application(parts.environment(stack))]


def _end_surplus(stack: Stack) -> None:
    """End workers that are not wanted any more."""
    wanted = {part.name for part in _parts(stack)}
    for name in [name for name in stack.records if parts.is_worker(name) and name not in wanted]:
        say(f"Ending {name}.")
        parts.worker(stack, parts.environment(stack), name).stop(stack)


def _heal(stack: Stack, part: Part, fresh: set[str]) -> bool:
    """Start a part where that is needed, `fresh` parts being new. Returns whether it was."""
    if not fresh & set(part.needs) and part.is_well(stack):
        return False
    if isinstance(part, Program):
        part.stop(stack)  # what it left behind, too; the service changes in place
    for name in part.ports:
        port = stack.settings.ports[name]
        if not probe.is_free(port) and not marked.listens(stack.mark, port):
            rule = f"is wanted for {part.name} and is in use"
            raise BadInput("port", port, rule, f"choose another with --port {name}=PORT")
    say(f"Starting {part.name} ...")
    began = time.monotonic()
    part.start(stack)
    say(f"{part.name} answers after {time.monotonic() - began:.0f} s.")
    return True


def _rows(stack: Stack) -> Iterator[Row]:
    for part in _parts(stack):
        state = part.state(stack)
        if isinstance(part, Application):
            version = f"{part.version(stack)} with {part.model(stack)}".strip() if state == UP else ""
            log = stack.ray_folder / "session_latest" / "logs" / "serve"
            yield Row(part.name, state, None, version, f"{stack.url('service')}/studio", str(log), None)
        else:
            record = stack.records.get(part.name)
            pid, version, since = (record.started.pid, record.version, record.at_s) if record else (None, "", None)
            yield Row(part.name, state, pid, version, part.url, str(part.log(stack)), since)


def _exports(stack: Stack) -> str:
    """Shell commands after which jobs and commands use this stack."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(parts.variables(stack).items()))
