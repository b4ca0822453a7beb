"""The service's own counters, as Prometheus text. Ray exports its own beside them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class ServiceMetrics:
    """Counters of one coordinator; they start at 0 when it does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter("bfs_jobs_accepted", "Jobs taken on.", registry=self.registry)
        self.refused = Counter("bfs_jobs_refused", "Jobs turned away.", ["reason"], registry=self.registry)
        self.finished = Counter("bfs_jobs_finished", "Jobs that ended.", ["outcome"], registry=self.registry)
        self.retried = Counter("bfs_jobs_retried", "Jobs drawn again after a worker was lost.", registry=self.registry)
        self.queued = Gauge("bfs_jobs_queued", "Jobs that wait now.", registry=self.registry)
        self.running = Gauge("bfs_jobs_running", "Jobs being drawn now.", registry=self.registry)
        self.stored = Gauge("bfs_stored_bytes", "Bytes held for jobs and results.", registry=self.registry)
        self.waited = Histogram("bfs_queue_seconds", "From acceptance to the first step.", buckets=_SECONDS, registry=self.registry)
        self.drawn = Histogram("bfs_generation_seconds", "Time to draw one layer.", buckets=_SECONDS, registry=self.registry)
        self.model = Gauge("bfs_model_info", "The model last seen.", ["name", "version"], registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
