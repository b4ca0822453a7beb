"""The rendered Serve config, and the arguments of the application."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_serve.app import INGRESS_CPUS, AppArgs, build, check_batch
from bfs_serve.config import DEFAULTS, main, render

# Raised while Ray's own modules are imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def test_the_committed_config_is_the_rendered_one(repo_root: Path) -> None:
    """`python -m bfs_serve.config > infra/serve.yaml` was run after the last change."""
    assert (repo_root / "infra" / "serve.yaml").read_text() == render(DEFAULTS)


def test_serve_accepts_the_config(repo_root: Path) -> None:
    """By Serve's own schema; its import path is ours and its arguments are valid."""
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load((repo_root / "infra" / "serve.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    assert AppArgs.model_validate(application.args).model == "models:/bfs@champion"
    assert config.http_options.request_timeout_s == 900


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown names and impossible values."""
    for argument in ("modle=tiny", "max_replicas=0", "min_replicas=9"):
        assert main([argument]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1


def test_the_application_is_a_graph_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ingress brings the sampler along, which autoscales by the store's depth and follows its user config."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path))
    args = AppArgs(model="tiny,other", min_replicas=0, max_replicas=3, max_queued=4, gpus_per_replica=1, jobs_per_replica=5)
    ingress = build(args)._bound_deployment
    store, blobs, limits, models, require_guard, scale_to_zero, bound = ingress.init_args
    sampler = bound._bound_deployment
    assert [d.name for d in (ingress, sampler)] == ["ingress", "sampler"]
    assert (store, blobs) == (f"sqlite:///{tmp_path}/serve/jobs.db", str(tmp_path / "serve/blobs"))
    assert (limits.max_queued, models, require_guard, scale_to_zero) == (4, ["tiny", "other"], True, True)
    scaling = sampler._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 3)
    assert scaling.policy.policy_kwargs == {"store": store, "jobs_per_replica": 5.0, "models": ["tiny", "other"]}
    assert sampler.user_config == ingress._deployment_config.user_config == args.changeable()
    assert args.changeable()["models"] == ["tiny", "other"] and args.changeable()["limits"]["max_queued"] == 4
    assert sampler.ray_actor_options["num_gpus"] == 1
    (settings,) = sampler.init_args
    assert (settings.store, settings.blobs, settings.limits) == (store, blobs, limits)


def test_an_ingress_needs_a_worker_where_nodes_share_the_store(tmp_path: Path) -> None:
    """A head without CPUs, which is there first, would take one that asks for none; beside a file there is no other node."""
    shared = {"store": "postgresql://bfs@db/serve", "blobs": "s3://bfs/serve", "ingress_replicas": 2}
    ingress = build(AppArgs(**shared, ingress_per_node=1))._bound_deployment
    assert (ingress.ray_actor_options, ingress._replica_config.max_replicas_per_node) == ({"num_cpus": INGRESS_CPUS}, 1)
    assert build(AppArgs(**shared))._bound_deployment._replica_config.max_replicas_per_node is None
    patient = build(AppArgs(**shared, ingress_grace_s=330))._bound_deployment
    assert patient._deployment_config.graceful_shutdown_timeout_s == 330
    beside = {"store": str(tmp_path / "jobs.db"), "ingress_replicas": 2}
    assert build(AppArgs(**beside))._bound_deployment.ray_actor_options == {"num_cpus": 0}
    with pytest.raises(BadInput, match="ingress_per_node=1 leaves no place for ingress_replicas=2"):
        build(AppArgs(**beside, ingress_per_node=1))


def test_what_users_configure_reaches_a_replica_that_runs(tmp_path: Path) -> None:
    """Other models and other limits, by the values that stand in the rendered config."""
    from bfs_serve.deployments import Ingress

    args = AppArgs(store=str(tmp_path / "jobs.db"), blobs=str(tmp_path / "blobs"), max_queued=4)
    plain = Ingress.__bases__[0]  # what Serve wraps
    replica = plain(args.store, args.blobs, args.limits(), args.models, True, False)
    later = AppArgs(model="tiny,other", max_queued=5, rate="7/minute")
    deployments = yaml.safe_load(render({"model": "tiny,other", "max_queued": "5", "rate": "7/minute"}))["applications"][0]["deployments"]
    assert [(d["name"], d["user_config"]) for d in deployments] == [(name, later.changeable()) for name in ("ingress", "sampler")]
    replica.reconfigure(deployments[0]["user_config"])
    assert replica._service.names == ["tiny", "other"] and replica._store.limits == later.limits()
    replica._service.close()


def test_arguments_are_checked() -> None:
    """As they come from a config: unknown ones and contradictions are refused."""
    with pytest.raises(ValidationError, match="extra_forbidden|Extra inputs"):
        AppArgs.model_validate({"modle": "tiny"})
    with pytest.raises(ValidationError, match="min_replicas=3 is more than max_replicas=2"):
        AppArgs(min_replicas=3)
    for models in ("", " , ", "tiny,tiny"):
        with pytest.raises(ValidationError, match="names no model, or one twice"):
            AppArgs(model=models)
    for rate in ("60", "0/minute", "60/minutes"):
        with pytest.raises(ValidationError, match="rate"):
            AppArgs(rate=rate)


def test_a_batch_needs_an_engine_whose_batches_are_exact() -> None:
    """Refused where an application is built, whoever deploys it: its samplers would hold jobs that they draw one by one."""
    with pytest.raises(BadInput, match="batch=4 would change pictures"):
        build(AppArgs(batch=4))
    check_batch(AppArgs(batch=4, engine="bfs_serve.model.fake:FakeEngine"))
