"""`make demo`: the whole platform, small, on the embedded default; every step is a command that users can repeat.

Renders scenes, builds both training sets, trains both stages, evaluates, registers and promotes, serves the promoted
version, and asks the service for a layer. Nothing is left running, also after Ctrl-C.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.console import log_file
from bfs_platform.console.progress import duration
from bfs_platform.console.screen import say
from bfs_platform.jobs import JobParser, exit_code, leave_ray
from bfs_platform.processes import Child, free_port, private_cluster, run_script, short, show

_NUM_STEPS = 8
_LIGHT_PATHS = 8  # a sixth of the default: coarser shadows, sooner
_HOME = "BFS_HOME"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    parser = JobParser(prog="make demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="directory of all results; an earlier demo there is replaced")
    parser.add_argument("--scenes", type=int, default=16, help="training scenes to render")

    def run() -> str:
        arguments = parser.parse_args(argv)
        return Demo(arguments.output.absolute(), arguments.scenes, arguments.verbose).run()

    return exit_code(run, leave=leave_ray)


class Demo:
    """The steps, in order. `out` holds one folder per step."""

    def __init__(self, out: Path, scenes: int, verbose: bool = False) -> None:
        if scenes < 16:
            raise BadInput("scenes", scenes, "is too few to train on", "use 16 or more")
        self.out, self.scenes, self.verbose = out, scenes, verbose
        self.began, self.step = time.monotonic(), 0
        self.environment = dict(os.environ)

    def run(self) -> str:
        """Everything. Returns the last line of the summary."""
        _replace(self.out)
        os.environ[log_file.VARIABLE] = str(self.out / "demo.log")  # one log for all programs
        self.environment |= {_HOME: str(self.out / "home"), log_file.VARIABLE: os.environ[log_file.VARIABLE], "HF_HUB_OFFLINE": "1"}
        self.environment.pop("MLFLOW_TRACKING_URI", None)  # the demo has a database of its own, in its home
        rest = "" if self.verbose else f" What libraries print is in {short(os.environ[log_file.VARIABLE])}."
        say(f"BFS demo in {short(str(self.out))}, on a Ray cluster of its own.{rest}")
        with private_cluster() as cluster:
            self.environment |= cluster
            self.render()
            self.build()
            self.train()
            self.evaluate_and_promote()
            self.serve()
        return self.summary()

    def render(self) -> None:
        self.announce("Render the tabletop world: scenes with and without their object")
        paths = ("--samples", _LIGHT_PATHS)
        self.job("render_tabletop", "--scenes", self.scenes, "--seed", 7, *paths, "--output", self.out / "tabletop")
        self.job("render_tabletop", "--scenes", 6, "--seed", 11, *paths, "--split", "heldout", "--output", self.out / "heldout")

    def build(self) -> None:
        source = ("--source", "rorem", "--input", self.out / "tabletop")
        self.announce("Build the stage-1 set with Ray Data: matting, the renderings' own shadows, recomposition, encoding")
        self.job("build_stage1", "--recipe", "tabletop_data_rendered", *source, "--output", self.out / "data-stage1")
        self.announce("Build the stage-2 set with Ray Data")
        self.job("build_stage2", *source, "--output", self.out / "data-stage2")

    def train(self) -> None:
        self.announce("Train stage 1: Ray Train, DeepSpeed ZeRO, two workers")
        self.job("stage1", "--recipe", "demo_stage1", "--dataset", self.out / "data-stage1", "--output", self.out / "stage1", told=[_HOME])
        self.announce("Train stage 2 on top of it")
        sets = ("--dataset", self.out / "data-stage1", "--dataset", self.out / "data-stage2")
        base = ("--base", self.out / "stage1")
        self.job("stage2", "--recipe", "demo_stage2", *sets, *base, "--output", self.out / "stage2", told=[_HOME])

    def evaluate_and_promote(self) -> None:
        self.announce("Evaluate on scenes that no training saw")
        model = self.out / "stage2" / "model"
        self.job(
            "evaluate", "--model", model, "--input", self.out / "heldout", "--output", self.out / "evaluation", "--track", told=[_HOME]
        )
        self.announce("Register in MLflow and promote through the gates")
        evaluation = ("--evaluation", self.out / "evaluation")
        self.job("promote", "--candidate", model, *evaluation, "--output", self.out / "promotion", told=[_HOME])

    def serve(self) -> None:
        from bfs_platform.demo_request import request_layer

        self.announce("Serve models:/bfs@champion with Ray Serve and ask it for a layer over HTTP")
        port = free_port()
        command = [_program("bfs"), "serve", "--model", "models:/bfs@champion", "--port", str(port)]
        show(command, {_HOME: self.environment[_HOME]})
        with Child(command, self.environment) as service:
            service.wait_for("ready http")
            request_layer(f"http://127.0.0.1:{port}", self.out / "heldout", self.out / "result")

    def job(self, name: str, *arguments: object, told: Sequence[str] = ()) -> None:
        """Run one job to its end. Raises `Failure` when it fails."""
        verbose = ["--verbose"] if self.verbose else []
        run_script(name, [*(str(argument) for argument in arguments), *verbose], self.environment, told)

    def announce(self, title: str) -> None:
        self.step += 1
        say(f"\n[{self.step}/{_NUM_STEPS}] {title}  ({duration(time.monotonic() - self.began)} so far)")

    def summary(self) -> str:
        """Say what there is to look at, and how to go on. Returns the path of the layer."""
        from bfs_platform.demo_request import scene_of

        result, home = self.out / "result", {_HOME: self.environment[_HOME]}
        scene = scene_of(self.out / "heldout", 1)
        say(f"\nDone in {duration(time.monotonic() - self.began)}. Nothing is left running. To look at:\n")
        say(f"  {short(str(result / 'overview.png'))}  background with box, layer, its alpha, composite, truth")
        say(f"  {short(str(result / 'document.psd'))}  the layer over its background, for Photoshop, Krita and GIMP")
        say("\nThe report of the evaluation; the runs and the registry; a layer of your own; the service:\n")
        show([sys.executable, "-m", "webbrowser", (self.out / "evaluation" / "report" / "index.html").as_uri()])
        show([_program("mlflow"), "ui", "--workers", "1", "--backend-store-uri", f"sqlite:///{self.out / 'home' / 'mlflow.db'}"])
        picture = ["--background", str(scene.background), "--box", str(scene.box), "--prompt", scene.prompt]
        output = ["--output", str(result / "mine.psd"), "--composite", str(result / "mine.png")]
        show([_program("bfs"), "generate", "--model", str(self.out / "stage2" / "model"), *picture, *output])
        show([_program("bfs"), "serve", "--model", "models:/bfs@champion"], home)
        return str(result / "layer.png")


def _program(name: str) -> str:
    """A program of this environment: its folder is on nobody's path."""
    return str(Path(sys.executable).with_name(name))


def _replace(out: Path) -> None:
    """An empty output directory; what an earlier demo left there goes, anything else is refused."""
    marker = out / ".bfs-demo"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise BadInput("output", out, "exists and holds no demo", "choose another directory")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()


if __name__ == "__main__":
    log_file.separate("demo")
    sys.exit(main())
