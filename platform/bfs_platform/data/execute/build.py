"""Build a dataset: plan, stream what is missing, commit. Killed at any moment, it goes on from the shards that are there."""

import sqlite3
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import bundle, foreign
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.data.execute import held_out
from bfs_platform.data.execute.encode import UNUSED, check_sides
from bfs_platform.data.execute.finish import AnyWorkspace, BuildFailed, check_reject_rate, commit, workspace_of
from bfs_platform.data.model.base import identities
from bfs_platform.data.plan.gauges import BuildGauges
from bfs_platform.data.plan.ledger import Units
from bfs_platform.data.plan.pace import Pace
from bfs_platform.data.plan.plan import Plan, build_identity, make_plan
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.record import digest_of
from bfs_platform.data.shard.remote_workspace import retract
from bfs_platform.data.source.base import Source
from bfs_platform.data.spec import KIND, MEASURES, BoundSpec, DataSpec
from bfs_platform.storage.manifests import check_sizes, read_manifest, verify
from bfs_platform.storage.path import Location, RemotePath, location, reachable
from bfs_platform.untrained import check_trained

Stream = Callable[[Sequence[Unit]], Iterable[Receipt]]


def build(
    source: Source, output: Location, spec: DataSpec, base: str = "tiny", commercial: bool = False, stream: Stream | None = None
) -> Location:
    """Build the dataset of `spec` from `source` at `output`, a directory or a prefix of an object store; returns its manifest's place.

    Args: `base` names the bundle whose encoders make the latents (unused when the recipe does not encode); `commercial` refuses
    sources whose licence does not allow such use; `stream` replaces Ray Data (tests, plain loops).
    Raises: `BadInput` before any work starts, `BuildFailed` when too many records are rejected.
    """
    output = reachable(location(output), "output")
    check_licence([source], commercial)
    _check_apart(output, source.root)
    models = identities(spec)
    if spec.encode.enabled:
        check_trained(base, {"rgba_vae": "set encode.enabled=false to build the pictures alone"})
    made_with = base_of(base) if spec.encode.enabled else None
    if spec.encode.enabled:
        check_sides(spec.buckets, base)
    try:
        plan = make_plan(source, spec, made_with, models, held_out.identities(spec.curation.apart_from))
        if plan.ledger.num_skipped:
            skipped = f"{plan.ledger.num_skipped} hidden files or files of the system, first {plan.ledger.first_skipped}"
            say(f"passed over {skipped}")
        finished = _already_committed(output, plan.identity)
        if finished is not None:
            say(f"{output} holds this very dataset already")
            return finished
        workspace = workspace_of(output)
        with workspace.locked(digest_of([build_identity(spec, made_with, models), str(source.root)])):
            start = time.perf_counter()
            try:
                measured = _collect(workspace, plan, spec, stream or _ray_stream(source, spec, output, base))
            except Exception as error:
                finished = _overtaken(workspace, plan, error)
                if finished is None:
                    raise
                return finished
            seconds = {stage: round(s, 3) for stage, s in sorted(plan.ledger.seconds.items())}
            notes = {"identity": plan.identity, "wall_s": round(time.perf_counter() - start, 3), "stage_s": seconds}
            unread = dict(sorted(plan.ledger.unread.items()))
            notes |= {"skipped_files": plan.ledger.num_skipped, "unread_captions": unread}
            for encoder, count in unread.items():
                say(f"warning: {encoder} did not read {count} of {plan.num_records} captions whole: too long, or of unknown words")
            notes |= {"input": str(source.root), "base": base, "places": spec.places()}
            notes |= {"execution": spec.execution.model_dump(mode="json")}
            return _committed(workspace, plan, spec, notes | {"measured": measured})
    except sqlite3.OperationalError as error:  # "database or disk is full"
        remedy = "set TMPDIR to a folder with more room, and run the build again to go on"
        raise BuildFailed(f"The list of records does not fit into the folder for temporary files ({error}); {remedy}.") from None


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
    manifest = bundle.read(path)
    for entry in manifest["files"]:
        if entry["path"].split("/")[0] not in UNUSED:
            integrity.verify_file(path, entry)
    return {"name": name if name == "tiny" or foreign.is_hub_id(name) else path.name, "content_hash": manifest["content_hash"]}


def _collect(workspace: AnyWorkspace, plan: Plan, spec: DataSpec, stream: Stream) -> dict[str, Any]:
    """Put the receipts of all units into the ledger, those that are there and those that the stream makes now; how fast it made them."""
    ledger, missing = plan.ledger, array("q")
    # Shards that were collected before there were measures are collected again where those are asked for.
    measured = any(bound != BoundSpec() for bound in (getattr(spec.curation, name) for name in MEASURES))
    for unit in plan.units:
        receipt = workspace.receipt_of(unit)
        if receipt is None or (measured and receipt.records and not receipt.measures):
            missing.append(unit.shard)
        else:
            ledger.add(receipt)
    pace, gauges = Pace(ledger), BuildGauges(str(workspace.output), plan.num_records)
    if ledger.num_receipts:
        say(f"Continuing: {ledger.num_records} of {plan.num_records} records are there.")
    if missing:
        with progress(f"stage-{spec.stage} set", plan.num_records, "records") as shown:
            pace.show_on(shown)
            for receipt in stream(Units(ledger, missing)):
                ledger.add(receipt)
                pace.step()
                pace.show_on(shown)
                gauges.show(ledger)
                _stop_at_too_many_rejects(workspace, plan, spec)
    absent = ledger.num_units - ledger.num_receipts
    if absent:
        raise BuildFailed(f"{absent} of {ledger.num_units} shards were not built; run the build again to go on.")
    return pace.facts()


