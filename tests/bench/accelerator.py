#!/usr/bin/env python
"""Times of the dual branch on an accelerator, at the full geometry of Flux-Fill with random weights (times do not depend on them).

python tests/bench/accelerator.py --geometry flux-fill-512 --geometry flux-fill-1024 --compile

With `--all` one run has every row: kernels of attention, step caches, and last, compiled blocks (`accelerator_rows.py`). Figures are
printed as they come, and one that cannot be had costs no other.
"""

import argparse
import contextlib
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import accelerator_rows
import torch
from accelerator_rows import Clock, guarded, reason
from arithmetic import branch as single_flops
from arithmetic import dual as dual_flops
from geometry import GEOMETRIES, Geometry, dual_branch, inputs, plain_pass, same_weights
from measuring import circumstances

PEAK_TFLOPS = 790.0  # what well-tuned dense bf16 matrix products reach on an H100 or H200
WARM_UP = 3
RECOMPUTED_FROM = 64**2  # image tokens: 1024 pixels
INFERENCE = ("single_step_ms", "dual_step_ms", "ratio", "ratio_of_flops", "tflops_per_s", "floor_ms", "times_floor")
INFERENCE += ("s_per_28_steps", "s_per_50_steps", "peak_memory_bytes")
TRAINING = ("training_batch", "training_activations", "training_pairs_per_s", "training_tflops_per_s")
TRAINING += ("training_peak_memory_bytes", "num_trainable")


def main(arguments: list[str] | None = None) -> None:
    """Measure every geometry that was asked for, and print each figure as it comes, or all of them as JSON."""
    options = _parser().parse_args(arguments)
    clock = Clock(options.limit_s)
    if not options.json:
        _print(f"{_device_name(options.device)}; {circumstances()}")
    figures = []
    for name in options.geometry or ["flux-fill-512", "flux-fill-1024"]:
        if not options.json:
            _print(f"\n{name}")
        found: dict[str, Any] = {"geometry": name}
        for rows in measure(name, options, clock):
            found |= rows
            if not options.json:
                _print(*(f"  {row:<28} {value if isinstance(value, str) else f'{value:,.3f}'}" for row, value in rows.items()))
        figures.append(found)
        _forget(options.device)
    if options.json:
        _print(json.dumps({"circumstances": circumstances(), "device": _device_name(options.device), "figures": figures}))


def measure(name: str, options: argparse.Namespace, clock: Clock) -> Iterator[dict[str, Any]]:
    """The figures of one geometry, some at a time: inference of one pair, then training of one pair.

    What cannot be had on this machine, or in the time that is left, holds the reason in place of its figures.
    """
    g, device, dtype = GEOMETRIES[name], options.device, getattr(torch, options.dtype)

    def seconds_of(arm: Callable[[], Any]) -> float:
        return _times({"arm": arm}, options.rounds, device, clock)["arm"]

    try:
        dual, single, given = _networks(g, options, dtype)
    except Exception as error:
        yield dict.fromkeys((*INFERENCE, *TRAINING), reason(error))
        return
    yield guarded(INFERENCE, lambda: _inference(g, dual, single, given, options, clock))
    if options.all:
        yield accelerator_rows.kernels(dual, given, seconds_of)
        yield accelerator_rows.caches(dual, given, seconds_of)
    yield guarded(TRAINING, lambda: _training(g, dual, options, dtype, seconds_of))
    if options.profile is not None:
        yield guarded(("profile",), lambda: _profiled(g, dual, options, dtype, options.profile / f"{name}.txt", clock))
    if options.all:
        yield accelerator_rows.compiled(dual, given, seconds_of)


def recomputes(g: Geometry, options: argparse.Namespace) -> bool:
    """Whether training recomputes activations: from 1024 pixels on they would not fit 80 GB."""
    return bool(options.checkpointing) or g.num_image_tokens >= RECOMPUTED_FROM


def _networks(g: Geometry, options: argparse.Namespace, dtype: torch.dtype) -> tuple[Any, Any, dict[str, Any]]:
    """A dual branch, a plain transformer over the same storage, and their input."""
    given = inputs(g, 1, options.device, dtype)
    dual = dual_branch(g, options.device, dtype)
    single = same_weights(dual.transformer)
    for transformer in (dual.transformer, single):
        if options.attention:
            transformer.set_attention_backend(options.attention)
        if options.compile:
            transformer.compile_repeated_blocks(fullgraph=True)
    return dual, single, given


