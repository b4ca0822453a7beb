"""A folder of damaged and odd pictures, each uploaded to a running service: Pillow's own corpus, the `Tests/images` of its sources.

BFS_PICTURE_CORPUS=pillow-13.0.0/Tests/images make soak ARGS=tests/soak/test_picture_corpus.py
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from storm_kills import INGRESS, SAMPLER, below
from storm_service import StormService

pytestmark = [pytest.mark.soak, pytest.mark.ray]

VARIABLE = "BFS_PICTURE_CORPUS"
OPTIONS = ("--min-replicas", "1", "--max-replicas", "1", "--rate", "", "--max-queued", "5000", "--owner-max-queued", "5000")
BOUND_S = 2.0
AT_ONCE = 3


class Watch:
    """Asks the ingress for something small all the time, and keeps how long the longest answer took, in seconds."""

    def __init__(self, url: str) -> None:
        self.longest_s, self._url, self._stopping = 0.0, url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._stopping.wait(0.05):
                begin = time.monotonic()
                assert client.get("/healthz").status_code == 200
                self.longest_s = max(self.longest_s, time.monotonic() - begin)


def corpus() -> list[Path]:
    """The files, without those that a request may not hold."""
    folder = Path(os.environ.get(VARIABLE, ""))
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no folder")
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StormService]:
    """A service with one ingress replica."""
    with StormService(tmp_path, *OPTIONS) as started:
        yield started


def test_no_picture_hurts(service: StormService, capsys: pytest.CaptureFixture[str]) -> None:
    """No 5xx, no replica that died, no other request that waited for long; what was taken on is drawn."""
    files, replicas = corpus(), _replicas(service)
    with Watch(service.url) as idle:
        time.sleep(5)
    fields = {"box": "1,1,9,9", "prompt": "a ball", "seed": "7", "steps": "1"}
    with httpx2.Client(base_url=service.url, timeout=120, trust_env=False) as client, Watch(service.url) as watch:

        def upload(path: Path) -> tuple[str, int]:
            return path.name, client.post("/v1/layers", files={"background": (path.name, path.read_bytes())}, data=fields).status_code

        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = list(pool.map(upload, files))
    ends = _ends(service)
    seen = {"files": len(files), "statuses": dict(Counter(status for _, status in told)), "jobs": dict(ends)}
    seen |= {"longest other answer, s": round(watch.longest_s, 2), "the same before": round(idle.longest_s, 2)}
    with capsys.disabled():
        print("\n" + json.dumps(seen))
    assert [name for name, status in told if status not in (202, 413, 415, 422)] == []
    assert set(ends) == {"succeeded"}
    assert _replicas(service) == replicas
    assert watch.longest_s < max(BOUND_S, 4 * idle.longest_s)


def _replicas(service: StormService) -> set[int]:
    return {process.pid for pid in service.pids for name in (INGRESS, SAMPLER) for process in below(pid, name)}


def _ends(service: StormService) -> Counter[str]:
    """How all jobs ended, once all have."""
    with httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        while True:
            found: Counter[str] = Counter()
            page = "/v1/jobs?limit=200"
            while page:
                body = client.get(page).json()
                found.update(job["status"] for job in body["jobs"])
                page = body.get("next", "")
            if not {"queued", "running"} & set(found):
                return found
            time.sleep(0.5)
