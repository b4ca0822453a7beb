"""What goes into the store and comes out of it: plain frozen data."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from bfs_serve.telemetry.amounts import Amounts

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELED = "queued", "running", "succeeded", "failed", "canceled"
FINAL = (SUCCEEDED, FAILED, CANCELED)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one service. Bytes are those of uploads and results together, from acceptance until they expire."""

    max_queued: int = 64
    owner_max_queued: int = 32
    max_bytes: int = 4 * 2**30
    owner_max_bytes: int = 2**30
    ttl_s: float = 3600.0
    """How long a finished job and its pictures are kept."""
    key_ttl_s: float = 86400.0
    """How long an idempotency key is remembered, from its last use on; it outlives the result."""
    rate: str = ""
    """How often a caller may start jobs, like "600/minute", where its key says nothing else; empty: as often as it likes."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to take on. `order` is JSON; pictures are named in it and listed in `blobs`, which are in the blob store already.

    `num_bytes`: what the uploads weigh and the result may weigh, which is `reserved`. `batch`: jobs of equal batch may be drawn together.
    `digest`: sha256 of all that the caller chose, compared when its idempotency `key` is used again. `request_id`, `trace`: the
    request that it came with, for logs and traces.
    """

    owner: str
    kind: str
    order: dict[str, Any]
    model: str = ""
    version: str = ""
    batch: str = ""
    blobs: tuple[str, ...] = ()
    num_bytes: int = 0
    reserved: int = 0
    key: str | None = None
    digest: str = ""
    request_id: str = ""
    trace: str = ""
    id: str = ""  # made when it is taken on, unless it was needed before


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job was not taken on."""

    reason: str
    detail: str

    QUEUE_FULL: ClassVar[str] = "queue-full"
    OWNER_QUEUE_FULL: ClassVar[str] = "owner-queue-full"
    STORE_FULL: ClassVar[str] = "store-full"
    QUOTA: ClassVar[str] = "quota"
    NEVER_FITS: ClassVar[str] = "never-fits"
    KEY_REUSED: ClassVar[str] = "key-reused"
    KEY_SPENT: ClassVar[str] = "key-spent"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now. Times are seconds since the epoch; `position` is how many queued jobs are in front of this one."""

    id: str
    owner: str
    kind: str
    status: str
    order: dict[str, Any]
    model: str
    version: str
    attempt: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    step: int | None
    steps: int | None
    outcome: dict[str, Any] | None
    num_events: int
    request_id: str | None = None
    position: int | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker can do: kinds of jobs, and models by name; None for any, also where no model is needed."""

    kinds: tuple[str, ...]
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker has taken. `attempt` is its fencing token: what is said under an older one is ignored."""

    id: str
    attempt: int
    kind: str
    order: dict[str, Any]
    model: str
    version: str
    batch: str
    waited_s: float
    request_id: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `body` is JSON: of a result, what it is and its blobs; of a failure, the problem.

    `retryable`: the same request may succeed later, so its idempotency key opens it again. `seconds`: how long a
    model drew. `amounts`: what else is counted when the job ends.
    """

    succeeded: bool
    body: dict[str, Any]
    blobs: tuple[str, ...] = ()
    num_bytes: int = 0
    retryable: bool = False
    seconds: float | None = None
    amounts: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job. `id` counts from 1."""

    id: int
    name: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        return self.name in FINAL


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs of an owner, newest first; `cursor` asks for the next ones, None where there are no more."""

    jobs: list[Job]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much there is to do, by status and by model version."""

    queued: int
    running: int
    num_bytes: int
    oldest_s: float
    by_version: dict[str, int] = field(default_factory=dict)
