"""How each endpoint is asked, and what its answer becomes: from an upload to an order whose pictures are stored."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

from bfs_model.document.format.zips import ZIP
from bfs_model.document.scene_layer import first_taken, layer_name
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_platform.client.fields import (
    DocumentBody,
    DocumentFields,
    ExportBody,
    ExportFields,
    ExtractionBody,
    ExtractionFields,
    LayerBody,
    LayerFields,
)
from bfs_serve import problems
from bfs_serve.api.pictures import is_picture
from bfs_serve.api.request.uploads import Form, Upload, refused
from bfs_serve.api.service import Service
from bfs_serve.job.orders import DocumentOrder, ExportOrder, ExtractionOrder, LayerEdit, LayerOrder, Order, SceneLayer
from bfs_serve.problems import ProblemError
from bfs_serve.store.blobs import name_of

LAYER = Form(LayerFields, LayerBody, needed=("background",), optional=("reference",))
EXTRACTION = Form(ExtractionFields, ExtractionBody, needed=("composite", "background"))
DOCUMENT = Form(DocumentFields, DocumentBody, needed=("background",), optional=("document",), lists=("layers",))
EXPORT = Form(ExportFields, ExportBody, needed=("document",), lists=("edits", "order"))
FORMS = (LAYER, EXTRACTION, DOCUMENT, EXPORT)

_PHOTOSHOP = b"8BPS"


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order, the model that was asked for, and the seeds as the caller gave them, None where one was drawn (`service.digest`).

    `pictures`: what its blobs are to hold. They are not stored yet: what is refused leaves nothing behind.
    """

    order: Order
    model: str | None
    seeds: tuple[int | None, ...]
    pictures: frozenset[bytes]


async def layer(service: Service, upload: Upload[LayerFields]) -> Ordered:
    """`POST /v1/layers`. Raises `ProblemError`."""
    f = upload.fields
    if not f.prompt and "reference" not in upload.files:
        raise refused("prompt", "<0 characters>", "is empty", "describe the object in words, or show it in a reference")
    background = await service.pictures.check(upload.files["background"], "background")
    if "reference" in upload.files:
        await service.pictures.check(upload.files["reference"], "reference")
    box = _within(f.box, background.width, background.height)
    order = LayerOrder(
        width=background.width,
        height=background.height,
        box=box,
        prompt=f.prompt,
        seed=_seed(f.seed),
        candidates=f.candidates,
        **_settings(f),
        **await _named(upload.files),
    )
    return Ordered(order, f.model, (f.seed,), frozenset(upload.files.values()))


async def extraction(service: Service, upload: Upload[ExtractionFields]) -> Ordered:
    """`POST /v1/extractions`. Raises `ProblemError`."""
    f = upload.fields
    composite, background = upload.files["composite"], upload.files["background"]
    keys = ("composite", "background")
    if f.box is None:
        box, width, height = await service.pictures.changed(composite, background, keys)
    else:
        width, height = await service.pictures.alike(composite, background, keys)
        box = _within(f.box, width, height)
    extra: dict[str, Any] = {"joint_guidance": f.joint_guidance, "refit": f.refit, "prompt": f.prompt}
    named = await _named(upload.files)
    order = ExtractionOrder(width=width, height=height, box=box, seed=_seed(f.seed), **extra, **_settings(f), **named)
    return Ordered(order, f.model, (f.seed,), frozenset(upload.files.values()))


