"""A process that has imported everything a training worker needs, and forks one for each line on its standard input.

A worker starts in a fraction of a second instead of ten, so that many can be killed in a test. Run by `ranks.Ranks` only.
Each line is a JSON object: `config`, `rank`, `world_size`, `rendezvous` (a file), `result` (a file), `prepare` (Python that
the worker runs first, to break something on purpose). Each answer is one: `{"started": pid}`, `{"pid": pid, "status": wait status}`.
"""

import faulthandler
import importlib
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any


def work(order: dict[str, Any]) -> None:
    """One rank of a training run."""
    import torch.distributed as dist

    from bfs_platform.train.launch.worker import run_worker

    place = {"RANK": order["rank"], "LOCAL_RANK": order["rank"], "WORLD_SIZE": order["world_size"], "LOCAL_WORLD_SIZE": order["world_size"]}
    os.environ.update({name: str(value) for name, value in place.items()})
    store = dist.FileStore(order["rendezvous"], order["world_size"])
    dist.init_process_group("gloo", store=store, rank=order["rank"], world_size=order["world_size"])
    exec(order["prepare"], {"order": order})
    result = run_worker(order["config"])
    Path(order["result"]).write_text(json.dumps({"returned": result}), encoding="utf-8")


def fork(order: dict[str, Any]) -> int:
    """Start a worker; its output goes to the log beside its result."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(order["result"] + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.enable()
        work(order)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        Path(order["result"]).write_text(json.dumps({"raised": f"{type(error).__name__}: {error}"}), encoding="utf-8")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of gloo would wait for ranks that were killed


def warm() -> None:
    """Import what a worker imports."""
    import torch

    torch.set_num_threads(1)
    for name in (
        "safetensors.torch",
        "bfs_platform.data.shard.reading",
        "bfs_platform.train.sample.probes",
        "bfs_platform.train.launch.worker",
    ):
        importlib.import_module(name)
    from bfs_model import BFSPipeline
    from bfs_platform.train import loop
    from bfs_platform.train.network import autoencoders, backbone, compositor, rgba_vae, sharing
    from bfs_platform.train.state import engine

    engine._deepspeed()
    assert BFSPipeline and loop and autoencoders and backbone and compositor and rgba_vae and sharing


def main() -> None:
    """Fork on request, report every end, and leave when the standard input closes."""
    warm()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    children: set[int] = set()
    waiting = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.02)
        if readable:
            read = os.read(0, 1 << 20)
            if not read:
                break  # the test run is over, or was killed
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                children.add(pid := fork(json.loads(line)))
                print(json.dumps({"started": pid}), flush=True)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                print(json.dumps({"pid": pid, "status": status}), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
