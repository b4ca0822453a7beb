"""The Serve application: `serve run bfs_serve.app:build model=tiny`, or `import_path: bfs_serve.app:build` in a config."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bfs_model.errors import BadInput

if TYPE_CHECKING:
    from ray.serve import Application

    from bfs_serve.store.records import Limits

SAMPLER = "sampler"
INGRESS = "ingress"
# Requests that wait or follow events occupy a slot of the ingress without doing anything there.
_MANY = 2000
# What an ingress asks for where jobs are not in a file: if it asked for nothing, a head without CPUs, which comes first, would take it.
INGRESS_CPUS = 0.05
_STORE_REMEDY = "give store=postgresql://user@host/database, which all of them reach"
_BLOBS_REMEDY = "give blobs=s3://bucket/prefix, or a folder that all of them share"
MAX_TTL_S = 30 * 86400.0


class AppArgs(BaseModel):
    """What can be set of the application. Also valid as `args` in a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="tiny", description="`tiny`, a folder, or models:/NAME@ALIAS; several, with commas: the first is the default"
    )
    engine: str = Field(default="bfs_serve.model.engine:PipelineEngine", description="class with the Engine protocol, as module:Class")
    store: str = Field(default="", description="jobs: a file, or postgresql://… for several nodes; a file in BFS_HOME by default")
    blobs: str = Field(default="", description="pictures: a folder, or s3://bucket/prefix; a folder in BFS_HOME by default")
    follow_s: NonNegativeFloat = Field(default=30.0, description="how often to look whether a model's name means a new version; 0 never")
    min_replicas: NonNegativeInt = Field(default=1, description="samplers that are there when nothing waits")
    max_replicas: PositiveInt = 2
    idle_s: PositiveFloat = Field(default=300.0, description="a sampler that was not needed for so long goes")
    jobs_per_replica: PositiveFloat = Field(default=2.0, description="jobs, waiting and running, per sampler that autoscaling aims at")
    cpus_per_replica: Annotated[float, Field(ge=0, le=1024)] = 1.0
    gpus_per_replica: Annotated[float, Field(ge=0, le=64)] = 0.0
    batch: Annotated[int, Field(ge=1, le=64, description="jobs of equal settings drawn at once; for engines whose batches are exact")] = 1
    ingress_replicas: PositiveInt = 1
    ingress_per_node: NonNegativeInt = Field(default=0, description="replicas of the ingress that one node takes at most; 0 any number")
    ingress_grace_s: PositiveFloat = Field(
        default=20.0, description="a replica of the ingress that goes answers for so long what it has begun"
    )
    max_queued: PositiveInt = Field(default=64, description="jobs that may wait; the next one is refused with 503")
    owner_max_queued: PositiveInt = Field(default=32, description="jobs of one caller that may wait; the next one is refused with 429")
    rate: Annotated[str, Field(pattern=r"^$|^[1-9][0-9]{0,6}/(second|minute|hour|day)$")] = Field(
        default="600/minute", description="how often a caller may start jobs, unless its key says otherwise; empty: no limit"
    )
    result_ttl_s: Annotated[float, Field(gt=0, le=MAX_TTL_S, description="how long finished jobs are kept")] = 3600.0
    key_ttl_s: Annotated[float, Field(gt=0, le=MAX_TTL_S, description="how long idempotency keys are remembered")] = 86400.0
    max_stored_mib: Annotated[int, Field(ge=64)] = 4096
    owner_max_stored_mib: Annotated[int, Field(ge=16)] = 1024
    lease_s: Annotated[float, Field(ge=1, le=3600, description="a worker that says nothing for so long has lost its jobs")] = 30.0
    stall_s: PositiveFloat = Field(default=300.0, description="a sampler that makes no step for so long is replaced")
    require_guard: bool = Field(default=True, description="answer only what came through bfs_serve.guard")

    @model_validator(mode="after")
    def _ordered(self) -> "AppArgs":
        if self.min_replicas > self.max_replicas:
            raise BadInput("min_replicas", self.min_replicas, f"is more than max_replicas={self.max_replicas}", "lower it")
        if self.key_ttl_s < self.result_ttl_s:
            rule = f"is shorter than result_ttl_s={self.result_ttl_s:g}: a key would be forgotten while its result is kept"
            raise BadInput("key_ttl_s", self.key_ttl_s, rule, "raise it")
        if not self.models or len(set(self.models)) != len(self.models):
            raise BadInput("model", self.model, "names no model, or one twice", "name each once, with commas between them")
        return self

    @property
    def models(self) -> list[str]:
        """The names that are served, the default first."""
        return [name.strip() for name in self.model.split(",") if name.strip()]

    def limits(self) -> "Limits":
        """What the store bounds."""
        from bfs_serve.store.records import Limits

        stored = self.max_stored_mib * 2**20, self.owner_max_stored_mib * 2**20
        return Limits(self.max_queued, self.owner_max_queued, *stored, self.result_ttl_s, self.key_ttl_s, self.rate)

    def changeable(self) -> dict[str, Any]:
        """The `user_config` of both deployments: a change of it reaches replicas that run, one of `args` replaces them all."""
        return {"models": self.models, "follow_s": self.follow_s, "limits": asdict(self.limits())}

    def placed(self) -> "AppArgs":
        """With the places of jobs and pictures filled in, absolute: replicas run in other folders."""
        from bfs_platform.tracking.uri import bfs_home
        from bfs_serve.store.database import parse

        folder = bfs_home() / "serve"
        store = parse(self.store or str(folder / "jobs.db")).render_as_string(hide_password=False)
        blobs = self.blobs if "://" in self.blobs else str(Path(self.blobs or folder / "blobs").expanduser().absolute())
        return self.model_copy(update={"store": store, "blobs": blobs})


