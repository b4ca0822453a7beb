"""What a person does with the docker. Each story yields what it waits for, and returns what can be written as JSON; pixels go to files."""

import time

from krita import Krita, Selection

SRGB = "sRGB-elle-V2-srgbtrc.icc"


def draws_a_group(what, folder):
    """Between two layers, object and effects apart; then a look at the whole window; then undone."""
    document = yield from opened(what)
    background = document.activeNode()
    top = yield from added(document, "on top")
    top.setPixelData(b"\x00\xff\x00\xff" * (document.width() * 20), 0, 60, document.width(), 20)
    yield from activated(document, background)
    docker = yield from prepared(what, document, split=True)
    shown = yield from drawn(docker)
    yield lambda: document.activeNode() != background
    document.refreshProjection()
    document.waitForDone()
    seen = {"message": docker.message.text(), "shown": shown, "nodes": described(document, folder, "group")}
    seen["active"] = document.activeNode().name()
    Krita.instance().activeWindow().qwindow().grab().save(str(folder / "window.png"))
    Krita.instance().action("edit_undo").trigger()
    yield lambda: len(nodes(document)) < len(seen["nodes"])
    return {**seen, "undone": [node["name"] for node in described(document, folder, "undone")]}


def draws_one_layer(what, folder):
    """Into a group, above a mask's layer, with fewer steps."""
    document = yield from opened(what)
    group = document.createGroupLayer("things")
    inner = document.createNode("inner", "paintlayer")
    group.addChildNode(inner, None)
    document.rootNode().addChildNode(group, document.rootNode().childNodes()[-1])
    mask = document.createNode("mask", "transparencymask")
    inner.addChildNode(mask, None)
    yield from activated(document, mask)
    docker = yield from prepared(what, document, split=False, steps=2)
    yield from drawn(docker)
    return {"message": docker.message.text(), "nodes": described(document, folder, "one")}


def draws_in_sixteen_bits(what, folder):
    """A document of another depth gets a layer of its own kind."""
    document = yield from opened(what)
    document.setColorSpace("RGBA", "U16", SRGB)
    document.waitForDone()
    docker = yield from prepared(what, document, split=False)
    yield from drawn(docker)
    depth = nodes(document)[-1][0].colorDepth()
    document.setColorSpace("RGBA", "U8", SRGB)
    document.waitForDone()
    return {"message": docker.message.text(), "depth": depth, "nodes": described(document, folder, "deep")}


def cancels(what, folder):
    """In the middle of a long drawing; then once more because Krita ends."""
    document = yield from opened(what)
    docker = yield from prepared(what, document, split=True, steps=200)
    docker.draw_button.click()
    yield lambda: docker.progress.maximum() == 200 and docker.progress.value() >= 1
    docker.cancel_button.click()
    seen = {"message": docker.message.text(), "idle": docker.draw_button.isEnabled()}
    yield from passed(2)
    seen["later"] = docker.message.text()
    docker.draw_button.click()
    yield lambda: docker.progress.maximum() == 200 and docker.progress.value() >= 1
    task = docker._task
    docker.leave()
    return {**seen, "left": task.isFinished(), "nodes": described(document, folder, "canceled")}


def says_what_is_wrong(what, folder):
    """No selection, no words, a seed that is none, no service, a refusal of the service."""
    document = yield from opened(what)
    docker = yield from prepared(what, document, split=True)
    said = {}
    document.setSelection(None)
    yield from tried(docker, said, "no selection")
    document.setSelection(selected(-50, -50, 10, 10))
    yield from tried(docker, said, "outside")
    document.setSelection(selected(*what["selection"]))
    docker.prompt.setPlainText("  ")
    yield from tried(docker, said, "no words")
    docker.prompt.setPlainText("x" * 2000)
    yield from tried(docker, said, "refused")
    docker.prompt.setPlainText(what["prompt"])
    docker.seed.setText("seven")
    yield from tried(docker, said, "no seed")
    docker.seed.setText("7")
    docker.url.setText(what["nobody"])
    yield from tried(docker, said, "no service")
    docker.url.setText("ftp://127.0.0.1")
    yield from tried(docker, said, "no address")
    docker.url.setText(what["url"])
    docker.check_button.click()
    yield docker.draw_button.isEnabled
    said["connected"] = docker.message.text()
    return {"said": said, "nodes": described(document, folder, "wrong"), "kept": Krita.instance().readSetting("bfs", "url", "")}


def opened(what):
    """The background as the active document."""
    document = Krita.instance().openDocument(what["background"])
    document.setBatchmode(True)
    Krita.instance().activeWindow().addView(document)
    Krita.instance().setActiveDocument(document)
    yield lambda: Krita.instance().activeDocument() == document and document.activeNode() is not None
    return document


def added(document, name):
    """An empty layer on top of all."""
    node = document.createNode(name, "paintlayer")
    document.rootNode().addChildNode(node, document.rootNode().childNodes()[-1])
    yield from passed(0.5)
    return node


def activated(document, node):
    """Make a layer the active one."""
    yield from passed(0.5)
    document.setActiveNode(node)
    yield lambda: document.activeNode() == node


def prepared(what, document, split, steps=0):
    """The docker, filled in."""
    (docker,) = [docker for docker in Krita.instance().dockers() if docker.windowTitle() == "BFS"]
    docker.show()
    docker.url.setText(what["url"])
    docker.prompt.setPlainText(what["prompt"])
    docker.seed.setText(str(what["seed"]))
    docker.steps.setValue(steps)
    docker.split.setChecked(split)
    active = document.activeNode()
    document.setSelection(selected(*what["selection"]))
    yield lambda: document.selection() is not None
    yield from activated(document, active)
    return docker


def drawn(docker):
    """Press the button and wait; returns what the message said meanwhile."""
    shown = []

    def idle():
        if docker.message.text() not in shown:
            shown.append(docker.message.text())
        return docker.draw_button.isEnabled()

    docker.draw_button.click()
    yield idle
    return shown


def tried(docker, said, name):
    """Keep what a try leads to."""
    yield from drawn(docker)
    said[name] = docker.message.text()


def passed(seconds):
    """Some time."""
    until = time.monotonic() + seconds
    yield lambda: time.monotonic() > until


def selected(x, y, width, height):
    """A rectangle."""
    selection = Selection()
    selection.select(x, y, width, height, 255)
    return selection


def nodes(document):
    """Layers and groups from bottom to top, each with the names of the groups around it; masks are none."""

    def below(parent, groups):
        for node in parent.childNodes():
            if not node.type().endswith("mask"):
                yield node, groups
                if node.type() == "grouplayer":
                    yield from below(node, [*groups, node.name()])

    return list(below(document.rootNode(), []))


def described(document, folder, name):
    """What `nodes` finds; their pixels, and those of the whole, in files."""
    found = []
    document.refreshProjection()
    document.waitForDone()
    (folder / f"{name}.bgra").write_bytes(document.pixelData(0, 0, document.width(), document.height()).data())
    for node, groups in nodes(document):
        box = [node.bounds().x(), node.bounds().y(), node.bounds().width(), node.bounds().height()]
        entry = {"groups": groups, "name": node.name(), "type": node.type(), "box": box}
        if node.type() == "grouplayer":
            entry["pass_through"] = node.passThroughMode()
        else:
            (folder / f"{name}-{len(found)}.bgra").write_bytes(node.pixelData(*box).data())
        found.append(entry)
    return found
