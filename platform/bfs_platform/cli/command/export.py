"""`bfs export`: one layered document in another format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfs_platform.cli.command.generate import Url
from bfs_platform.cli.shell import AsJson, report

if TYPE_CHECKING:
    from bfs_model.document.layers import LayerStack


def export(
    document: Annotated[Path, typer.Argument(metavar="DOCUMENT", help="A .zip, .psd or .ora.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help=".psd, .ora, .zip, or .png (flattened).")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write a layered document in another format; names, boxes, prompts and seeds travel along."""
    from bfs_model import LayerStack
    from bfs_platform.cli.results import check_outputs, summary_text

    check_outputs(output, None, document)
    stack, made = (LayerStack.open(document), {}) if url is None else _there(url, document)
    stack.save(output)
    layers = [{"name": layer.name, "x": layer.x, "y": layer.y, "width": layer.width, "height": layer.height} for layer in stack]
    summary: dict[str, Any] = {"output": str(output), "size": [stack.width, stack.height], **made, "layers": layers}
    report(summary, as_json, summary_text({**summary, "layers": ", ".join(layer.name for layer in stack)}))


def _there(url: str, document: Path) -> "tuple[LayerStack, dict[str, Any]]":
    """The document as a service composes it, and what a summary says of it."""
    from bfs_platform.cli.client import asking, document_bytes, facts, stack_of

    data = document_bytes(document)
    with asking(url) as client:
        made = client.export(data)
        return stack_of(client, made), facts(client, made)
