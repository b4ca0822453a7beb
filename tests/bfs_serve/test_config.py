"""The rendered Serve config, and the arguments of the application."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bfs_serve.app import AppArgs, build
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


def test_the_application_is_a_graph_of_three() -> None:
    """The sampler takes one order and the next, queues a bounded number, autoscales, and follows its user config."""
    ingress = build(AppArgs(model="tiny", min_replicas=1, max_replicas=3, max_queued=4, gpus_per_replica=1))._bound_deployment
    coordinator = ingress.init_args[0]._bound_deployment
    sampler = coordinator.init_args[0]._bound_deployment
    assert [d.name for d in (ingress, coordinator, sampler)] == ["ingress", "coordinator", "sampler"]
    config = sampler._deployment_config
    assert (config.max_ongoing_requests, config.max_queued_requests) == (2, 15)
    assert (config.autoscaling_config.min_replicas, config.autoscaling_config.max_replicas) == (1, 3)
    assert sampler.user_config == {"model": "tiny", "follow_s": 30.0} and sampler.ray_actor_options["num_gpus"] == 1
    assert coordinator.num_replicas == 1


def test_arguments_are_checked() -> None:
    """As they come from a config: unknown ones and contradictions are refused."""
    with pytest.raises(ValidationError, match="extra_forbidden|Extra inputs"):
        AppArgs.model_validate({"modle": "tiny"})
    with pytest.raises(ValidationError, match="min_replicas=3 is more than max_replicas=2"):
        AppArgs(min_replicas=3)
