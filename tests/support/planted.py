"""Metrics as a service and a cluster would show them, well and in trouble, for a Prometheus that reads them."""

import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

Series = Mapping[str, tuple[float, float]]
"""By name and labels: the value, and by how much it grows in a second."""

_HEAD = 'ray_node_mem_total{ip="b",ray_io_cluster="b",RayNodeType="head"}'  # of one cluster of two; its workers stay when it is lost
WELL: Series = {
    "bfs_workers": (2, 0),
    "bfs_jobs_queued": (1, 0),
    "bfs_queue_oldest_seconds": (2, 0),
    'bfs_jobs_finished_total{outcome="succeeded"}': (0, 10),
    'bfs_jobs_finished_total{outcome="failed"}': (0, 0),
    'bfs_queue_seconds_bucket{le="1.0"}': (0, 10),
    'bfs_queue_seconds_bucket{le="64.0"}': (0, 10),
    'bfs_queue_seconds_bucket{le="+Inf"}': (0, 10),
    "bfs_jobs_retried_total": (0, 0),
    "bfs_stored_bytes": (1e6, 0),
    'bfs_model_failed_versions{name="models:/bfs@champion"}': (0, 0),
    'bfs_canary_taken_back_timestamp_seconds{name="models:/bfs@champion"}': (0, 0),
    'ray_bfs_train_step{recipe="r",output="/o"}': (1, 3),
    'ray_bfs_train_missed_checkpoints{output="/o"}': (0, 0),
    'ray_bfs_train_data_wait_seconds{recipe="r"}': (0.1, 0),
    'ray_bfs_train_step_seconds{recipe="r"}': (1, 0),
    'ray_bfs_build_records{output="/s"}': (1, 3),
    'ray_bfs_build_records_planned{output="/s"}': (10**6, 0),
    "ray_cluster_active_nodes": (1, 0),
    'ray_node_disk_free{ip="a"}': (50, 0),
    'ray_node_disk_usage{ip="a"}': (50, 0),
    'ray_node_mem_available{ip="a"}': (50, 0),
    'ray_node_mem_total{ip="a"}': (100, 0),
    _HEAD: (100, 0),
    'ray_node_mem_total{ip="c",ray_io_cluster="b",RayNodeType="worker"}': (100, 0),
    'ray_resources{Name="GPU",State="USED"}': (8, 0),
    'ray_resources{Name="GPU",State="AVAILABLE"}': (0, 0),
    "autoscaler_pending_nodes": (0, 0),
}


def in_trouble(now_s: float) -> Series:
    """Whatever can go wrong while metrics are still shown, all at once, at a Unix time."""
    return {
        **{name: shown for name, shown in WELL.items() if name != _HEAD},
        "bfs_workers": (0, 0),
        "bfs_jobs_queued": (7, 0),
        "bfs_queue_oldest_seconds": (900, 0),
        'bfs_jobs_finished_total{outcome="succeeded"}': (1000, 8),
        'bfs_jobs_finished_total{outcome="failed"}': (0, 2),
        'bfs_queue_seconds_bucket{le="64.0"}': (1000, 60),
        'bfs_queue_seconds_bucket{le="+Inf"}': (1000, 60),
        'bfs_queue_seconds_bucket{le="1.0"}': (1000, 0),
        "bfs_jobs_retried_total": (0, 30),
        "bfs_stored_bytes": (4.2e9, 0),
        'bfs_model_failed_versions{name="models:/bfs@champion"}': (1, 0),
        'bfs_canary_taken_back_timestamp_seconds{name="models:/bfs@champion"}': (now_s, 0),
        'ray_bfs_train_step{recipe="r",output="/o"}': (1000, 0),
        'ray_bfs_train_missed_checkpoints{output="/o"}': (0, 1),
        'ray_bfs_train_data_wait_seconds{recipe="r"}': (0.8, 0),
        'ray_bfs_build_records{output="/s"}': (1000, 0),
        'ray_node_disk_free{ip="a"}': (3, 0),
        'ray_node_disk_usage{ip="a"}': (97, 0),
        'ray_node_mem_available{ip="a"}': (2, 0),
        'ray_resources{Name="GPU",State="USED"}': (0, 0),
        'ray_resources{Name="GPU",State="AVAILABLE"}': (8, 0),
        "autoscaler_pending_nodes": (3, 0),
    }


class Exporter:
    """Shows series on the loopback interface until it is told others, or leaves."""

    def __init__(self) -> None:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.show(WELL)

    def show(self, series: Series) -> None:
        """From now on, these."""
        self._series, self._since = series, time.monotonic()

    def text(self) -> str:
        """What a scrape gets now."""
        passed = time.monotonic() - self._since
        return "".join(f"{name} {value + growth * passed}\n" for name, (value, growth) in self._series.items())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Nobody answers from now on."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
