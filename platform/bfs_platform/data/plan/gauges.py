"""The numbers of a build that Prometheus sees."""

from bfs_platform.cluster.gauges import Gauges
from bfs_platform.data.plan.ledger import Ledger

GAUGES = {
    "records": ("bfs_build_records", "Records done, rejected ones among them."),
    "planned": ("bfs_build_records_planned", "Records that the source has."),
    "rejected": ("bfs_build_rejected_records", "Records rejected."),
}
STAGE_GAUGES = {"busy_s": ("bfs_build_stage_busy_seconds", "Seconds that a stage has worked, over all of its processes.")}


class BuildGauges:
    """How far a build is, and where its time goes."""

    def __init__(self, output: str, num_planned: int) -> None:
        self.num_planned = num_planned
        self._whole, self._stages = Gauges(GAUGES, {"output": output}), Gauges(STAGE_GAUGES, {"output": output}, ("stage",))

    def show(self, ledger: Ledger) -> None:
        """Set them to what the ledger says."""
        self._whole.show({"records": ledger.num_records, "planned": self.num_planned, "rejected": ledger.rejects.total()})
        for stage, seconds in ledger.seconds.items():
            self._stages.show({"busy_s": seconds}, stage=stage)
