"""Which task carries out which order."""

from bfs_serve.job.export import ExportTask
from bfs_serve.job.orders import DocumentOrder, ExportOrder, ExtractionOrder, LayerOrder, Order
from bfs_serve.job.tasks import DocumentTask, LayerTask, Task


def task_of(order: Order) -> Task:
    """The task of an order of any kind."""
    if isinstance(order, LayerOrder | ExtractionOrder):
        return LayerTask(order)
    if isinstance(order, DocumentOrder):
        return DocumentTask(order)
    assert isinstance(order, ExportOrder)
    return ExportTask(order)