def _inference(g: Geometry, dual: Any, single: Any, given: dict[str, Any], options: argparse.Namespace, clock: Clock) -> dict[str, float]:
    _reset_peak(options.device)
    with torch.no_grad():
        arms = {"single": lambda: plain_pass(single, given), "dual": lambda: dual(**given, guidance=30.0)}
        seconds = _times(arms, options.rounds, options.device, clock)
    floor_s = dual_flops(g) / (options.peak_tflops * 1e12)
    return {
        "single_step_ms": 1e3 * seconds["single"],
        "dual_step_ms": 1e3 * seconds["dual"],
        "ratio": seconds["dual"] / seconds["single"],
        "ratio_of_flops": dual_flops(g) / single_flops(g),
        "tflops_per_s": dual_flops(g) / seconds["dual"] / 1e12,
        "floor_ms": 1e3 * floor_s,
        "times_floor": seconds["dual"] / floor_s,
        "s_per_28_steps": 28 * seconds["dual"],
        "s_per_50_steps": 50 * seconds["dual"],
        "peak_memory_bytes": _peak(options.device),
    }


def _training(
    g: Geometry, dual: Any, options: argparse.Namespace, dtype: torch.dtype, seconds_of: Callable[[Callable[[], Any]], float]
) -> dict[str, Any]:
    with _step_of(g, dual, options, dtype) as step:
        _reset_peak(options.device)
        seconds = seconds_of(step)
    return {
        "training_batch": options.batch,
        "training_activations": "recomputed" if recomputes(g, options) else "kept",
        "training_pairs_per_s": options.batch / seconds,
        "training_tflops_per_s": 2 * options.batch * dual_flops(g) / seconds / 1e12,
        "training_peak_memory_bytes": _peak(options.device),
        "num_trainable": sum(p.numel() for p in dual.sharing.parameters()),
    }


@contextlib.contextmanager
def _step_of(g: Geometry, dual: Any, options: argparse.Namespace, dtype: torch.dtype) -> Iterator[Callable[[], None]]:
    """Forward, backward and AdamW on the sharing weights alone; afterwards the network is as it was, but for a trained step."""
    if recomputes(g, options):
        dual.transformer.enable_gradient_checkpointing()
    given = inputs(g, options.batch, options.device, dtype)
    optimizer = torch.optim.AdamW(dual.sharing.parameters(), lr=1e-6, fused=options.device == "cuda")

    def step() -> None:
        dual(**given).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    try:
        yield step
    finally:
        optimizer.zero_grad()
        dual.transformer.disable_gradient_checkpointing()


def _profiled(g: Geometry, dual: Any, options: argparse.Namespace, dtype: torch.dtype, path: Path, clock: Clock) -> dict[str, str]:
    """Where a training step spends its time, operator by operator."""
    from torch.profiler import ProfilerActivity, profile

    clock.check()
    cuda = options.device == "cuda"
    with (
        _step_of(g, dual, options, dtype) as step,
        profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen,
    ):
        step()
        _wait(options.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    path.write_text(seen.key_averages().table(sort_by=key, row_limit=40), encoding="utf-8")
    return {"profile": str(path)}


def _times(arms: dict[str, Callable[[], Any]], rounds: int, device: str, clock: Clock) -> dict[str, float]:
    """Median seconds of each arm, interleaved, after a warm-up that also compiles; of fewer rounds where the time is over."""
    clock.check()
    warm_up = WARM_UP if device == "cuda" else 1
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for i in range(warm_up + rounds):
        if i > warm_up and clock.is_over():
            break
        for name, arm in arms.items():
            _wait(device)
            began = time.perf_counter()
            arm()
            _wait(device)
            if i >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _forget(device: str) -> None:
    """Give back what a geometry held: networks and their hooks refer to each other, and compiled code to both."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _print(*lines: str) -> None:
    """At once: what was measured is not lost with what comes after."""
    print(*lines, sep="\n", flush=True)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> int:
    """Most bytes held on the accelerator; 0 elsewhere."""
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else 0


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Times of the dual branch on an accelerator, with random weights.")
    parser.add_argument("--geometry", action="append", choices=sorted(GEOMETRIES), help="once or several times")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1, help="pairs in a training step")
    parser.add_argument("--compile", action="store_true", help="compile block by block")
    parser.add_argument("--all", action="store_true", help="kernels of attention, step caches and compiled blocks, too")
    parser.add_argument("--attention", help="a backend of diffusers, such as _flash_3_hub or _native_cudnn")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in training also below 1024 pixels")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="write there where a training step of each geometry spends its time")
    parser.add_argument("--peak-tflops", type=float, default=PEAK_TFLOPS, help="what the floor assumes")
    parser.add_argument("--limit-s", type=float, default=540, help="seconds after which further rows are not measured")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    main()
