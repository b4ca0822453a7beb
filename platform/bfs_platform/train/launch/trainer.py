"""Ray Train's trainer, without the part that only works beside a dashboard, and with workers that meet where Ray's nodes do."""

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback


class Trainer(TorchTrainer):
    """`TorchTrainer` on any cluster of ours.

    Ray Train starts an actor that gives a run's CPUs and GPUs back when its controller was killed. It asks the dashboard
    once a second whether the controller lives, on the newest cluster of the machine that has one. A private cluster has none,
    and needs no such actor: it ends with its driver. There it would complain once a second, or ask another cluster, where
    nobody knows the controller, and end the run.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # its stubs are those of the first version
        return [callback for callback in callbacks if has_dashboard() or not isinstance(callback, PlacementGroupCleanerCallback)]


@dataclass
class Group(TorchConfig):
    """A process group whose CPU side listens where its node does.

    Gloo asks for the address of the machine's name, which on many machines is 127.0.0.1 or no address at all: workers of several
    machines then never meet.
    """

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(listen_where_the_node_does)
        super().on_start(worker_group, backend_config)


def listen_where_the_node_does() -> None:
    """Name the network interface of this worker's node to gloo, unless `GLOO_SOCKET_IFNAME` does."""
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def has_dashboard() -> bool:
    """Whether the cluster that this process is connected to answers questions about its actors."""
    return bool(ray._private.worker.get_dashboard_url())
