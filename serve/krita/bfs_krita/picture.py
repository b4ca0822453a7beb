"""Between Krita's documents and the service: what lies under the active layer as PNG, and drawn layers back into the document."""

from __future__ import annotations

import io
import json
import zipfile
from itertools import groupby
from typing import Any

from PyQt5.QtCore import QBuffer, QIODevice
from PyQt5.QtGui import QImage

SRGB = ("RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc")
_BYTES = 4


class Unusable(Exception):
    """Why nothing can be drawn here, as a sentence for people."""


def box_of(document: Any) -> list[int]:
    """The selection as x0, y0, x1, y1 on the canvas, half-open."""
    selection = document.selection()
    if selection is None:
        raise Unusable("Select where the object shall stand, then draw")
    x0, y0 = max(selection.x(), 0), max(selection.y(), 0)
    x1 = min(selection.x() + selection.width(), document.width())
    y1 = min(selection.y() + selection.height(), document.height())
    if x0 >= x1 or y0 >= y1:
        raise Unusable("The selection lies outside of the picture; select a place on it")
    return [x0, y0, x1, y1]


def place_of(document: Any) -> Any:
    """The layer above which to draw: the active one, that of an active mask, else the topmost; None in an empty document."""
    node = document.activeNode()
    while node is not None and node.type().endswith("mask"):
        node = node.parentNode()
    if node is None or node.parentNode() is None:
        layers = [child for child in document.rootNode().childNodes() if not child.type().endswith("mask")]
        return layers[-1] if layers else None
    return node


def below(document: Any, place: Any) -> bytes:
    """What is seen of `place` and all that lies under it, as PNG in sRGB. The document itself stays as it is."""
    copy = document.clone()
    try:
        parent = copy.rootNode()
        for position in _path(document.rootNode(), place):
            children = parent.childNodes()
            for hidden in children[position + 1 :]:
                hidden.setVisible(False)
            parent = children[position]
        copy.refreshProjection()
        copy.waitForDone()
        copy.flatten()
        copy.waitForDone()
        if not _is_srgb(copy):
            copy.setColorSpace(*SRGB)
            copy.waitForDone()
        width, height = document.width(), document.height()
        pixels = copy.pixelData(0, 0, width, height).data()
        return _png(QImage(pixels, width, height, width * _BYTES, QImage.Format_ARGB32))
    finally:
        copy.close()


def insert(document: Any, place: Any, openraster: bytes) -> int:
    """Put the drawn layers of an OpenRaster file of BFS above `place`; neighbours in one group come as a group. How many they are."""
    parent = document.rootNode() if place is None else place.parentNode()
    with zipfile.ZipFile(io.BytesIO(openraster)) as archive:
        drawn = [entry for entry in json.loads(archive.read("bfs.json").decode())["layers"] if entry["role"] != "background"]
        for name, entries in groupby(drawn, key=lambda entry: entry["group"]):
            layers = [_layer(document, entry, archive.read(entry["file"])) for entry in entries]
            # A group comes whole, so that one step of undo takes it away whole.
            for node in layers if name is None else [_group(document, name, layers)]:
                parent.addChildNode(node, place)
                place = node
    if drawn:
        document.setActiveNode(place)
        document.refreshProjection()
    return len(drawn)


def _group(document: Any, name: str, layers: list[Any]) -> Any:
    """A group in which layers blend with what is under the group, as in our files."""
    group, above = document.createGroupLayer(name), None
    group.setPassThroughMode(True)
    for node in layers:
        group.addChildNode(node, above)
        above = node
    return group


def _layer(document: Any, entry: dict[str, Any], png: bytes) -> Any:
    """A paint layer with these pixels, bit for bit where the document is 8-bit sRGB."""
    image = QImage.fromData(png, "PNG").convertToFormat(QImage.Format_ARGB32)
    width, height = image.width(), image.height()
    node = document.createNode(entry["name"], "paintlayer")
    own = (document.colorModel(), document.colorDepth(), document.colorProfile())
    if not _is_srgb(document):
        node.setColorSpace(*SRGB)
    node.setPixelData(image.constBits().asstring(width * height * _BYTES), entry["x"], entry["y"], width, height)
    if not _is_srgb(document):
        node.setColorSpace(*own)
    node.setOpacity(round(255 * entry["opacity"]))
    node.setBlendingMode(entry["blend_mode"])
    node.setVisible(entry["visible"])
    return node


def _path(root: Any, node: Any) -> list[int]:
    """The positions of a node and of the groups around it, from outside in; empty where there is no node."""
    path: list[int] = []
    while node is not None and node != root:
        siblings = node.parentNode().childNodes()
        path.insert(0, siblings.index(node))
        node = node.parentNode()
    return path


def _is_srgb(document: Any) -> bool:
    return (document.colorModel(), document.colorDepth()) == SRGB[:2] and "srgb" in document.colorProfile().lower()


def _png(image: QImage) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.WriteOnly)
    image.save(buffer, "PNG")
    return buffer.data().data()
