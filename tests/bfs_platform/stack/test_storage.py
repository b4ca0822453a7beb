"""The full profile's database and object store, with MLflow on them: real programs, without Ray."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest
from mlflow import MlflowClient
from nodes import free_port

from bfs_model.errors import BadInput
from bfs_platform.stack import parts, storage
from bfs_platform.stack.marked import marked
from bfs_platform.stack.program import Program
from bfs_platform.stack.state import PORTS, Settings, Stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack of its own, where the user whom PostgreSQL runs as can enter."""
    try:
        storage.check_installed()
    except BadInput as absent:
        pytest.skip(str(absent))
    folder = Path(tempfile.mkdtemp(prefix="bfs-", dir="/tmp"))
    made = Stack.new(folder, Settings(profile="full", ports={name: free_port() for name in PORTS}))
    yield made
    for program in reversed(_programs(made)):
        program.stop(made)
    shutil.rmtree(folder)


def _programs(stack: Stack) -> list[Program]:
    return [program for program in parts.programs(stack) if program.name in ("postgres", "objects", "mlflow")]


def _store(stack: Stack, secret: str) -> pyarrow.fs.S3FileSystem:
    address = f"127.0.0.1:{stack.settings.ports['objects']}"
    options = {"endpoint_override": address, "scheme": "http", "region": "us-east-1"}
    return pyarrow.fs.S3FileSystem(access_key="bfs", secret_key=secret, **options)


def test_what_was_stored_is_there_after_a_restart(stack: Stack) -> None:
    """A run lies in PostgreSQL and its file in the object store, which takes no other key; both outlive their servers."""
    for program in _programs(stack):
        program.start(stack)
        assert program.state(stack) == "up" and stack.records[program.name].version[0].isdigit()
    client = MlflowClient(stack.url("mlflow"))
    run = client.create_run(client.create_experiment("full")).info.run_id
    client.log_text(run, "a picture", "picture.txt")
    files = _store(stack, stack.secrets["objects"]).get_file_info(pyarrow.fs.FileSelector("bfs/mlflow", recursive=True))
    assert [file.base_name for file in files if file.is_file] == ["picture.txt"]
    with pytest.raises(OSError, match="403|Forbidden|ACCESS_DENIED|AccessDenied|SIGNATURE"):
        _store(stack, "guessed").get_file_info(pyarrow.fs.FileSelector("bfs/mlflow"))

    for program in reversed(_programs(stack)):
        program.stop(stack)
    assert marked(stack.mark) == []
    for program in _programs(stack):
        program.start(stack)
    assert client.download_artifacts(run, "picture.txt") and client.get_run(run).info.status == "RUNNING"
