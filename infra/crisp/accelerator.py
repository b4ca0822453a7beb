#!/usr/bin/env python
"""Backbone and both stages in nine minutes on an accelerator, from what `packed.py` packed: the recipes of `train.sh`, another device.

    PYTHONPATH=.:platform python infra/crisp/accelerator.py --packed crisp/packed --output OUT

It needs torch, diffusers, transformers, peft and pydantic, and keeps all data in the device's memory. A phase ends when its time
does; its rate falls over the last third. Written are averages of the weights in half precision, in files of at most 16 MiB, and the
losses; `packed.py join` makes a bundle of them.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import torch
from diffusers import FluxTransformer2DModel
from packed_set import SUFFIX, PackedSet, save_pieces
from torch import Tensor, nn

from bfs_model import objectives
from bfs_model.latent import flow
from bfs_model.latent.latents import pack
from bfs_model.network.compositor import LatentCompositor
from bfs_model.network.dual_branch import DualBranch
from bfs_model.network.sharing import InformationSharing
from bfs_model.objectives import Draw, LatentBatch, Step
from bfs_platform.config import resolve
from bfs_platform.train.network.backbone import BackboneModule
from bfs_platform.train.network.sharing import StageModule, options_of
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.report.validation import NUM_BANDS, draw_in_band
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import ema, optimizers

RECIPES = ("crisp_backbone", "crisp_stage1", "crisp_stage2")
_NUM_LINES = 40  # of the log, in a phase
_NUM_LEVELS = 20_000  # noise levels drawn beforehand: a thread of the processor would be in the way of the device
_STEP = -2  # no step of any other training draws with it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, required=True, help="folder that packed.py wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs=3, default=(280.0, 180.0, 20.0), help="of the backbone, stage 1 and stage 2")
    parser.add_argument("--batch-factor", type=int, default=2, help="times the recipes' batch; the rate rises by the root of it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    sets = {path.name.removesuffix(SUFFIX): PackedSet.load(path, device) for path in options.packed.glob(f"*{SUFFIX}")}
    dual = DualBranch(
        FluxTransformer2DModel.from_pretrained(options.packed / "transformer").float().to(device),
        InformationSharing.from_pretrained(options.packed / "sharing").float().to(device),
    )
    compositor = LatentCompositor.from_pretrained(options.packed / "compositor").float().to(device)
    specs = [_larger(resolve(name, [], TrainSpec), options.batch_factor) for name in RECIPES]

    for old in options.output.glob("*.safetensors"):  # of another run
        old.unlink()
    with (options.output / "losses.jsonl").open("w", encoding="utf-8") as log:
        transformer = dual.eject().requires_grad_(True)
        Phase(BackboneModule(transformer), specs[0], sets, options.seconds[0]).run(log)
        save_pieces(transformer.state_dict(), options.output, "transformer")
        transformer.requires_grad_(False)
        dual.inject()
        for number, spec in enumerate(specs[1:], 1):
            Phase(StageModule(dual, compositor, spec.network.guidance), spec, sets, options.seconds[number]).run(log)
            save_pieces(dual.sharing.state_dict(), options.output, f"sharing-stage{number}")


class Phase:
    """One network in training for a given time; afterwards it holds the average of its weights."""

    def __init__(self, module: nn.Module, spec: TrainSpec, sets: Mapping[str, PackedSet], seconds: float) -> None:
        self.module, self.spec, self.sets, self.seconds = module, spec, sets, seconds
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.parameters]
        self.optimizer = optimizers.make(self.parameters, spec)
        self.device = self.parameters[0].device
        self.levels = self._levels().to(self.device)

    def run(self, log: TextIO) -> None:
        """Train. Lines of `log`: the mean loss since the line before, and losses of the average on the validation set."""
        begun, num_steps, num_lines, recent = time.perf_counter(), 0, 0, list[Tensor]()
        while (share := (time.perf_counter() - begun) / self.seconds) < 1:
            recent.append(self._step(num_steps, share))
            num_steps += 1
            if share * _NUM_LINES >= num_lines:
                loss, num_lines = float(torch.stack(recent).mean()), num_lines + 1
                if not math.isfinite(loss):
                    raise SystemExit(f"the loss at step {num_steps} is {loss}: give a smaller --batch-factor")
                self._write(log, num_steps, {"loss": loss, **self._validated()})
                recent.clear()
        seconds = time.perf_counter() - begun
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.copy_(average)
        self._write(log, num_steps, {**self._validated(), "samples_per_s": num_steps * self.spec.batch_size / seconds})

    def _step(self, number: int, share: float) -> Tensor:
        """One update; `share` of the time is over."""
        spec, optimizer = self.spec, self.spec.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = optimizer.lr * min(1.0, (number + 1) / optimizer.warmup_steps, (1 - share) / optimizer.decay_share)
        option = objectives.choose(options_of(spec.network), spec.seed, number) if isinstance(spec.network, SharingSpec) else None
        packed = self.sets[option.data if option else "natural"]
        rows = torch.randint(len(packed), (spec.batch_size,), device=self.device)
        batch = packed.batch(rows, torch.rand(spec.batch_size, device=self.device) < spec.network.prompt_dropout)
        noise = torch.randn_like(batch.z_comp)
        draw = Draw(noise, noise, self.levels[torch.randint(len(self.levels), (spec.batch_size,), device=self.device)])
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, _ = self.module(batch, draw, option) if option else self.module(batch, draw, batch.z_bg)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, optimizer.clip_norm)
        self.optimizer.step()
        weight = 1 - ema.decay(spec.ema, number + 1, spec.batch_size)
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], weight)
        return loss.detach()

    def _levels(self) -> Tensor:
        """Noise levels as the recipe spreads them."""
        packed = self.sets["natural"]
        batch, kind = packed.batch(torch.arange(len(packed), device=self.device)), self.spec.network.noise_levels
        steps = range(_STEP, _STEP - math.ceil(_NUM_LEVELS / len(packed)), -1)
        return torch.cat([Draw.for_batch(batch, self.spec.seed, step, noise_levels=kind).sigma for step in steps])

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        """Losses of the average of the weights, of true prompts, over the bands of noise."""
        own = [p.detach().clone() for p in self.parameters]
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.copy_(average)
        packed = self.sets["validation"]
        batch = packed.batch(torch.arange(len(packed), device=self.device))
        found: dict[str, list[float]] = {}
        for band in range(NUM_BANDS):
            for name, value in self._losses(batch, draw_in_band(batch, self.spec.seed, band)).items():
                found.setdefault(name, []).append(float(value.mean()))
        for parameter, value in zip(self.parameters, own, strict=True):
            parameter.copy_(value)
        return {f"validation/{name}": sum(values) / NUM_BANDS for name, values in found.items()}

    def _losses(self, batch: LatentBatch, draw: Draw) -> dict[str, Tensor]:
        if isinstance(self.module, StageModule):
            prediction = objectives.predict(self.module.dual, batch, draw, self.module.guidance)
            return objectives.per_sample(Step(batch, draw, prediction, self.module._frozen[0]))
        error = self.module.velocity(batch, draw, batch.z_bg) - pack(flow.velocity_target(batch.z_comp, draw.noise_comp))
        return {"flow": error.square()}

    def _write(self, log: TextIO, num_steps: int, values: dict[str, float]) -> None:
        line = {"phase": self.spec.recipe_name, "step": num_steps, "samples": num_steps * self.spec.batch_size}
        log.write(json.dumps(line | {name: round(value, 6) for name, value in values.items()}) + "\n")
        log.flush()
        print(line | values, flush=True)


def _larger(spec: TrainSpec, factor: int) -> TrainSpec:
    """The recipe with a batch `factor` times as large, at a rate that rises by its root."""
    optimizer = spec.optimizer.model_copy(update={"lr": spec.optimizer.lr * math.sqrt(factor)})
    return spec.model_copy(update={"batch_size": spec.batch_size * factor, "optimizer": optimizer})


if __name__ == "__main__":
    main()
