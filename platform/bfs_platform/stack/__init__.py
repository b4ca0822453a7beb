"""The stack of one machine: Ray, MLflow, the service and what they need, started, healed and ended by what is recorded of them.

Everything of it lies in one folder. Ray's own processes and Serve's applications do not belong here; `cluster` and `bfs_serve` have
them. Stands on `tracking`, `cluster` and `console`; the service, a floor above, is deployed as a cluster's operator would.
"""
