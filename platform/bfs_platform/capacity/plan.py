"""A plan for a service: samplers, queue, storage and cost, and what changes with a hundred times as much of it."""

import math
from dataclasses import asdict, dataclass

from bfs_model.errors import BadInput
from bfs_platform.capacity.queueing import MOST_SAMPLERS, Queue, fewest
from bfs_platform.config import resolve
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.plan import cost, geometry
from bfs_platform.train.plan.machines import Machine
from bfs_platform.train.spec import TrainSpec

QUANTILE = 0.95
# Nobody plans for samplers that are never idle: a node is lost, a version is loaded, a rate was guessed.
_MOST_BUSY = 0.9
# Of a picture of 1024 x 1024: the upload, the layer and its composite, as PNG; measured on photographs, an order of magnitude.
_BYTES_PER_JOB = 6 * 2**20
# Transactions on the store: taken on, claimed, beats and progress (every few steps), blobs noted, ended, fetched, forgotten.
_TRANSACTIONS_PER_JOB = 12
_REQUESTS_PER_PROXY = 50.0  # bodies of megabytes, hashed and decoded; one core each
_KEPT_S = 3600.0  # --result-ttl-s
_DAY_S = 86_400.0


@dataclass(frozen=True)
class ServicePlan:
    """What it takes. `stored_bytes` are those of results while they are kept; costs in dollars."""

    rate_per_s: float
    draw_s: float
    samplers: int
    utilisation: float
    p95_s: float
    mean_wait_s: float
    mean_queue: float
    max_queued: int
    ingress_replicas: int
    store_transactions_per_s: float
    stored_bytes: float
    pictures_per_day: float
    cost_per_hour: float
    cost_per_thousand: float

    def to_json(self) -> dict[str, float]:
        """As one flat object."""
        return asdict(self)


def draw_seconds(machine: Machine, resolution: int, steps: int) -> float:
    """Seconds of one drawing on FLUX.1-Fill, both branches: its FLOP by what the accelerator sustains. Decoding adds 3 %."""
    network = resolve("flux_stage2", ["num_workers=1", "min_workers=0"], TrainSpec).network
    assert isinstance(network, SharingSpec)
    flops = cost.flops_per_sample(geometry.flux(resolution, network)).forward
    return 1.03 * steps * flops / (machine.tflops * 1e12)


def make_plan(rate_per_s: float, p95_s: float, draw_s: float, price_per_hour: float, variation: float) -> ServicePlan:
    """The fewest samplers for a rate and a time, a tenth of their time to spare. Raises `BadInput` when one drawing takes too long."""
    queue = fewest(rate_per_s, draw_s, p95_s, variation, QUANTILE)
    if queue is None:
        alone = Queue(0.0, draw_s, 1, variation).answer_s(QUANTILE)
        if alone <= p95_s:
            rule = f"needs more than the {MOST_SAMPLERS:,} samplers that one plan counts with"
            raise BadInput("requests-per-second", f"{rate_per_s:g}", rule, "plan for a part of it, on a cluster of its own")
        remedy = "take fewer steps, a smaller window, a step cache or a faster accelerator: more of them do not help one drawing"
        raise BadInput("p95", f"{p95_s:g}s", f"is less than the {alone:.1f} s that one drawing takes", remedy)
    samplers = max(queue.samplers, math.ceil(queue.load / _MOST_BUSY))
    queue = Queue(rate_per_s, draw_s, samplers, variation)
    cost_per_hour = queue.samplers * price_per_hour
    # What may wait and still be drawn in time; one more is refused at once, instead of being late.
    max_queued = max(1, math.floor((p95_s - draw_s) * queue.samplers / draw_s))
    return ServicePlan(
        rate_per_s=rate_per_s,
        draw_s=draw_s,
        samplers=queue.samplers,
        utilisation=queue.utilisation,
        p95_s=queue.answer_s(QUANTILE),
        mean_wait_s=queue.mean_wait_s,
        mean_queue=queue.mean_queue,
        max_queued=max_queued,
        ingress_replicas=max(2, math.ceil(rate_per_s / _REQUESTS_PER_PROXY)),
        store_transactions_per_s=rate_per_s * _TRANSACTIONS_PER_JOB,
        stored_bytes=rate_per_s * _KEPT_S * _BYTES_PER_JOB,
        pictures_per_day=rate_per_s * _DAY_S,
        cost_per_hour=cost_per_hour,
        cost_per_thousand=1000 * cost_per_hour / (rate_per_s * 3600),
    )


def changes(plan: ServicePlan) -> list[str]:
    """What has to change for this plan to hold, beside more of the same; each a line with its number."""
    found = []
    if plan.samplers > 1:
        found.append("jobs in PostgreSQL and pictures in an object store: a file is of one machine")
    if plan.store_transactions_per_s > 1000:
        found.append(
            f"{plan.store_transactions_per_s:.0f} transactions a second: a database of its own for the service, a pool of connections "
            "before it, progress written less often"
        )
    if plan.stored_bytes > 2**40:
        found.append(
            f"{plan.stored_bytes / 2**40:.1f} TiB of results at a time: a shorter --result-ttl-s, a higher --max-stored-mib, "
            "and results fetched from the object store itself"
        )
    if plan.ingress_replicas > 8:
        found.append(f"{plan.ingress_replicas} ingress replicas: proxies on every node, and a balancer before them")
    if plan.samplers > 500:
        found.append(
            f"{plan.samplers} samplers on one queue: several clusters, each with a store of its own; a queue of a part "
            "of them waits hardly longer (the plan for a part says it)"
        )
    return found
