"""The service's state as Prometheus text. All of it comes from the store, so every replica shows the same; Ray exports its own
metrics beside it."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from bfs_serve.model.canary import is_over
from bfs_serve.telemetry import amounts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = {
    amounts.ACCEPTED: ("bfs_jobs_accepted", "Jobs taken on.", ["kind"]),
    amounts.REFUSED: ("bfs_jobs_refused", "Jobs turned away.", ["reason"]),
    amounts.FINISHED: ("bfs_jobs_finished", "Jobs that ended.", ["outcome"]),
    amounts.RETRIED: ("bfs_jobs_retried", "Jobs drawn again after a worker was lost.", []),
    amounts.REQUESTS: ("bfs_requests", "Answered requests.", ["method", "route", "status"]),
    amounts.GUARD_REFUSED: ("bfs_guard_refused", "Requests that the guard answered itself.", ["reason"]),
    amounts.STEPS: ("bfs_steps", "Denoising steps done, by the version of the model.", ["version"]),
    amounts.VERSION_JOBS: ("bfs_version_jobs", "Jobs that ended, by the version of the model.", ["version", "outcome"]),
    amounts.VERSION_SECONDS: ("bfs_version_seconds", "Time to draw, of jobs that succeeded, by the version of the model.", ["version"]),
    amounts.VERSION_SQUARES: ("bfs_version_squared_seconds", "Squares of these times, which tell how far they spread.", ["version"]),
    amounts.LOOKUPS: ("bfs_cache_lookups", "Looks into a cache.", ["cache", "outcome"]),
}
_HISTOGRAMS = {
    amounts.QUEUE_SECONDS: ("bfs_queue_seconds", "From acceptance to the first attempt.", []),
    amounts.GENERATION_SECONDS: ("bfs_generation_seconds", "Time to draw, of jobs that succeeded.", []),
    amounts.STAGE_SECONDS: ("bfs_stage_seconds", "Time of each stage of a job at its worker.", ["stage"]),
    amounts.REQUEST_SECONDS: ("bfs_request_seconds", "From the arrival of a request to the end of its answer.", ["kind"]),
    amounts.LOAD_SECONDS: ("bfs_model_load_seconds", "Time to load a version of a model.", []),
}


class ServiceMetrics(Collector):
    """Gauges to set, and `totals` as `JobStore.totals` gives them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.totals: dict[str, dict[str, float]] = {}
        self.queued = Gauge("bfs_jobs_queued", "Jobs that wait now.", registry=self.registry)
        self.running = Gauge("bfs_jobs_running", "Jobs being drawn now.", registry=self.registry)
        self.stored = Gauge("bfs_stored_bytes", "Bytes held for jobs and results.", registry=self.registry)
        self.oldest = Gauge("bfs_queue_oldest_seconds", "How long the oldest queued job has waited.", registry=self.registry)
        self.workers = Gauge("bfs_workers", "Workers that are at work.", registry=self.registry)
        self.model = Gauge("bfs_model_info", "Models and the versions that their names mean.", ["name", "version"], registry=self.registry)
        text = "Versions that could not be served and are remembered."
        self.failed = Gauge("bfs_model_failed_versions", text, ["name"], registry=self.registry)
        text = "Share of new jobs that a candidate draws beside the version that the name means."
        self.canary = Gauge("bfs_canary_share", text, ["name", "version"], registry=self.registry)
        text = "When the last candidate of a name was taken back, or could not be served; 0 where it was not, or somebody withdrew it."
        self.taken_back = Gauge("bfs_canary_taken_back_timestamp_seconds", text, ["name"], registry=self.registry)
        self.registry.register(self)

    def show_models(self, published: dict[str, tuple[str, dict[str, Any]]]) -> None:
        """As `JobStore.published` gives them."""
        self.model.clear()
        self.failed.clear()
        self.canary.clear()
        self.taken_back.clear()
        for name, (version, body) in published.items():
            self.model.labels(name, version).set(1)
            self.failed.labels(name).set(len(body.get("failed", {})))
            trial = body.get("canary")
            if trial and not is_over(trial):
                self.canary.labels(name, trial["version"]).set(trial["share"])
            self.taken_back.labels(name).set(trial["verdict"].get("taken_back_at", 0.0) if trial and trial["verdict"] else 0.0)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Called by the registry."""
        for name, (metric, text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(metric, text, labels=labels)
            for label, value in self.totals.get(name, {} if labels else {"": 0.0}).items():
                counter.add_metric(label.split(" ", len(labels) - 1) if labels else [], value)
            yield counter
        for name, (metric, text, labels) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(metric, text, labels=labels)
            for label, found in _series(self.totals.get(name, {}), bool(labels)).items():
                bounds = [*(f"{bound}" for bound in amounts.BUCKETS_S), "+Inf"]
                counts = accumulate(found.get(bound, 0.0) for bound in bounds)
                histogram.add_metric([label] * len(labels), list(zip(bounds, counts, strict=True)), found.get(amounts.SUM, 0.0))
            yield histogram


def _series(total: dict[str, float], is_labelled: bool) -> dict[str, dict[str, float]]:
    """{label: {bucket or sum: total}} of a histogram; one without a label is there before anything was measured."""
    series: dict[str, dict[str, float]] = {} if is_labelled else {"": {}}
    for name, value in total.items():
        label, _, bucket = name.rpartition(" ")
        series.setdefault(label, {})[bucket] = value
    return series
