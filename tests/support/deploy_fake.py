"""Deploys the application with its fake engine on every node of the cluster of RAY_ADDRESS, and leaves it there.

Says "asked" when Serve knows what is wanted, whoever is there for it, and "deployed" when all of it runs.

python tests/support/deploy_fake.py STORE BLOBS
"""

import contextlib
import sys
import threading
import time

import ray
from ray import serve

from bfs_serve.app import AppArgs, build
from bfs_serve.runtime import APP_NAME, REQUEST_TIMEOUT_S


def tell_when_asked() -> None:
    while not serve.status().applications:
        time.sleep(0.2)
    print("asked", flush=True)


_TRIES = 10  # Serve gives its proxies a minute, which is too little for a machine that is very busy

if __name__ == "__main__":
    ray.init(log_to_driver=False)
    args = AppArgs(
        model="fake?step_s=0.05",
        engine="bfs_serve.model.fake:FakeEngine",
        store=sys.argv[1],
        blobs=sys.argv[2],
        min_replicas=2,
        max_replicas=2,
        ingress_replicas=2,
        ingress_per_node=1,
        lease_s=5,
        rate="",
    )
    for _ in range(_TRIES):
        with contextlib.suppress(TimeoutError):
            serve.start(proxy_location="EveryNode", http_options={"host": "0.0.0.0", "port": 8000, "request_timeout_s": REQUEST_TIMEOUT_S})
            break
    threading.Thread(target=tell_when_asked, daemon=True).start()
    serve.run(build(args), name=APP_NAME, route_prefix="/")
    print("deployed", flush=True)
