"""Render a tabletop set on a Ray cluster: chunks of scenes as tasks, the driver writes what comes back.

Only the driver touches the output, so the workers need no shared storage. An interrupted render continues where it stopped.
"""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.integrity import check_free
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.jobs import JobParser, connect_ray
from bfs_platform.storage.path import location
from bfs_platform.tabletop.render import DEFAULT_SAMPLES
from bfs_platform.tabletop.sample import Request, Sample, make_chunk
from bfs_platform.tabletop.vocabulary import SPLITS
from bfs_platform.tabletop.writer import KIND, Partial

# What the embedded model was trained on; older sets stay what they are, so `Request` keeps its own.
_RESOLUTION, _WORLD = 128, 2
_CHUNK = 4  # scenes per task: two seconds of work, so that little is lost and nobody waits long


def main(arguments: list[str] | None = None) -> Path:
    """Parse the command line of `jobs/render_tabletop.py`, render, and return the path of the manifest."""
    parser = JobParser(prog="render_tabletop.py", description="Render scenes of the tabletop world, each with and without its object.")
    parser.add_argument("--scenes", type=int, required=True, help="how many scenes")
    parser.add_argument("--seed", type=int, default=0, help="scene i depends only on the seed, the split and i (default 0)")
    parser.add_argument("--output", required=True, help="directory to write; a committed one is replaced")
    parser.add_argument("--split", default="train", help=f"{', '.join(SPLITS)}: they share no combination of shape, colour and material")
    parser.add_argument("--resolution", type=int, default=_RESOLUTION, help=f"side of the pictures in pixels (default {_RESOLUTION})")
    parser.add_argument("--samples", type=int, default=DEFAULT_SAMPLES, help=f"light paths per pixel (default {DEFAULT_SAMPLES})")
    parser.add_argument("--world", type=int, default=_WORLD, help=f"which world (default {_WORLD}): 1 has fewer shapes, textures, lights")
    parser.add_argument("--edits", action="store_true", help="also each scene with its object moved, scaled, duplicated and recoloured")
    given = parser.parse_args(arguments)
    request = Request(given.seed, given.split, given.resolution, given.samples, given.world, given.edits)
    return render_set(request, given.scenes, given.output)


def render_set(request: Request, num_scenes: int, output: str | Path) -> Path:
    """Render scenes 0 … `num_scenes` - 1 of a request into `output` and return the path of its manifest.

    Raises `BadInput` when `num_scenes` is not positive, or `output` was not written by BFS or is no place of this machine.
    """
    if not 0 < num_scenes <= 1_000_000:
        raise BadInput("scenes", num_scenes, "is not between 1 and 1000000", "ask for a whole number of scenes")
    place = location(output)
    if not isinstance(place, Path):
        raise BadInput("output", place, "is on an object store", "render into a directory, then copy it there")
    check_free(place, KIND)
    started = time.monotonic()
    with Partial(place, request).opened() as partial:
        missing = sorted(set(range(num_scenes)) - partial.finished(num_scenes))
        if len(missing) < num_scenes:
            say(f"Continuing: {num_scenes - len(missing)} of {num_scenes} scenes are already rendered.")
        with progress("rendering", num_scenes, "scenes") as show:
            show(num_scenes - len(missing))
            for done, sample in enumerate(_render_on_ray(request, missing), num_scenes - len(missing) + 1):
                partial.add(sample)
                show(done)
        return partial.publish(num_scenes, notes={"num_rendered": len(missing), "wall_s": round(time.monotonic() - started, 3)})


def _render_on_ray(request: Request, indices: list[int]) -> Iterator[Sample]:
    """Yield the scenes in the order in which they are finished, with a bounded number of tasks under way."""
    if not indices:
        return
    connect_ray()
    import ray

    task = ray.remote(make_chunk).options(num_cpus=1, max_retries=3)
    chunks = iter([indices[i : i + _CHUNK] for i in range(0, len(indices), _CHUNK)])
    num_under_way = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending: list[Any] = [task.remote(request, chunk) for chunk in islice(chunks, num_under_way)]
    while pending:
        ready, pending = ray.wait(pending, num_returns=1)
        yield from ray.get(ready[0])
        if (chunk := next(chunks, None)) is not None:
            pending.append(task.remote(request, chunk))
