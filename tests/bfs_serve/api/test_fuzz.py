"""Everything that the OpenAPI document allows, and much that it does not, asked over a socket; with keys and without.

Schemathesis says what is wrong: failures of the service, answers that the document does not know, what is accepted against it,
methods that are not, security that is declared and not kept.
"""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bfs_platform.processes import free_port
from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.edge.signature import SECRET_VARIABLE
from bfs_serve.guard import Guard, GuardLimits
from bfs_serve.job.orders import ExportOrder
from bfs_serve.keys import KeyRing, hash_key
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Wanted

# The service runs in threads of this process: what they draw from `random` is taken for the strategies' doing.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

EXAMPLES = 6
ORDERS = 40
KEY = {"Authorization": "Bearer secret"}
FAKE = "bfs_serve.model.fake:FakeEngine"


@dataclass(frozen=True)
class Api:
    """A service that listens: its document, its address, and the headers that open it."""

    document: dict[str, Any]
    url: str
    headers: dict[str, str]


@pytest.fixture(scope="module", params=["open", "keys"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Iterator[Api]:
    """Guard, ingress and worker in this process, behind uvicorn."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    (folder / "keys").write_text(f"ann {hash_key('secret')}\n")
    places = str(folder / "jobs.db"), str(folder / "blobs")
    limits = Limits(max_queued=1000, owner_max_queued=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, "ours")
        store, blobs = JobStore(places[0], limits), Blobs(places[1])

        async def sampling() -> None:
            await Sampler(SamplerSettings(*places, FAKE, limits)).reconfigure({"models": ["fake"], "follow_s": 0})
            await asyncio.Event().wait()

        composer = Worker("composer", store, blobs, WorkerSettings(Wanted((ExportOrder.kind,))))
        app = create_app(Service(store, blobs, pictures, ["fake"]), require_guard=True, background=(composer.run, sampling))
        keys = KeyRing(folder / "keys") if request.param == "keys" else None
        guarded = Guard(app, GuardLimits(), keys)
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(guarded, port=port, log_level="critical"))
        running = threading.Thread(target=server.run)
        running.start()
        while not server.started:
            assert running.is_alive(), "the service ended before it listened"
            time.sleep(0.02)
        yield Api(app.openapi(), f"http://127.0.0.1:{port}", KEY if keys else {})
        server.should_exit = True
        running.join()


def _operations(document: dict[str, Any]) -> list[Any]:
    schema = schemathesis.openapi.from_dict(document)
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_nothing_is_found(api: Api, mode: GenerationMode) -> None:
    """Of every operation, with what its schema allows and with what it forbids."""
    found: list[str] = []
    for operation in _operations(api.document):
        try:
            _ask(operation, mode, api)
        except Unsatisfiable:  # an operation without parameters cannot be asked wrongly
            continue
        except BaseExceptionGroup as failures:
            found += [f"{operation.label}: {failure}" for failure in failures.exceptions]
    assert not found, "\n\n".join(found)


def _ask(operation: Any, mode: GenerationMode, api: Api) -> None:
    # No schema can say that a picture can be read, and that a box lies in it.
    excluded = [positive_data_acceptance] if operation.method == "post" else []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=api.url, headers=api.headers, excluded_checks=excluded)

    ask()


# What no schema says of several fields together, each by the rule that a refusal names.
TOGETHER = ("is empty", "goes together with redraw", "is not the name of a layer", "is also the name of")
SIDE, WITHIN = 48, [4, 6, 40, 30]


@pytest.mark.parametrize("path", ["layers", "extractions", "documents", "exports"])
def test_what_the_document_allows_becomes_a_job(api: Api, make_png: Callable[..., bytes], path: str) -> None:
    """Given pictures that can be read, a box that lies in them and a model that is served; else as the schema has it."""
    pictures = {key: make_png(SIDE, SIDE, seed) for seed, key in enumerate(("background", "composite", "document", "reference"))}
    (operation,) = (one for one in _operations(api.document) if one.label == f"POST /v1/{path}")
    asked = taken = 0

    @settings(max_examples=ORDERS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: Any) -> None:
        nonlocal taken, asked
        asked += 1
        if key := case.headers.get("idempotency-key"):  # each request is another one
            case.headers["idempotency-key"] = f"{path} {asked} {key}"[:128]
        case.body = _made_real(case.body, pictures, case.media_type == "application/json")
        answer = case.call(base_url=api.url, headers=api.headers)
        if answer.status_code not in (200, 202):
            rules = [error.get("rule", "") for error in answer.json().get("errors", [{}])]
            assert all(rule.startswith(TOGETHER) for rule in rules), answer.text
        else:
            taken += 1

    ask()
    assert taken > ORDERS // 8


def _made_real(body: dict[str, Any], pictures: dict[str, bytes], is_json: bool) -> dict[str, Any]:
    """The same request with real pictures, boxes and models wherever it has any; in a form, with real JSON in its lists."""
    x0, y0, x1, y1 = WITHIN
    spelled = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    lists = {"layers": [{"box": WITHIN, "prompt": "a ball"}], "edits": [], "order": ["a ball"]}
    made = dict(body)
    for key, value in body.items():
        if key in pictures and value is not None:
            made[key] = base64.b64encode(pictures[key]).decode() if is_json else pictures[key]
        elif key == "model" and value is not None:
            made[key] = "fake"
        elif key == "box" and value is not None:
            made[key] = ",".join(map(str, WITHIN)) if not is_json else WITHIN if isinstance(value, list) else {k: spelled[k] for k in value}
        elif key == "layers" and is_json:
            made[key] = [_made_real(one, pictures, is_json) for one in value]
        elif key in lists and not is_json:
            made[key] = json.dumps(lists[key])
    return made
