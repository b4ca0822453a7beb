"""Results as files: the drawn layer itself, or a layered document made from it. A few of them are kept for who asks again."""

import threading
from collections import Counter, OrderedDict
from typing import Any

from bfs_model.document import file as documents
from bfs_model.document.format import png
from bfs_model.document.layers import Layer, LayerStack
from bfs_model.picture.images import read_image
from bfs_serve.job import orders
from bfs_serve.job.orders import ExtractionOrder, LayerOrder
from bfs_serve.job.results import Result, result_of
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.records import Job
from bfs_serve.telemetry.amounts import HIT, MISS

SUFFIXES = {"png": ".png", "zip": ".zip", "psd": ".psd", "ora": ".ora"}
_KEPT_BYTES = 64 * 2**20


class Files:
    """Makes files of results on the caller's thread."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, str, int], bytes] = OrderedDict()
        self._lookups: Counter[str] = Counter()

    def render(self, job: Job, kind: str, candidate: int) -> bytes:
        """The file in the format `kind` (a key of `SUFFIXES`). A PNG of a document is its flat picture, of a layer the layer.

        Raises `BlobLost`, and `IndexError` where there are not that many candidates.
        """
        result = result_of(job)
        if kind == "zip" and result.document is not None:
            return self._blobs.get(result.document)
        key = job.id, job.attempt, kind, candidate
        with self._lock:
            self._lookups[HIT if key in self._kept else MISS] += 1
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = self._png(job, result, candidate) if kind == "png" else documents.encode(self._stack(job, result, candidate), SUFFIXES[kind])
        with self._lock:
            self._kept[key] = data
            while sum(map(len, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return data

    def take_lookups(self) -> dict[str, int]:
        """How often a file was asked for that was kept, or was not, since this was last asked."""
        with self._lock:
            lookups, self._lookups = self._lookups, Counter()
        return lookups

    def _png(self, job: Job, result: Result, candidate: int) -> bytes:
        """The picture as it is kept, with what it shows written inside."""
        if result.document is not None:
            return png.annotate(self._blobs.get(str(result.composite)), self._stack(job, result, candidate))
        order = orders.parse(job.kind, job.order)
        picture = self._blobs.get(result.pictures[candidate].layer)
        alone = LayerStack(order.width, order.height)
        return png.annotate(picture, alone, self._add(alone, job, result, candidate))

    def _stack(self, job: Job, result: Result, candidate: int) -> LayerStack:
        if result.document is not None:
            return documents.decode(self._blobs.get(result.document), shown="document")
        order = orders.parse(job.kind, job.order)
        assert isinstance(order, LayerOrder | ExtractionOrder)
        stack = LayerStack.new(read_image(self._blobs.get(order.background), key="background").pil())
        added = self._add(stack, job, result, candidate)
        if order.split_effects:
            stack.split_effects(added.id)
        return stack

    def _add(self, stack: LayerStack, job: Job, result: Result, candidate: int) -> Layer:
        """Put the drawn layer on top, with how it came to be."""
        order = orders.parse(job.kind, job.order)
        assert isinstance(order, LayerOrder | ExtractionOrder)
        picture = result.pictures[candidate]
        model = {"name": job.model, "version": job.version}
        layer = read_image(self._blobs.get(picture.layer), key="layer").pil()
        made: dict[str, Any] = {"box": order.box, "prompt": order.prompt or None, "seed": picture.seed, "model": model}
        return stack.add(layer, **made, parameters=_parameters(order, result))


def _parameters(order: LayerOrder | ExtractionOrder, result: Result) -> dict[str, Any]:
    """What was asked for besides, by the names that `bfs generate` and `bfs extract` give it, and what the pipeline warned of."""
    found: dict[str, Any] = {"steps": order.steps, "true_cfg_scale": order.true_cfg_scale}
    found["cache"] = None if order.step_cache == "none" else order.step_cache
    if isinstance(order, ExtractionOrder):
        found |= {"joint_guidance": order.joint_guidance or None, "refit": order.refit or None}
    found["warnings"] = result.warnings or None
    return {name: value for name, value in found.items() if value is not None}
