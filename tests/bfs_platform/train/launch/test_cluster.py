"""Training on a real Ray cluster: worker groups, kill -9, and jobs through the job API."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import training
from safetensors.torch import load_file

from bfs_platform.config import resolve
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import checkpoints

pytestmark = pytest.mark.ray

SMALL = ["batch_size=4", "micro_batch_size=2", "sample_every_steps=100", "checkpoint.every_steps=2", "max_failures=3"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


def _train(output: Path, base: Path, datasets: dict[int, Path], *changes: str) -> dict[str, torch.Tensor]:
    spec = resolve("tabletop_stage2", [*SMALL, *changes], TrainSpec)
    manifest = fit(spec, str(base), list(datasets.values()), output)
    return load_file(manifest.parent / "sharing" / "diffusion_pytorch_model.safetensors")


def _kill_a_worker(output: Path, after_step: int, killed: list[int]) -> None:
    """Send SIGKILL to a training worker as soon as the checkpoint of `after_step` is there."""
    limit = time.monotonic() + 120
    while not (checkpoints.path_of(output, after_step) / "manifest.json").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and b"RayTrainWorker" in _command(process):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(int(process.name))
            return


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_kill_9_of_a_worker_changes_no_bit(ray_cluster: Any, base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """Two workers, ZeRO-2: killed in mid-run, the run ends in the weights of an undisturbed one; one process trains alike."""
    steps = ["num_workers=2", "num_steps=40"]
    whole = _train(tmp_path / "whole", base, datasets, *steps)
    killed: list[int] = []
    killer = threading.Thread(target=_kill_a_worker, args=(tmp_path / "torn", 4, killed))
    killer.start()
    torn = _train(tmp_path / "torn", base, datasets, *steps)
    killer.join()
    assert killed, "no worker was killed, so nothing was tested"
    assert whole.keys() == torn.keys() and all(torch.equal(whole[k], torn[k]) for k in whole)
    alone = _train(tmp_path / "alone", base, datasets, "num_workers=0", "num_steps=40")
    assert training.distance(whole, alone) < 0.01 * 2e-4, "more than rounding: a hundredth of the rate"


def _submit(cluster: Any, entrypoint: str, root: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Run a job to its end through the job API; returns its status and its logs."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    client = JobSubmissionClient(f"http://{cluster.dashboard_url}")
    job = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": str(root), "env_vars": environment})
    limit = time.monotonic() + 240
    while (status := client.get_job_status(job)) not in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED):
        assert time.monotonic() < limit, client.get_job_logs(job)
        time.sleep(0.5)
    return str(status), client.get_job_logs(job)


@pytest.mark.soak
def test_stage2_as_a_submitted_job(ray_cluster: Any, base: Path, datasets: dict[int, Path], tmp_path: Path, repo_root: Path) -> None:
    """`python jobs/stage2.py` through the job API trains, and its losses, parameters and inputs stand in MLflow."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environment = {"MLFLOW_TRACKING_URI": uri, "BFS_HOME": str(tmp_path / "home"), "DS_ACCELERATOR": "cpu"}
    changes = " ".join(f"--set {c}" for c in [*SMALL, "num_workers=1", "num_steps=3", "log_every_steps=1"])
    sets = " ".join(f"--dataset {d}" for d in datasets.values())
    command = f"python jobs/stage2.py --recipe tabletop_stage2 {changes} {sets} --base {base} --output {tmp_path / 'run'}"
    status, logs = _submit(ray_cluster, command, repo_root, environment)
    assert status == "SUCCEEDED", logs
    assert logs.strip().splitlines()[-1] == str(tmp_path / "run" / "model" / "manifest.json")
    client = MlflowClient(uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED" and run.data.params["num_steps"] == "3"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]
    assert len(run.inputs.dataset_inputs) == 2


def test_short_form_and_bad_input_as_submitted_jobs(
    ray_cluster: Any, base: Path, datasets: dict[int, Path], tmp_path: Path, repo_root: Path
) -> None:
    """`jobs/stage2.py` alone is runnable (shebang, run bit); a missing data set is one line and exit code 2."""
    environment = {"BFS_HOME": str(tmp_path / "home"), "DS_ACCELERATOR": "cpu"}
    command = f"jobs/stage2.py --base {base} --output {tmp_path / 'run'} --dry-run"
    sets = " ".join(f"--dataset {d}" for d in datasets.values())
    status, logs = _submit(ray_cluster, f"{command} {sets}", repo_root, environment)
    assert status == "SUCCEEDED", logs
    status, logs = _submit(ray_cluster, f"{command} --dataset {tmp_path / 'nowhere'}", repo_root, environment)
    assert status == "FAILED" and "has no manifest" in logs and "Traceback" not in logs
    assert not (tmp_path / "run").exists()
