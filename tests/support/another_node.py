"""Joins a Ray cluster of this machine as another node on the loopback interface, until it is killed.

`ray start --address` refuses to where Ray is told to keep to loopback; what it would start is started here.

    python tests/support/another_node.py 127.0.0.1:6379 CPUS BYTES
"""

import signal
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams

if __name__ == "__main__":
    address, num_cpus, store_bytes = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    # Ports that the system picks: nodes of one machine would give their workers the same ones.
    ports = {"min_worker_port": 0, "max_worker_port": 0, "dashboard_agent_listen_port": 0}
    params = RayParams(gcs_address=address, node_ip_address="127.0.0.1", num_cpus=num_cpus, object_store_memory=store_bytes, **ports)
    Node(params, head=False, shutdown_at_exit=True, spawn_reaper=True)
    print("Ray runtime started", flush=True)
    signal.pause()
