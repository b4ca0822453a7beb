"""What is counted, as Prometheus shows it."""

from collections.abc import Callable

from fastapi.testclient import TestClient

from bfs_serve.api.metrics import ServiceMetrics
from bfs_serve.store.records import Limits

MakePng = Callable[..., bytes]


def test_the_life_of_jobs_is_counted(serve: Callable[..., TestClient], make_png: MakePng) -> None:
    """Accepted, finished and refused, and how long they waited and were drawn: in buckets that grow, as Prometheus wants them."""
    client = serve(limits=Limits(owner_max_bytes=100_000))
    form, wait = {"box": "8,4,40,28", "prompt": "a ball", "steps": "2"}, {"Prefer": "wait=30"}
    assert client.post("/v1/layers", files={"background": make_png()}, data=form, headers=wait).status_code == 200
    assert client.post("/v1/layers", files={"background": make_png(640, 640)}, data=form).status_code == 413
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert lines['bfs_jobs_accepted_total{kind="layer"}'] == lines['bfs_jobs_finished_total{outcome="succeeded"}'] == "1.0"
    assert lines['bfs_jobs_refused_total{reason="never-fits"}'] == "1.0"
    for name in ("bfs_queue_seconds", "bfs_generation_seconds"):
        buckets = [float(value) for line, value in lines.items() if line.startswith(f"{name}_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == float(lines[f"{name}_count"]) == 1
        assert 0 <= float(lines[f"{name}_sum"]) < 30


def test_stages_steps_and_caches_are_counted(serve: Callable[..., TestClient], make_png: MakePng) -> None:
    """What a worker does between claiming a job and ending it; a file that is asked for again comes from a cache."""
    client = serve("fake?step_s=0.06")
    form, headers = {"box": "8,4,40,28", "prompt": "a ball", "steps": "3"}, {"Prefer": "wait=30", "Accept": "image/openraster"}
    answer = client.post("/v1/layers", files={"background": make_png()}, data=form, headers=headers)
    again = client.get(f"{answer.headers['location']}/result?format=ora")
    assert answer.status_code == 200 and again.content == answer.content
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    sums = {stage: float(lines[f'bfs_stage_seconds_sum{{stage="{stage}"}}']) for stage in ("load", "denoise", "decode", "encode")}
    assert all(0 <= seconds < 30 for seconds in sums.values()) and sums["denoise"] >= 0.18
    assert lines['bfs_steps_total{version="fake-fake"}'] == "3.0"
    assert [lines[f'bfs_cache_lookups_total{{cache="files",outcome="{outcome}"}}'] for outcome in ("hit", "miss")] == ["1.0", "1.0"]
    assert lines["bfs_model_load_seconds_count"] == "1.0" and lines['bfs_model_failed_versions{name="fake?step_s=0.06"}'] == "0.0"


def test_a_trial_is_shown_by_its_share_and_its_end() -> None:
    """What the dashboard and the alert read: a share while it is watched, then when it was taken back, if not by hand."""
    trial = {"version": "b", "share": 0.25, "told": False, "verdict": None}

    def shown(**changes: object) -> set[str]:
        metrics = ServiceMetrics()
        metrics.show_models({"n": ("a", {"failed": {}, "canary": trial | changes} if changes else {"failed": {}})})
        return {line for line in metrics.text().decode().splitlines() if line.startswith("bfs_canary")}

    share, back, not_back = (
        'bfs_canary_share{name="n",version="b"} 0.25',
        'bfs_canary_taken_back_timestamp_seconds{name="n"} 1700.0',
        'bfs_canary_taken_back_timestamp_seconds{name="n"} 0.0',
    )
    assert shown() == {not_back} and shown(told=False) == {share, not_back}
    assert shown(verdict={"good": True, "reason": "-"}, told=True) == {not_back}
    bad = {"good": False, "reason": "its jobs fail", "taken_back_at": 1700.0}
    assert shown(verdict=bad) == shown(verdict=bad, told=True) == {back}
    assert shown(verdict={"good": False, "reason": "withdrawn in the registry"}) == {not_back}
