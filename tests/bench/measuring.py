"""How the benches measure: interleaved arms in one process, CPU time, minima; and how they say what they saw."""

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_LIBRARIES = ("torch", "diffusers", "deepspeed", "ray")


def interleaved(arms: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """Smallest time in seconds of each arm over `rounds` of A B C A B C …, after one round that does not count.

    CPU time by default: on a shared machine wall time measures the neighbours, and a minimum the fewest of them.
    """
    best = dict.fromkeys(arms, float("inf"))
    for i in range(rounds + 1):
        for name, arm in arms.items():
            began = clock()
            arm()
            if i:
                best[name] = min(best[name], clock() - began)
    return best


def num_flops(work: Callable[[], Any]) -> int:
    """Floating point operations of matrix products and attention in `work`, counted by torch.

    Attention runs as plain products meanwhile: torch does not count its fused kernel for the CPU.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@dataclass(frozen=True)
class Row:
    """One measured number beside what arithmetic says and what is wanted."""

    what: str
    measured: float
    predicted: float | None = None
    target: float | None = None
    unit: str = ""
    at_least: bool = False

    def __str__(self) -> str:
        predicted = "" if self.predicted is None else f"{self.predicted:.3f}{self.unit}"
        if self.target is None:
            return f"| {self.what} | {self.measured:.3f}{self.unit} | {predicted} | | |"
        met = self.measured >= self.target if self.at_least else self.measured <= self.target
        target = f"{'≥' if self.at_least else '≤'} {self.target:.2f}{self.unit}"
        return f"| {self.what} | {self.measured:.3f}{self.unit} | {predicted} | {target} | {'met' if met else 'MISSED'} |"


def table(title: str, rows: list[Row], note: str = "") -> str:
    """A Markdown table of rows under a title."""
    head = ["| quantity | measured | arithmetic | target | |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"\n### {title}\n", *([note, ""] if note else []), *head, *map(str, rows), ""])


def circumstances() -> str:
    """Commit, machine and versions: what a figure needs beside it."""
    root = Path(__file__).resolve().parents[2]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    where = f"{_processor()}, {os.cpu_count()} cores, load {load}, {torch.get_num_threads()} thread(s)"
    return f"commit {commit or 'unknown'}; {where}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.machine()
