"""`bfs capacity`: how many samplers a rate of requests takes, and what that costs."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bfs_platform.cli.shell import AsJson, report

_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0}
_VARIATION = 0.1


def capacity(
    requests_per_second: Annotated[float, typer.Option(min=1e-6, max=1e6, help="Drawings that people ask for, per second.")],
    p95: Annotated[str, typer.Option(metavar="TIME", help="Within which 95 of 100 have their picture: 8s, 500ms, 2min.")],
    gpu: Annotated[str, typer.Option(help="H200, H100, A100, L40S or RTX4090.")] = "H200",
    resolution: Annotated[int, typer.Option(help="Side of the window that the model draws in, in pixels.")] = 512,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 28,
    draw_seconds: Annotated[float | None, typer.Option(min=1e-4, help="Seconds of one drawing, as you measured them.")] = None,
    measured: Annotated[
        str | None, typer.Option(metavar="URL|FILE", help="A service, or what its /metrics showed: its drawings, counted by itself.")
    ] = None,
    variation: Annotated[
        float | None, typer.Option(min=0, max=5, help="Standard deviation of drawings by their mean; as measured, or 0.1.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Dollars per accelerator and hour.")] = None,
    records: Annotated[str | None, typer.Option(metavar="N", help="Also what a training set of so many takes: 250k, 100M, 1B.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print samplers, queue, storage and cost for a rate and a time; exit with 2 when no number of samplers is enough.

    The seconds of one drawing are assumed, by arithmetic for FLUX.1-Fill, unless they are given or measured.
    """
    from bfs_model.errors import BadInput
    from bfs_platform.capacity import plan
    from bfs_platform.capacity import records as sets
    from bfs_platform.data.plan.capacity import count_of
    from bfs_platform.train.plan.machines import machine

    chosen = machine(gpu)
    if measured is not None and draw_seconds is not None:
        raise BadInput("draw-seconds", draw_seconds, f"and measured={measured} both say how long a drawing takes", "give one of them")
    seen: float | None = None
    if measured is not None:
        draw_s, seen, source = _measured(measured)
    elif draw_seconds is not None:
        draw_s, source = draw_seconds, "given by --draw-seconds"
    else:
        draw_s = plan.draw_seconds(chosen, resolution, steps)
        source = f"assumed: {steps} steps at {resolution} pixels, counted, at {chosen.tflops:g} TFLOP/s of one {chosen.name}"
    spread = next(known for known in (variation, seen, _VARIATION) if known is not None)
    cost = chosen.price_per_hour if price is None else price
    made = plan.make_plan(requests_per_second, _seconds(p95), draw_s, cost, spread)
    num_records = None if records is None else count_of(records)
    notes = plan.changes(made) + sets.changes(num_records or 0)
    facts = {"gpu": chosen.name, "draw_seconds": source, "variation": spread} | ({"records": num_records} if num_records else {})
    report({**facts, **made.to_json(), "changes": notes}, as_json, _text(facts, made, notes))


def _measured(place: str) -> tuple[float, float | None, str]:
    """Mean seconds of a drawing, their variation, and where and when both were measured."""
    from bfs_model.errors import BadInput
    from bfs_platform.capacity.measured import drawings_of

    if place.startswith(("http://", "https://")):
        from bfs_platform.cli.client import asking

        with asking(place.removesuffix("/metrics")) as client:
            text, at = client.metrics(), datetime.now(UTC)
    else:
        try:
            text = Path(place).read_text(encoding="utf-8")
            at = datetime.fromtimestamp(Path(place).stat().st_mtime, UTC)
        except (OSError, ValueError) as error:
            remedy = "give the address of a service, or a file with what its /metrics showed"
            raise BadInput("measured", place, f"cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})", remedy) from None
    found = drawings_of(text, place)
    return found.mean_s, found.variation, f"measured: {found.num_jobs} jobs of {place}, as of {at:%Y-%m-%d %H:%M} UTC"


def _seconds(text: str) -> float:
    from bfs_model.errors import BadInput

    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|min|m|)", text.strip())
    if match is None or float(match[1]) == 0:
        raise BadInput("p95", text, "is not a time", "give seconds, such as 8s, 500ms or 2min")
    return float(match[1]) * _UNITS[match[2]]


def _text(facts: dict[str, Any], made: Any, notes: list[str]) -> str:
    rows = [
        ("one drawing", f"{made.draw_s:.2f} s, varying by {facts['variation']:.0%} ({facts['draw_seconds']})"),
        ("samplers", f"{made.samplers}, one {facts['gpu']} each, busy {made.utilisation:.0%} of the time (max_replicas)"),
        ("95 of 100", f"within {made.p95_s:.2f} s; on average {made.mean_wait_s:.2f} s in the queue, with {made.mean_queue:.1f} waiting"),
        ("queue", f"{made.max_queued} at most can still be in time (max_queued); the next is refused"),
        ("ingress", f"{made.ingress_replicas} replicas (ingress_replicas)"),
        ("store", f"{made.store_transactions_per_s:.0f} transactions a second, {made.stored_bytes / 2**30:.0f} GiB of results at a time"),
        ("cost", f"${made.cost_per_hour:,.0f} an hour, ${made.cost_per_thousand:.2f} per thousand pictures"),
        ("a day", f"{made.pictures_per_day:,.0f} pictures"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([*(f"{name:<{width}}  {text}" for name, text in rows), *(f"{'needs':<{width}}  {note}" for note in notes)])
