"""The client that the plug-ins bring along, in the standard library alone, against the service with its fake engine."""

import ast
import io
import json
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from live_service import LiveService, answer, live_service, lost_answer
from PIL import Image

from bfs_platform.processes import free_port

SLOW = "fake?step_s=0.15"
FIELDS = {"box": [8, 4, 40, 28], "prompt": "a ball", "seed": 7}
PROBLEM = {"content_type": "application/problem+json"}


def png() -> bytes:
    """A picture of noise."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """Serves `fake`, and `SLOW`, whose every step takes 0.15 s."""
    with live_service(tmp_path_factory.mktemp("service"), f"fake,{SLOW}") as running:
        yield running


@pytest.fixture
def module(comfy_nodes: ModuleType) -> ModuleType:
    """The module, as it lies in one of the zips."""
    return sys.modules[f"{comfy_nodes.__name__}.service"]


def statuses(client: Any) -> list[str]:
    """Of all jobs, newest first."""
    return [job["status"] for job in json.loads(client._ask("GET", "/v1/jobs"))["jobs"]]


def test_a_layer_is_drawn_and_fetched(module: ModuleType, service: LiveService) -> None:
    """Progress is told, the result comes in every format, and what is served is known."""
    client, told = module.Service(f" {service.url}/ "), list[dict[str, Any]]()
    job = client.make("layers", {"background": png()}, FIELDS | {"model": SLOW, "steps": 6, "true_cfg_scale": None}, told.append)
    assert (job["status"], job["seed"]) == ("succeeded", 7)
    steps = [job["progress"]["step"] for job in told if "progress" in job]
    assert steps and steps == sorted(steps) and told[-1]["progress"]["steps"] == 6
    assert Image.open(io.BytesIO(client.result(job, "png"))).mode == "RGBA"
    assert client.result(job, "psd").startswith(b"8BPS") and json.loads(client.result(job, "json"))["layer_png"]
    assert [model["name"] for model in client.models()] == ["fake", SLOW]


def test_a_lost_answer_and_a_busy_service_draw_nothing_twice(module: ModuleType, service: LiveService) -> None:
    """The same request is sent again under its own key."""
    service.asked.clear()
    service.faults["POST", "/v1/layers"] = [lost_answer, answer(503, retry_after="1"), answer(429)]
    client = module.Service(service.url)
    before = len(statuses(client))
    begin = time.monotonic()
    assert client.make("layers", {"background": png()}, FIELDS)["status"] == "succeeded"
    assert time.monotonic() - begin > 1
    assert len(statuses(client)) == before + 1
    assert len({asked.headers["idempotency-key"] for asked in service.requests("POST", "/v1/layers")}) == 1


def test_a_job_outlasts_a_restart_of_the_service(module: ModuleType, service: LiveService) -> None:
    """The line breaks while it is drawn; it is one job, and its layer comes."""
    restarted = threading.Event()

    def restart(job: dict[str, Any]) -> None:
        if "progress" in job and not restarted.is_set():
            restarted.set()
            service.stop()
            threading.Timer(1.0, service.start).start()

    client = module.Service(service.url)
    assert client.make("layers", {"background": png()}, FIELDS | {"model": SLOW, "steps": 8}, restart)["status"] == "succeeded"
    assert restarted.is_set()


def test_whatever_ends_the_call_cancels_the_job(module: ModuleType, service: LiveService) -> None:
    """An exception of the one who watches, one of the one who waits, and one before the answer to the first request came."""

    class Enough(Exception):
        pass

    def watch(job: dict[str, Any]) -> None:
        raise Enough

    def pause(seconds: float) -> None:
        raise Enough

    slow = FIELDS | {"model": SLOW, "steps": 100}
    with pytest.raises(Enough):
        module.Service(service.url).make("layers", {"background": png()}, slow, watch)
    with pytest.raises(Enough):
        module.Service(service.url, pause=pause).make("layers", {"background": png()}, slow)
    service.faults["POST", "/v1/layers"] = [lost_answer]
    with pytest.raises(Enough):
        module.Service(service.url, pause=pause).make("layers", {"background": png()}, slow)
    assert statuses(module.Service(service.url))[:3] == ["canceled"] * 3


def test_what_is_wrong_is_a_sentence(module: ModuleType, service: LiveService) -> None:
    """Refusals, failures of the engine, strangers and nobody at the address; a wrong address or key before anything is sent."""
    client = module.Service(service.url)
    for fields, said in [
        (FIELDS | {"box": [0, 0, 100, 100]}, "leaves the image"),
        (FIELDS | {"prompt": "refuse"}, "is refused"),
        (FIELDS | {"seed": False}, "integer"),
    ]:
        with pytest.raises(module.ServiceError, match=said):
            client.make("layers", {"background": png()}, fields)
    strangers = [answer(200, b"hello"), answer(200, b"[1]"), answer(200, b'{"data": []}'), answer(403, b"x")]
    service.faults["GET", "/v1/models"] = strangers
    for said in ("no JSON", "no JSON", "lists no models; it may not be", "answered 403; it may not be a BFS service"):
        with pytest.raises(module.ServiceError, match=said):
            client.models()
    begin = time.monotonic()
    with pytest.raises(module.ServiceError, match="is the service running there"):
        module.Service(f"http://127.0.0.1:{free_port()}").models()
    assert time.monotonic() - begin < 30
    for url, key in (
        ("file:///etc/passwd", ""),
        ("127.0.0.1:8000", ""),
        ("http://[::1", ""),
        ("http://a:b", ""),
        (service.url, "schlüssel"),
        (service.url, "a\nb"),
    ):
        with pytest.raises(module.ServiceError, match="give one such as|copy it anew"):
            module.Service(url, key)


def test_the_key_goes_to_the_service_and_nowhere_else(module: ModuleType, service: LiveService) -> None:
    """As a bearer token, without spaces that were copied along; a redirect is not followed."""
    service.asked.clear()
    service.faults["GET", "/v1/models"] = [answer(302, location=f"{service.url}/v1/jobs")]
    client = module.Service(service.url, " bfs_key ")
    with pytest.raises(module.ServiceError, match="answered 302"):
        client.models()
    assert client.models()
    assert [(asked.path, asked.headers.get("authorization")) for asked in service.asked] == [("/v1/models", "Bearer bfs_key")] * 2


def test_progress_and_cancel_are_those_of_comfyui(
    comfy_nodes: ModuleType, module: ModuleType, service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside ComfyUI, of whose modules only the two functions matter, its bar moves and its Cancel button cancels the job."""
    moved, canceled = list[tuple[int, int]](), threading.Event()

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int) -> None:
            moved.append((value, total))
            canceled.set()

    def check() -> None:
        if canceled.is_set():
            raise InterruptedError

    for name, attributes in (
        ("comfy", {}),
        ("comfy.utils", {"ProgressBar": ProgressBar}),
        ("comfy.model_management", {"throw_exception_if_processing_interrupted": check}),
    ):
        stand_in = types.ModuleType(name)
        vars(stand_in).update(attributes)
        monkeypatch.setitem(sys.modules, name, stand_in)
    watch = sys.modules[f"{comfy_nodes.__name__}.inside"].watcher()
    client = module.Service(service.url)
    with pytest.raises(InterruptedError):
        client.make("layers", {"background": png()}, FIELDS | {"model": SLOW, "steps": 50}, watch)
    assert [total for _, total in moved] == [50]
    assert statuses(client)[0] == "canceled"


def test_plug_ins_need_nothing_of_ours(plugins: ModuleType, repo_root: Path) -> None:
    """Krita's knows the standard library, PyQt5 and Krita; ComfyUI's what ComfyUI brings; both have one client."""
    allowed = {"krita": {"krita", "PyQt5"}, "comfyui": {"torch", "numpy", "PIL", "comfy", "folder_paths"}}
    for folder, others in allowed.items():
        for path in (repo_root / "serve" / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8 if folder == "krita" else 9))
            absolute = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
            names = {str(node.module).partition(".")[0] for node in absolute}
            names |= {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            assert names <= sys.stdlib_module_names | others, path
    assert (repo_root / "serve/comfyui/service.py").read_bytes() == (repo_root / "serve/krita/bfs_krita/service.py").read_bytes()
