"""The whole road, small: every command of it with few records and steps, a kill in the middle of the training, and a served layer."""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.config import get
from bfs_platform.console.screen import say
from bfs_platform.processes import ROOT, Child, free_port, private_cluster, short, show
from bfs_platform.rehearse.records import write_records, write_shadows
from bfs_platform.rehearse.road import SERVE, Step, road, shadow_road
from bfs_platform.rehearse.watch import Watched, watched
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.plan.geometry import Geometry, flux, of_configs
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import optimizers

MARKER = ".bfs-rehearsal"
HANDFUL = 6
_BASE = "FLUX.1-Fill-wide"
_KINDS = ("caption.kind=metadata", "matting.kind=closed_form", "models.batch_size=1", "models.flux_shadow_steps=1")
_SHARE = 0.4  # of a GPU, of the encoder and of the shadow network alike: both lie on one
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is rehearsed: the recipe, the sides of its pictures, how many steps and workers, and the blocks of each kind.

    `workers`: of every training; `None` for two, or one where there is one GPU. `tiny`: tiny widths instead of the real ones, for a look
    at the road alone.
    """

    recipe: str
    output: Path
    side: int = 128
    steps: int = 4
    workers: int | None = None
    blocks: int = 1
    tiny: bool = False

    def run(self) -> list[dict[str, Any]]:
        """Everything, in order; what was seen of every step. Raises `BadInput` for the settings, `Failure` when a step fails."""
        if self.side % 16 or self.side < 64:
            raise BadInput("side", self.side, "is not a multiple of 16 from 64 on", "use 128")
        if self.steps < 2:
            raise BadInput("steps", self.steps, "leaves no step to be killed before", "use 2 or more")
        num_workers, steps = self.num_workers, self.walk()  # say what is wrong before anything of an earlier rehearsal is removed
        say(f"Trainings of {num_workers} workers, on {num_gpus() or 'no'} GPUs")
        self._clear()
        environment = self._environment()
        self._materials()
        seen: list[dict[str, Any]] = []
        with private_cluster() as cluster:
            environment |= cluster
            for number, step in enumerate(steps, 1):
                say(f"[{number}/{len(steps) + 1}] {step.title}")
                seen.append(self._step(step, environment))
            say(f"[{len(steps) + 1}/{len(steps) + 1}] service")
            seen.append({"title": "service", **self._served(environment)})
        return seen

    def walk(self) -> list[Step]:
        """The whole walk of docs/training.md, on what `run` writes below its output. Raises `BadInput` for the recipe."""
        base, held_out = (str(self.output / name) for name in (_BASE, "held-out"))
        shadows, source, measured = (
            ["--source", kind, "--input", str(self.output / name)]
            for name, kind in (("shadows", "desobav2"), ("records", "rorem"), ("held-out", "rorem"))
        )
        return [*shadow_road(self.recipe, base, shadows), *road(self.recipe, base, source, measured, held_out)]

    @property
    def num_workers(self) -> int:
        """Workers of every training: each takes a GPU where there are any. Raises `BadInput` for more than these."""
        gpus = num_gpus()
        if gpus and self.workers is not None and self.workers > gpus:
            raise BadInput("workers", self.workers, f"is more than this machine has GPUs ({gpus})", f"use {gpus}")
        return self.workers or (min(_WORKERS, gpus) if gpus else _WORKERS)

    def geometry(self) -> Geometry:
        """Sizes of the model that is trained in this rehearsal."""
        spec = get(self.recipe)
        assert isinstance(spec, TrainSpec)
        assert isinstance(spec.network, SharingSpec)
        if self.tiny:
            folder = self.output / _BASE
            read = {part: json.loads((folder / part / "config.json").read_text(encoding="utf-8")) for part in ("transformer", "vae")}
            factor = 2 ** (len(read["vae"]["block_out_channels"]) - 1)
            width = read["transformer"]["attention_head_dim"] * read["transformer"]["num_attention_heads"]
            sharing = {"rank": spec.network.rank, "mixer": spec.network.mixer, "mixer_hidden": spec.network.mixer_hidden or width // 4}
            return of_configs(read["transformer"], sharing, (self.side // factor // 2) ** 2, 512)
        whole = flux(512, spec.network)
        return replace(whole, num_double=self.blocks, num_single=self.blocks, image_tokens=(self.side // 16) ** 2)

    def _clear(self) -> None:
        root = self.output
        if root.exists() and any(root.iterdir()) and not (root / MARKER).exists():
            raise BadInput("output", root, "exists and holds no rehearsal", "choose another directory")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        (root / MARKER).touch()

    def _materials(self) -> None:
        widths = "tiny" if self.tiny else "real"
        say(f"A folder laid out as FLUX.1-Fill's with {widths} widths and random weights, and {HANDFUL} records of {self.side}²")
        if self.tiny:
            from bfs_model.tiny.flux_fill import random_flux_fill

            random_flux_fill(self.output / _BASE)
        else:
            from bfs_model.tiny.full_width import wide_flux_fill

            wide_flux_fill(self.output / _BASE, self.blocks, self.blocks)
        write_records(self.output / "records", HANDFUL, self.side, seed=7)
        write_records(self.output / "held-out", 2, self.side, seed=11)
        write_shadows(self.output / "shadows", HANDFUL, self.side, seed=13)

    def _environment(self) -> dict[str, str]:
        # The folder is laid out as FLUX.1-Fill's, but its weights are random: there is no licence to take on.
        own = {"BFS_HOME": str(self.output / "home"), "HF_HUB_OFFLINE": "1", "BFS_ACCEPT_FLUX_LICENCE": "1"}
        return {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | own

    def _step(self, step: Step, environment: dict[str, str]) -> dict[str, Any]:
        """Run one step; of stage 1 and stage 2 a first run is killed behind its first checkpoint, and a second one goes on."""
        command = [*step.command(str(self.output)), *(part for change in self.changes(step) for part in ("--set", change))]
        command = [sys.executable, str(ROOT / command[0]), *command[1:]]
        show(command)
        log, output = self.output / "log.txt", self.output / step.output
        facts: dict[str, Any] = {"title": step.title, "job": step.job, "recipe": step.recipe}
        if step.job in ("stage1", "stage2"):
            killed = watched(command, environment, log, kill_when=lambda: any(output.glob("checkpoints/*/manifest.json")))
            facts["killed_after_s"] = round(killed.wall_s, 1) if killed.killed else None
        done = watched(command, environment, log)
        return facts | _seen(done) | (_trained(output) if step.trains else {})

    def changes(self, step: Step) -> Sequence[str]:
        """What makes a step of the road small; everything else is as its recipe says."""
        gpu = num_gpus() > 0
        if step.job.startswith("build"):
            small = (f"buckets=[[{self.side},{self.side}]]", "records_per_shard=2", "checks.min_object_pixels=16", "max_reject_rate=0.5")
            # Pictures for the shadow network have no other background than the one that their recipe makes.
            background = () if step.output == "shadow-set" else ("background.kind=dataset",)
            share = _SHARE if gpu else 0
            pools = ("encoders=1", f"gpus_per_encoder={share}", "models.flux_shadow.workers=1", f"models.flux_shadow.gpus={share}")
            memory = () if gpu and _has_bitsandbytes() else ("memory=none",)
            return (*small, *_KINDS, *memory, *background, *(f"execution.{pool}" for pool in pools))
        if step.trains:
            changes = [f"num_steps={self.steps}", f"batch_size={self.num_workers}", "micro_batch_size=1"]
            changes += [f"num_workers={self.num_workers}"]
            changes += ["threads_per_worker=1", f"use_gpu={str(gpu).lower()}", "checkpoint.every_steps=1", "log_every_steps=1"]
            changes += ["optimizer.warmup_steps=0", "sample_every_steps=0", "validate_every_steps=0"]
            changes += {
                "train_rgba_vae": ["network.crop=64", "network.held_out=1", "optimizer.lr=0.002"],
                "train_compositor": ["network.held_out=1", "network.crop=6"],
            }.get(step.job, [])
            return [*changes, *([] if _has_bitsandbytes() else _without_bitsandbytes(step.recipe))]
        if step.job == "evaluate":
            return (
                *(f"learned.{name}=null" for name in ("clip", "dino", "kid", "pyiqa", "hpsv3")),
                *("num_records=1", f"short_side={self.side}", "kept_records=1", "steps=1", "baselines=[]", "actors=1"),
                *(f"gpus_per_actor={int(gpu)}", *([] if _has_bitsandbytes() else ["memory=null"])),
            )
        # Layers of random weights may cover a picture whole: there is no background left whose change could be measured.
        return ("smoke.steps=1", "smoke.may_be_blank=true", 'thresholds={"failed_fraction": {"max": 0.0}}')

    def _served(self, environment: dict[str, str]) -> dict[str, Any]:
        """Serve the promoted version and ask it for a layer of one step."""
        from bfs_platform.client import BFSClient

        port, began = free_port(), time.monotonic()
        program = str(Path(sys.executable).with_name("bfs"))
        command = [program, *SERVE[1:], "--port", str(port)]
        show(command)
        with Child(command, environment) as service:
            service.wait_for("ready http")
            ready_s = time.monotonic() - began
            with BFSClient(f"http://127.0.0.1:{port}") as client:
                picture = self.output / "held-out" / "GT" / "0000.png"
                quarter = self.side // 4
                drawn = client.draw(picture, (quarter, quarter, 3 * quarter, 3 * quarter), "a red ball", seed=7, steps=1)
                (self.output / "layer.png").write_bytes(drawn.png())
        return {"wall_s": round(time.monotonic() - began, 1), "ready_s": round(ready_s, 1), "layer": short(str(self.output / "layer.png"))}


def _without_bitsandbytes(recipe: str) -> list[str]:
    spec = get(recipe)
    assert isinstance(spec, TrainSpec)
    return ["memory=none", *(["optimizer.kind=adamw"] if spec.optimizer.kind == optimizers.EIGHT_BITS else [])]


def num_gpus() -> int:
    """Accelerators of this machine, which a rehearsal uses where there are any."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_bitsandbytes() -> bool:
    import importlib.util

    return importlib.util.find_spec("bitsandbytes") is not None


def _seen(done: Watched) -> dict[str, Any]:
    return {"wall_s": round(done.wall_s, 1), "cpu_s": round(done.cpu_s, 1), "peak_bytes": done.peak_bytes}


def _trained(output: Path) -> dict[str, Any]:
    """The steps that a run has behind it, from its losses: every one once, whatever was killed; seconds and memory of the last ones."""
    lines = [json.loads(line) for line in (output / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "steps": [line["step"] for line in lines],
        "losses": [round(line["loss"], 4) for line in lines],
        "step_s": min(line["step_s"] for line in lines),
        "memory_bytes": max(line["memory_bytes"] for line in lines),
    }
