"""Build a dataset: plan, stream what is missing, commit. Killed at any moment, it goes on from the shards that are there."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bfs_model import bundle, integrity
from bfs_model.errors import BadInput
from bfs_platform.data.encode import UNUSED
from bfs_platform.data.finish import KIND, BuildFailed, check_reject_rate, commit, write_rejects
from bfs_platform.data.plan import Plan, Unit, list_rows, make_plan
from bfs_platform.data.record import digest_of
from bfs_platform.data.sources.base import Source
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.workspace import Receipt, Workspace

Stream = Callable[[list[Unit]], Iterable[Receipt]]


def build(source: Source, output: Path, spec: DataSpec, base: str = "tiny", commercial: bool = False, stream: Stream | None = None) -> Path:
    """Build the dataset of `spec` from `source` into the directory `output` and return the path of its manifest.

    Args: `base` names the bundle whose encoders make the latents (unused when the recipe does not encode); `commercial` refuses
    sources whose licence does not allow such use; `stream` replaces Ray Data (tests, plain loops).
    Raises: `BadInput` before any work starts, `BuildFailed` when too many records are rejected.
    """
    output = Path(output).expanduser().absolute()
    check_licence([source], commercial)
    rows = list_rows(source, spec.max_records)
    plan = make_plan(source, rows, spec, base_of(base) if spec.encode.enabled else None)
    identity = digest_of([spec.resolved()["spec"] | {"execution": None}, [unit.key for unit in plan.units]])
    finished = _already_committed(output, identity)
    if finished is not None:
        print(f"{output} holds this very dataset already", file=sys.stderr)
        return finished
    workspace = Workspace(output)
    with workspace.locked():
        start = time.perf_counter()
        receipts = _collect(workspace, plan, spec, stream or _ray_stream(source, spec, output, base))
        notes = {"identity": identity, "wall_s": round(time.perf_counter() - start, 3), "stage_s": _stage_seconds(receipts)}
        notes |= {"input": str(source.root), "base": base, "execution": spec.execution.model_dump(mode="json")}
        return commit(workspace, plan, spec, receipts, notes)


def check_licence(sources: Iterable[Source], commercial: bool) -> None:
    """Raise `BadInput` naming every source that may not go into a commercially usable dataset."""
    refused = [f"{s.name} ({s.licence.name})" for s in sources if not s.licence.commercial]
    if commercial and refused:
        remedy = "leave the source out, or build without --commercial"
        raise BadInput("--commercial", ", ".join(refused), "does not allow commercial use", remedy)


def base_of(name: str) -> dict[str, str]:
    """Name and content hash of a bundle or model, whose encoders are checked here, before the first record is read.

    A folder is known by its last name: the same bundle elsewhere is the same.
    """
    path = bundle.locate(name)
    manifest = integrity.read_manifest(path)
    for entry in manifest["files"]:
        if entry["path"].split("/")[0] not in UNUSED:
            integrity.verify_file(path, entry)
    return {"name": name if name == "tiny" else path.name, "content_hash": manifest["content_hash"]}


def _collect(workspace: Workspace, plan: Plan, spec: DataSpec, stream: Stream) -> list[Receipt]:
    """The receipts of all units: those that are there, and those that the stream makes now."""
    found = {unit.shard: workspace.receipt_of(unit) for unit in plan.units}
    receipts = [receipt for receipt in found.values() if receipt is not None]
    missing = [unit for unit in plan.units if found[unit.shard] is None]
    progress = Progress(plan.num_records, receipts)
    if missing:
        for receipt in stream(missing):
            receipts.append(receipt)
            progress.add(receipt)
            _stop_if_hopeless(workspace, receipts, plan.num_records, spec.max_reject_rate)
    if len(receipts) != len(plan.units):
        raise BuildFailed(f"{len(plan.units) - len(receipts)} of {len(plan.units)} shards were not built; run the build again to go on.")
    return receipts


def _stop_if_hopeless(workspace: Workspace, receipts: list[Receipt], total: int, allowed: float) -> None:
    """Rejects never become fewer: once there are too many for the whole build, the rest need not be made."""
    rejects = [reject for receipt in receipts for reject in receipt.rejects]
    if len(rejects) > allowed * total:
        listed = workspace.root / "rejects.jsonl"
        write_rejects(listed, rejects)
        check_reject_rate(rejects, total, allowed, listed)


def _ray_stream(source: Source, spec: DataSpec, output: Path, base: str) -> Stream:
    def stream(units: list[Unit]) -> Iterator[Receipt]:
        from bfs_platform.data.stream import run_stream
        from bfs_platform.jobs import connect_ray

        connect_ray()
        yield from run_stream(units, spec, source.folder, output, base if spec.encode.enabled else None)

    return stream


def _already_committed(output: Path, identity: str) -> Path | None:
    """The manifest of `output` when it is whole and of this very build. Raises `BadInput` when something else lies there."""
    if not output.exists():
        return None
    if not output.is_dir() or (any(output.iterdir()) and not (output / integrity.MANIFEST).exists()):
        raise BadInput("output", output, "exists and was not written by BFS", "choose another directory or remove it")
    try:
        manifest = integrity.verify(output, KIND)
    except integrity.IntegrityError:
        return None
    return output / integrity.MANIFEST if manifest["notes"].get("identity") == identity else None


def _stage_seconds(receipts: list[Receipt]) -> dict[str, float]:
    """Time per stage, summed over all processes."""
    stages = sorted({stage for receipt in receipts for stage in receipt.seconds})
    return {stage: round(sum(r.seconds.get(stage, 0.0) for r in receipts), 3) for stage in stages}


class Progress:
    """A line on stderr: records of the total, rejects, records per second. At most two lines per second."""

    def __init__(self, total: int, found: list[Receipt]) -> None:
        self.total = total
        self.done = self.resumed = sum(_size(receipt) for receipt in found)
        self.rejects = sum(len(receipt.rejects) for receipt in found)
        self.start = time.monotonic()
        self.shown = 0.0
        if found:
            print(f"resuming: {self.done} of {total} records are there", file=sys.stderr)

    def add(self, receipt: Receipt) -> None:
        """Count one more unit."""
        self.done += _size(receipt)
        self.rejects += len(receipt.rejects)
        now = time.monotonic()
        if now - self.shown >= 0.5 or self.done == self.total:
            self.shown = now
            rate = (self.done - self.resumed) / max(now - self.start, 1e-6)
            print(f"{self.done}/{self.total} records, {self.rejects} rejected, {rate:.1f} rec/s", file=sys.stderr, flush=True)


def _size(receipt: Receipt) -> int:
    return len(receipt.records) + len(receipt.rejects)


def in_process(source: Source, spec: DataSpec, output: Path, base: str = "tiny", components: Any = None) -> Stream:
    """The same stages in a plain loop of this process: the reference that the Ray stream must equal, and the way of small tests."""

    def stream(units: list[Unit]) -> Iterator[Receipt]:
        from bfs_platform.data.stages.compose import Composer
        from bfs_platform.data.work import compose_unit, finish_unit

        composer = Composer(spec)
        encoder: Any = None
        if spec.encode.enabled:
            from bfs_platform.data.encode import Encoder

            encoder = Encoder(spec.encode, base, components)
        for unit in units:
            draft = compose_unit(unit, source.folder, composer)
            yield finish_unit(encoder(draft) if encoder else draft, Workspace(output))

    return stream
