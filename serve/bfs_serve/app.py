"""The Serve application: `serve run bfs_serve.app:build model=tiny`, or `import_path: bfs_serve.app:build` in a config."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bfs_model.errors import BadInput

if TYPE_CHECKING:
    from ray.serve import Application

COORDINATOR = "coordinator"
SAMPLER = "sampler"
INGRESS = "ingress"
# Requests that wait or follow events occupy a slot of ingress and coordinator without doing anything there.
_MANY = 2000
MAX_TTL_S = 30 * 86400.0


class AppArgs(BaseModel):
    """What can be set of the application. Also valid as `args` in a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="tiny", description="`tiny`, a model folder, or a registry URI such as models:/bfs@champion")
    engine: str = Field(default="bfs_serve.engine:PipelineEngine", description="class with the Engine protocol, as module:Class")
    follow_s: NonNegativeFloat = Field(default=30.0, description="how often to look whether the model's name means a new version; 0 never")
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 2
    target_ongoing_requests: PositiveFloat = Field(default=2.0, description="orders per replica that autoscaling aims at")
    cpus_per_replica: Annotated[float, Field(ge=0, le=1024)] = 1.0
    gpus_per_replica: Annotated[float, Field(ge=0, le=64)] = 0.0
    ingress_replicas: PositiveInt = 1
    max_queued: PositiveInt = Field(default=16, description="jobs that may wait; the next one is refused with 503")
    result_ttl_s: Annotated[float, Field(gt=0, le=MAX_TTL_S)] = 3600.0
    max_stored_mib: Annotated[int, Field(ge=64)] = 512
    stall_s: PositiveFloat = Field(default=300.0, description="a replica that makes no step for so long is replaced")
    require_guard: bool = Field(default=True, description="answer only what came through bfs_serve.guard")

    @model_validator(mode="after")
    def _ordered(self) -> "AppArgs":
        if self.min_replicas > self.max_replicas:
            raise BadInput("min_replicas", self.min_replicas, f"is more than max_replicas={self.max_replicas}", "lower it")
        return self


def build(args: AppArgs) -> "Application":
    """The application graph: ingress → coordinator → sampler."""
    from ray import serve

    from bfs_serve.coordinator import Limits
    from bfs_serve.deployments import CoordinatorDeployment, Ingress
    from bfs_serve.sampler import Sampler

    deployment: Any = serve.deployment  # its annotation covers the use as a decorator only
    sampler = deployment(Sampler).options(
        name=SAMPLER,
        user_config={"model": args.model, "follow_s": args.follow_s},
        autoscaling_config=_autoscaling(args),
        # One is drawn, one is at hand: Serve looks for a free replica only every `max_backoff_s`, and a replica must not idle meanwhile.
        max_ongoing_requests=2,
        request_router_config={"max_backoff_s": 0.1},
        # The coordinator refuses first; this holds if anything else ever calls. Probes and a replica's hand-over need some air.
        max_queued_requests=args.max_queued + args.max_replicas + 8,
        backpressure_config={"status_code": 503, "retry_after_s": 2},
        ray_actor_options={"num_cpus": args.cpus_per_replica, "num_gpus": args.gpus_per_replica},
        graceful_shutdown_timeout_s=120,
        max_constructor_retry_count=3,
    )
    limits = Limits(args.max_queued, args.result_ttl_s, args.max_stored_mib * 2**20)
    light: dict[str, Any] = {"max_ongoing_requests": _MANY, "max_queued_requests": _MANY, "ray_actor_options": {"num_cpus": 0}}
    coordinator = deployment(CoordinatorDeployment).options(name=COORDINATOR, num_replicas=1, **light)
    ingress = deployment(Ingress).options(name=INGRESS, num_replicas=args.ingress_replicas, **light)
    application: Application = ingress.bind(coordinator.bind(sampler.bind(args.engine, args.stall_s), limits), args.require_guard)
    return application


def _autoscaling(args: AppArgs) -> dict[str, Any]:
    return {
        "min_replicas": args.min_replicas,
        "max_replicas": args.max_replicas,
        "target_ongoing_requests": args.target_ongoing_requests,
        "upscale_delay_s": 10,
        "downscale_delay_s": 300,
    }
