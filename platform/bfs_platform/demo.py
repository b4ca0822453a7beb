"""`make demo`: the whole platform, small, on the embedded default; every step is a command that users can repeat.

Renders scenes, builds both training sets, trains both stages, evaluates, registers and promotes, serves the promoted
version, and asks the service for a layer. Nothing is left running, also after Ctrl-C.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.jobs import exit_code
from bfs_platform.processes import Child, free_port, private_cluster, run_script, show

_NUM_STEPS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="directory of all results; an earlier demo there is replaced")
    parser.add_argument("--scenes", type=int, default=48, help="training scenes to render")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: Demo(arguments.output.absolute(), arguments.scenes).run())


class Demo:
    """The steps, in order. `out` holds one folder per step."""

    def __init__(self, out: Path, scenes: int) -> None:
        if scenes < 16:
            raise BadInput("scenes", scenes, "is too few to train on", "use 16 or more")
        self.out, self.scenes = out, scenes
        self.began, self.step = time.monotonic(), 0
        self.environment = dict(os.environ)

    def run(self) -> str:
        """Everything. Returns the last line of the summary."""
        from bfs_platform.tracking.server import mlflow_server

        _replace(self.out)
        self.environment |= {"BFS_HOME": str(self.out / "home"), "HF_HUB_OFFLINE": "1"}
        self.say(f"BFS demo in {self.out}. Starting a Ray cluster and an MLflow server on the loopback interface.")
        with private_cluster() as cluster, mlflow_server(self.out / "mlflow") as mlflow:
            self.environment |= cluster | {"MLFLOW_TRACKING_URI": mlflow}
            self.render()
            self.build()
            self.train()
            self.evaluate_and_promote()
            result = self.serve()
        return self.summary(result)

    def render(self) -> None:
        self.announce("Render the tabletop world: scenes with and without their object")
        self.job("render_tabletop", "--scenes", self.scenes, "--seed", 7, "--output", self.out / "tabletop")
        self.job("render_tabletop", "--scenes", 8, "--seed", 11, "--split", "heldout", "--output", self.out / "heldout")

    def build(self) -> None:
        source = ("--source", "rorem", "--input", self.out / "tabletop")
        self.announce("Build the stage-1 set with Ray Data: matting, the renderings' own shadows, recomposition, encoding")
        self.job("build_stage1", "--recipe", "tabletop_data_rendered", *source, "--output", self.out / "data-stage1")
        self.announce("Build the stage-2 set with Ray Data")
        self.job("build_stage2", *source, "--output", self.out / "data-stage2")

    def train(self) -> None:
        self.announce("Train stage 1: Ray Train, DeepSpeed ZeRO, two workers")
        self.job("stage1", "--recipe", "demo_stage1", "--dataset", self.out / "data-stage1", "--output", self.out / "stage1")
        self.announce("Train stage 2 on top of it")
        sets = ("--dataset", self.out / "data-stage1", "--dataset", self.out / "data-stage2")
        self.job("stage2", "--recipe", "demo_stage2", *sets, "--base", self.out / "stage1", "--output", self.out / "stage2")

    def evaluate_and_promote(self) -> None:
        self.announce("Evaluate on scenes that no training saw")
        model = self.out / "stage2" / "model"
        self.job("evaluate", "--model", model, "--input", self.out / "heldout", "--output", self.out / "evaluation", "--track")
        self.announce("Register in MLflow and promote through the gates")
        self.job("promote", "--candidate", model, "--evaluation", self.out / "evaluation", "--output", self.out / "promotion")

    def serve(self) -> dict[str, str]:
        from bfs_platform.demo_request import request_layer

        self.announce("Serve models:/bfs@champion with Ray Serve and ask it for a layer over HTTP")
        port = free_port()
        command = [sys.executable, "-m", "bfs_serve", "--model", "models:/bfs@champion", "--port", str(port)]
        show(command)
        with Child(command, self.environment) as service:
            service.wait_for("ready http")
            return request_layer(f"http://127.0.0.1:{port}", self.out / "heldout", self.out / "result", self.say)

    def job(self, name: str, *arguments: object) -> None:
        """Run one job to its end. Raises `RuntimeError` when it fails."""
        run_script(name, [str(argument) for argument in arguments], self.environment)

    def announce(self, title: str) -> None:
        self.step += 1
        self.say(f"\n[{self.step}/{_NUM_STEPS}] {title}  ({time.monotonic() - self.began:.0f} s so far)")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def summary(self, result: dict[str, str]) -> str:
        lines = [f"\nDone in {(time.monotonic() - self.began) / 60:.1f} minutes. Nothing is left running.", ""]
        lines += [f"  {name:12} {path}" for name, path in result.items()]
        lines += [f"  {'report':12} {self.out / 'evaluation' / 'report' / 'index.html'}"]
        lines += [f"  {'MLflow':12} mlflow ui --backend-store-uri sqlite:///{self.out / 'mlflow' / 'mlflow.db'}"]
        self.say("\n".join(lines))
        return result["layer"]


def _replace(out: Path) -> None:
    """An empty output directory; what an earlier demo left there goes, anything else is refused."""
    marker = out / ".bfs-demo"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise BadInput("output", out, "exists and holds no demo", "choose another directory")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()


if __name__ == "__main__":
    sys.exit(main())