def _stop_at_too_many_rejects(workspace: AnyWorkspace, plan: Plan, spec: DataSpec) -> None:
    """Rejects never become fewer. Raises `BuildFailed`."""
    if plan.ledger.rejects.total() > spec.max_reject_rate * plan.num_records:
        listed = workspace.write_rejects(plan.ledger.reject_lines())
        check_reject_rate(plan.ledger.rejects, plan.num_records, spec.max_reject_rate, listed)


def _committed(workspace: AnyWorkspace, plan: Plan, spec: DataSpec, notes: dict[str, Any]) -> Location:
    """Commit; where another run of this very build was faster, its set is ours."""
    try:
        return commit(workspace, plan, spec, notes)
    except FileNotFoundError as error:
        finished = _overtaken(workspace, plan, error)
        if finished is None:
            raise
        return finished


def _overtaken(workspace: AnyWorkspace, plan: Plan, error: Exception) -> Location | None:
    """The manifest of this very set where another run put it into an object store and cleared away what this one worked on.

    A folder is locked: there, an error is this run's own, and so is what it says of the input or of the records.
    """
    if isinstance(workspace.output, Path) or isinstance(error, BadInput | BuildFailed):
        return None
    finished = _already_put(workspace.output, plan.identity)
    if finished is not None:
        workspace.remove()
    return finished


def _ray_stream(source: Source, spec: DataSpec, output: Location, base: str) -> Stream:
    def stream(units: Sequence[Unit]) -> Iterator[Receipt]:
        from bfs_platform.data.execute.stream import run_stream
        from bfs_platform.jobs import connect_ray

        connect_ray()
        yield from run_stream(units, spec, source.folder, output, base if spec.encode.enabled else None)

    return stream


def _check_apart(output: Location, root: Location) -> None:
    """Raises `BadInput` when committing at `output` would replace the input, or something that is no dataset."""
    if isinstance(output, Path) and isinstance(root, Path):
        place, origin = output.resolve(), root.resolve()
        if place.is_relative_to(origin) or origin.is_relative_to(place):
            rule = "is the input" if place == origin else "lies in the input" if place.is_relative_to(origin) else "holds the input"
            raise BadInput("output", output, rule, "choose a directory apart from it")
    manifest = output / integrity.MANIFEST
    if not isinstance(manifest, Path) or not manifest.is_file():
        return
    kind = integrity.kind_of(manifest)
    if kind is None:
        raise BadInput("output", output, f"has an unreadable {integrity.MANIFEST}", "choose another directory or remove it")
    if kind != KIND:
        raise BadInput("output", output, f"is a {kind}, not a {KIND}", "choose another directory or remove it")


def _already_committed(output: Location, identity: str) -> Location | None:
    """The manifest of `output` when it is whole and of this very build. Raises `BadInput` when something else lies there."""
    if not output.exists():
        return None
    if isinstance(output, RemotePath):
        return _already_put(output, identity)
    if not output.is_dir() or (any(output.iterdir()) and not (output / integrity.MANIFEST).exists()):
        raise BadInput("output", output, "exists and was not written by BFS", "choose another directory or remove it")
    try:
        manifest = verify(output, KIND)
    except integrity.IntegrityError:
        return None
    return output / integrity.MANIFEST if manifest["notes"].get("identity") == identity else None


def _already_put(output: RemotePath, identity: str) -> RemotePath | None:
    """The same for an object store, where nothing that was committed is replaced by something else."""
    found = output.files()
    if integrity.MANIFEST not in found:
        ours = any(name.startswith(".building/") for name in found)
        if found and not ours:
            raise BadInput("output", output, "holds objects that were not written by BFS", "choose another prefix or remove them")
        return None
    if read_manifest(output, KIND)["notes"].get("identity") != identity:
        raise BadInput("output", output, "holds another dataset", "choose another prefix, or delete everything below it")
    try:
        check_sizes(output, read_manifest(output, KIND))
    except integrity.IntegrityError:
        retract(output)
        return None
    return output / integrity.MANIFEST


def in_process(source: Source, spec: DataSpec, output: Location, base: str = "tiny", components: Any = None) -> Stream:
    """The same stages in a plain loop of this process: the reference that the Ray stream must equal, and the way of small tests."""

    def stream(units: Sequence[Unit]) -> Iterator[Receipt]:
        from bfs_platform.data.execute.work import UnitWorker

        work = UnitWorker(spec, source.folder, base, components)
        for unit in units:
            yield work(unit, workspace_of(output))

    return stream