async def document(service: Service, upload: Upload[DocumentFields]) -> Ordered:
    """`POST /v1/documents`. Raises `ProblemError`."""
    f = upload.fields
    background = await service.pictures.check(upload.files["background"], "background")
    if (f.redraw is None) == ("document" in upload.files):
        raise refused("document", "<file>", "goes together with redraw", "give both, or neither")
    layers, references = [], []
    for number, entry in enumerate(f.layers):
        place = f"layers[{number}]"
        reference = getattr(entry, "reference", None)
        if not entry.prompt and reference is None:
            raise refused(f"{place}.prompt", "<0 characters>", "is empty", "describe the object in words, or show it in a reference")
        shown = None
        if reference is not None:
            await service.pictures.check(reference, f"{place}.reference")
            shown = await asyncio.to_thread(name_of, reference)
            references.append(reference)
        plain = {name: getattr(entry, name) for name in ("prompt", "steps", "opacity", "blend_mode", "visible", "split_effects")}
        box = _within(entry.box, background.width, background.height, f"{place}.box")
        name = layer_name(entry.name or entry.prompt or f"layer {number + 1}")
        layers.append(SceneLayer(name=name, box=box, seed=_seed(entry.seed), reference=shown, **plain))
    redraw = None if f.redraw is None else layer_name(f.redraw)
    _check_names(layers, redraw)
    if "document" in upload.files:
        await _archived(service, upload.files)
    size: dict[str, Any] = {"width": background.width, "height": background.height}
    order = DocumentOrder(layers=tuple(layers), redraw=redraw, **size, **await _named(upload.files))
    return Ordered(order, f.model, tuple(entry.seed for entry in f.layers), frozenset((*upload.files.values(), *references)))


async def export(service: Service, upload: Upload[ExportFields]) -> Ordered:
    """`POST /v1/exports`. Raises `ProblemError`."""
    f = upload.fields
    if is_picture(upload.files["document"]):
        looked = await service.pictures.check(upload.files["document"], "document")
        width, height = looked.width, looked.height
    else:
        await _archived(service, upload.files, ", or a picture")
        width, height = await asyncio.to_thread(_size_of, upload.files["document"])
    edits = tuple(LayerEdit(**edit.model_dump()) for edit in f.edits)
    named = await _named(upload.files)
    order = ExportOrder(width=width, height=height, edits=edits, order=tuple(f.order) if f.order else None, **named)
    return Ordered(order, None, (), frozenset(upload.files.values()))


async def _named(files: dict[str, bytes]) -> dict[str, Any]:
    """The names under which uploads are to be kept."""
    return await asyncio.to_thread(lambda: {key: name_of(data) for key, data in files.items()})


def _settings(fields: Any) -> dict[str, Any]:
    return {name: getattr(fields, name) for name in ("steps", "true_cfg_scale", "step_cache", "split_effects")}


def _seed(given: int | None) -> int:
    return secrets.randbits(32) if given is None else given


def _within(box: Box, width: int, height: int, key: str = "box") -> tuple[int, int, int, int]:
    try:
        found = box.within(width, height)
    except BadInput as error:
        raise ProblemError(problems.of_bad_input(BadInput(key, error.value, error.rule, error.remedy))) from None
    return found.x0, found.y0, found.x1, found.y1


def _check_names(layers: list[SceneLayer], redraw: str | None) -> None:
    if (found := first_taken([layer.name for layer in layers])) is not None:
        number, other = found
        rule = f"is also the name of {'the background' if other is None else f'layers[{other}]'}, or of a part of it"
        raise refused(f"layers[{number}].name", layers[number].name, rule, "give every layer one of its own")
    if redraw is not None and redraw not in [layer.name for layer in layers]:
        raise refused("redraw", redraw, "is not the name of a layer", f"use one of {', '.join(layer.name for layer in layers)}")


async def _archived(service: Service, files: dict[str, bytes], also: str = "") -> None:
    """Have the document among the files be one that workers read: a .psd becomes a .zip. Raises `ProblemError`."""
    data = files["document"]
    if data.startswith(_PHOTOSHOP):
        files["document"] = await service.pictures.archive(data, "document")
    elif not data.startswith(ZIP):
        rule, remedy = "is not a layered document that can be read here", f"send a .zip, .ora or .psd that this service or bfs wrote{also}"
        raise refused("document", f"<{len(data)} bytes>", rule, remedy, "unsupported-media-type")


def _size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a document. Raises `ProblemError`."""
    from bfs_model.document import file as documents

    try:
        return documents.read_size(data)
    except BadInput as error:
        raise ProblemError(problems.of_bad_input(BadInput("document", error.value, error.rule, error.remedy))) from None
