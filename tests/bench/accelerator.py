#!/usr/bin/env python
"""Times of the dual branch on an accelerator, at the full geometry of Flux-Fill with random weights (times do not depend on them).

python tests/bench/accelerator.py --geometry flux-fill-512 --geometry flux-fill-1024 --compile

With `--all` one run has every row: kernels of attention, step caches, and last, compiled blocks (`accelerator_rows.py`).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import accelerator_rows
import torch
from arithmetic import branch as single_flops
from arithmetic import dual as dual_flops
from geometry import GEOMETRIES, Geometry, dual_branch, inputs, plain_pass, same_weights
from measuring import circumstances

PEAK_TFLOPS = 790.0  # what well-tuned dense bf16 matrix products reach on an H100 or H200
WARM_UP = 3


def main(arguments: list[str] | None = None) -> None:
    """Measure every geometry that was asked for and print a table, or JSON."""
    options = _parser().parse_args(arguments)
    names = options.geometry or ["flux-fill-512", "flux-fill-1024"]
    figures = [measure(name, options) for name in names]
    if options.json:
        print(json.dumps({"circumstances": circumstances(), "device": _device_name(options.device), "figures": figures}))
        return
    print(f"{_device_name(options.device)}; {circumstances()}")
    for found in figures:
        print(f"\n{found['geometry']}")
        for name, value in found.items():
            print(f"  {name:<28} {value if isinstance(value, str) else f'{value:,.3f}'}")


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one geometry: inference of one pair, then training of one pair."""
    g, device, dtype = GEOMETRIES[name], options.device, getattr(torch, options.dtype)
    given = inputs(g, 1, device, dtype)
    dual = dual_branch(g, device, dtype)
    single = same_weights(dual.transformer)
    if options.attention:
        for transformer in (dual.transformer, single):
            transformer.set_attention_backend(options.attention)
    if options.compile:
        for transformer in (dual.transformer, single):
            transformer.compile_repeated_blocks(fullgraph=True)
    _reset_peak(device)
    with torch.no_grad():
        arms = {"single": lambda: plain_pass(single, given), "dual": lambda: dual(**given, guidance=30.0)}
        seconds = _times(arms, options.rounds, device)
    inference_peak = _peak(device)
    found = {"geometry": name, **_inference(g, seconds, options.peak_tflops), "peak_memory_bytes": inference_peak}

    def seconds_of(arm: Callable[[], Any]) -> float:
        return _times({"arm": arm}, options.rounds, device)["arm"]

    if options.all:
        found |= accelerator_rows.kernels(dual, given, seconds_of) | accelerator_rows.caches(dual, given, seconds_of)
    found |= _training(name, g, dual, options, device, dtype)
    return found | (accelerator_rows.compiled(dual, given, seconds_of) if options.all else {})


def _inference(g: Geometry, seconds: dict[str, float], peak_tflops: float) -> dict[str, float]:
    floor_s = dual_flops(g) / (peak_tflops * 1e12)
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
    }


def _training(name: str, g: Geometry, dual: Any, options: argparse.Namespace, device: str, dtype: torch.dtype) -> dict[str, float]:
    """Forward, backward and AdamW on the sharing weights alone; activations are kept unless checkpointing is asked for."""
    if options.checkpointing:
        dual.transformer.enable_gradient_checkpointing()
    given = inputs(g, options.batch, device, dtype)
    optimizer = torch.optim.AdamW(dual.sharing.parameters(), lr=1e-6, fused=device == "cuda")

    def step() -> None:
        dual(**given).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    _reset_peak(device)
    seconds = _times({"step": step}, options.rounds, device)["step"]
    if options.profile is not None:
        _profile(step, options.profile / f"{name}.txt", device)
    return {
        "training_batch": options.batch,
        "training_pairs_per_s": options.batch / seconds,
        "training_tflops_per_s": 2 * options.batch * dual_flops(g) / seconds / 1e12,
        "training_peak_memory_bytes": _peak(device),
        "num_trainable": sum(p.numel() for p in dual.sharing.parameters()),
    }


def _profile(step: Callable[[], Any], path: Path, device: str) -> None:
    """Where a training step spends its time, operator by operator."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as seen:
        step()
        _wait(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    path.write_text(seen.key_averages().table(sort_by=key, row_limit=40), encoding="utf-8")


def _times(arms: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each arm, interleaved, after a warm-up that also compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for i in range((WARM_UP if device == "cuda" else 1) + rounds):
        for name, arm in arms.items():
            _wait(device)
            began = time.perf_counter()
            arm()
            _wait(device)
            if i >= (WARM_UP if device == "cuda" else 1):
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


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
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in training")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="write there where a training step of each geometry spends its time")
    parser.add_argument("--peak-tflops", type=float, default=PEAK_TFLOPS, help="what the floor assumes")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    main()
