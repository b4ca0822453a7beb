"""Runs inside Krita: opens documents, and writes what it finds in them as JSON and raw pixels."""

import json
import sys
from pathlib import Path

from krita import Krita


def main(arguments):
    """`arguments`: a folder for the answers, then documents. Their answers are numbered in this order."""
    folder, *documents = arguments
    print(json.dumps({"version": Krita.instance().version()}))
    for number, path in enumerate(documents):
        try:
            described = read(path, Path(folder) / str(number))
        except Exception as error:
            print(f"{path}: {error!r}", file=sys.stderr)
            raise
        (Path(folder) / f"{number}.json").write_text(json.dumps(described), encoding="utf-8")
    print("done")


def read(path, folder):
    """One document."""
    folder.mkdir()
    document = Krita.instance().openDocument(path)
    document.setBatchmode(True)
    document.refreshProjection()
    document.waitForDone()
    width, height = document.width(), document.height()
    (folder / "flat.bgra").write_bytes(document.pixelData(0, 0, width, height).data())
    layers = []
    for node, groups in walk(document.rootNode(), ()):
        bounds = node.bounds()
        box = [bounds.x(), bounds.y(), bounds.width(), bounds.height()]
        (folder / f"{len(layers)}.bgra").write_bytes(node.pixelData(*box).data())
        looks = {"opacity": node.opacity() / 255, "blend_mode": node.blendingMode(), "visible": node.visible()}
        space = [node.colorModel(), node.colorDepth()]
        layers.append({"groups": groups, "name": node.name(), "box": box, "type": node.type(), "space": space} | looks)
    document.close()
    return {"width": width, "height": height, "layers": layers}


def walk(parent, groups):
    """Layers from bottom to top; groups must not look like anything themselves."""
    for node in parent.childNodes():
        if node.type() == "grouplayer":
            assert node.opacity() == 255 and node.visible(), node.name()
            assert node.passThroughMode(), f"{node.name()} is isolated"
            yield from walk(node, (*groups, node.name()))
        else:
            yield node, groups