def build(args: AppArgs) -> "Application":
    """The application graph: the ingress, and the samplers, which it does not call."""
    from ray import serve

    from bfs_serve.deployments import Ingress, SamplerReplica
    from bfs_serve.model.sampler import SamplerSettings

    given, args = args, args.placed()
    check_batch(given)
    here = place_of(given)
    limits = args.limits()
    changeable = args.changeable()
    settings = SamplerSettings(args.store, args.blobs, args.engine, limits, args.lease_s, args.batch, args.stall_s)
    deployment: Any = serve.deployment  # its annotation covers the use as a decorator only
    sampler = deployment(SamplerReplica).options(
        name=SAMPLER,
        user_config=changeable,
        autoscaling_config=_autoscaling(args),
        ray_actor_options={"num_cpus": args.cpus_per_replica, "num_gpus": args.gpus_per_replica, **here},
        graceful_shutdown_timeout_s=settings.grace_s + 30,
        health_check_period_s=5,
        max_constructor_retry_count=3,
    )
    light: dict[str, Any] = {"max_ongoing_requests": _MANY, "max_queued_requests": _MANY}
    light["ray_actor_options"] = {"num_cpus": 0 if _is_file(args) else INGRESS_CPUS, **here}
    light["graceful_shutdown_timeout_s"] = args.ingress_grace_s
    if args.ingress_per_node:
        light["max_replicas_per_node"] = args.ingress_per_node
    ingress = deployment(Ingress).options(name=INGRESS, num_replicas=args.ingress_replicas, user_config=changeable, **light)
    application: Application = ingress.bind(
        args.store, args.blobs, limits, args.models, args.require_guard, args.min_replicas == 0, sampler.bind(settings)
    )
    return application


def check_batch(args: AppArgs) -> None:
    """Raises `BadInput` for a batch where the engine's batches are not exact: a worker would hold jobs that others could draw."""
    from bfs_serve.model.sampler import load_engine

    if args.batch > 1 and not load_engine(args.engine).batches_exactly:
        raise BadInput("batch", args.batch, "would change pictures by a level: this engine's batches are not exact", "leave it at 1")


def place_of(args: AppArgs) -> dict[str, Any]:
    """What keeps replicas where the store is: on this machine when that is a file. Raises `BadInput` when others are there, too."""
    import ray

    placed = args.placed()
    is_file = _is_file(placed)
    if is_file and 0 < args.ingress_per_node < args.ingress_replicas:
        rule = f"leaves no place for ingress_replicas={args.ingress_replicas}: the store is a file of one node"
        raise BadInput("ingress_per_node", args.ingress_per_node, rule, _STORE_REMEDY)
    nodes = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]} if ray.is_initialized() else set()  # by machine
    if len(nodes) > 1:
        if is_file:
            raise BadInput("store", placed.store, f"is a file of one machine, and the cluster has {len(nodes)}", _STORE_REMEDY)
        if not args.blobs:
            raise BadInput("blobs", placed.blobs, f"is a folder of one machine, and the cluster has {len(nodes)}", _BLOBS_REMEDY)
    return {"resources": {f"node:{ray.util.get_node_ip_address()}": 0.001}} if is_file and nodes else {}


def _is_file(args: AppArgs) -> bool:
    """Whether jobs are in a file of one machine. `args` have their places."""
    from bfs_serve.store.database import parse

    return parse(args.store).get_backend_name() == "sqlite"


def _autoscaling(args: AppArgs) -> dict[str, Any]:
    policy = {
        "policy_function": "bfs_serve.model.scaling:StoreDepthPolicy",
        "policy_kwargs": {"store": args.store, "jobs_per_replica": args.jobs_per_replica, "models": args.models},
    }
    return {
        "min_replicas": args.min_replicas,
        "max_replicas": args.max_replicas,
        "upscale_delay_s": 2,
        "downscale_delay_s": args.idle_s,
        "policy": policy,
    }
