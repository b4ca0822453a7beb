"""`bfs doctor`: is everything here that is needed?"""

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import typer

from bfs_platform.cli.shell import FAILURE, AsJson, report

OK, NOTE, BROKEN = "ok", "note", "broken"
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors", "numpy", "pillow", "ray", "mlflow", "deepspeed", "psd-tools")
_ENOUGH_DISK = 5 * 2**30
_ENOUGH_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Finding:
    """One checked thing: `status` is ok, note (works, worth knowing) or broken; `detail` says what was seen."""

    name: str
    status: str
    detail: str


def doctor(as_json: AsJson = False) -> None:
    """Check versions, processor, memory, disk, the embedded model and the libraries. Exit code 1 if something is broken."""
    findings = [examine(name, check) for name, check in CHECKS.items()]
    healthy = all(finding.status != BROKEN for finding in findings)
    rows = [f"{finding.status:<7} {finding.name:<12} {finding.detail}" for finding in findings]
    summary = {"healthy": healthy, "findings": [asdict(finding) for finding in findings], "versions": versions()}
    report(summary, as_json, "\n".join([*rows, "all good" if healthy else "something is broken"]))
    if not healthy:
        raise typer.Exit(FAILURE)


def examine(name: str, check: Callable[[], Finding]) -> Finding:
    """Run one check; whatever it raises is what is broken."""
    try:
        return check()
    except Exception as error:  # the point of a doctor is to report what others die of
        return Finding(name, BROKEN, " ".join(f"{type(error).__name__}: {error}".split())[:300])


def versions() -> dict[str, str | None]:
    """Installed versions of the main libraries; None where one is absent."""
    found: dict[str, str | None] = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("bfs", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _python() -> Finding:
    shown = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", OK if sys.version_info >= (3, 11) else BROKEN, f"{shown} at {sys.executable}")


def _packages() -> Finding:
    found = versions()
    absent = [name for name, version in found.items() if version is None]
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version and name != "python")
    return Finding("packages", NOTE if absent else OK, shown + (f"; absent: {', '.join(absent)}" if absent else ""))


def _processor() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shown = f"{cores} CPU cores, {torch.get_num_threads()} threads per process"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        shown += f"; GPU {index}: {device.name}, {device.total_memory / 2**30:.0f} GiB"
    return Finding("processor", OK, shown if torch.cuda.is_available() else shown + "; no GPU, which the tiny model does not need")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    shown = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    return Finding("memory", OK if memory.available >= _ENOUGH_MEMORY else NOTE, shown)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding("disk", OK if free >= _ENOUGH_DISK else NOTE, f"{free / 2**30:.1f} GiB free at {Path.cwd()}")


def _tiny() -> Finding:
    from bfs_model import integrity
    from bfs_model.weight import bundle

    manifest = integrity.verify(bundle.locate("tiny"), bundle.BUNDLE)
    size = sum(entry["bytes"] for entry in manifest["files"])
    return Finding(
        "tiny model", OK, f"{len(manifest['files'])} files, {size / 2**20:.1f} MiB, all as listed ({manifest['content_hash'][:12]})"
    )


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", OK, "absent, as it should be")
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        detail = f"is built for another torch and breaks transformers ({type(error).__name__}); uninstall it"
        return Finding("torchvision", BROKEN, detail)
    return Finding("torchvision", NOTE, "installed and working; BFS does not need it")


def _imports(name: str) -> Callable[[], Finding]:
    def check() -> Finding:
        if importlib.util.find_spec(name) is None:
            return Finding(name, NOTE, "absent: drawing does without; pip install 'bfs[serve]' brings it")
        importlib.import_module(name)
        return Finding(name, OK, f"{metadata.version(name)} imports")

    return check


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _python,
    "packages": _packages,
    "processor": _processor,
    "memory": _memory,
    "disk": _disk,
    "torchvision": _torchvision,
    "tiny model": _tiny,
    "ray": _imports("ray"),
    "mlflow": _imports("mlflow"),
}
