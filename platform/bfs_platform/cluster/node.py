"""`python -m bfs_platform.cluster.node ADDRESS`: another node of a Ray cluster on this machine's loopback interface, until it is killed.

`ray start --address` refuses to be that where Ray keeps to loopback; what it would start is started here.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Start the node, and wait for SIGTERM."""
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    parser.add_argument("address", help="HOST:PORT of the head")
    parser.add_argument("--ip", default="127.0.0.1", help="of this node (default %(default)s)")
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--object-store-bytes", type=int, required=True)
    parser.add_argument("--agent-port", type=int, default=0, help="where its agent answers over HTTP (default: any)")
    options = parser.parse_args(arguments)
    _start(options.address, options.ip, options.cpus, options.object_store_bytes, options.agent_port)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # what runs here is ended on the way out
    print("Ray runtime started", flush=True)
    while True:
        signal.pause()


def _start(address: str, ip: str, num_cpus: int, store_bytes: int, agent_port: int) -> None:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    # Ports that the system picks: nodes of one machine would give their workers the same ones.
    ports = {"min_worker_port": 0, "max_worker_port": 0, "dashboard_agent_listen_port": agent_port}
    # The directory of working directories too: a node that fetches one removes what lies there before, under the feet of the others.
    own: dict[str, Any] = {**ports, "runtime_env_dir_name": f"runtime_resources_{os.getpid()}"}
    params = RayParams(gcs_address=address, node_ip_address=ip, num_cpus=num_cpus, object_store_memory=store_bytes, **own)
    Node(params, head=False, shutdown_at_exit=True, spawn_reaper=True)


if __name__ == "__main__":
    main()
