"""`bfs export`: one layered document in another format."""

from pathlib import Path
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, report


def export(
    document: Annotated[Path, typer.Argument(metavar="DOCUMENT", help="A .zip, .psd or .ora.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help=".psd, .ora, .zip, or .png (flattened).")],
    as_json: AsJson = False,
) -> None:
    """Write a layered document in another format; names, boxes, prompts and seeds travel along."""
    from bfs_model import LayerStack
    from bfs_platform.cli.results import check_outputs, summary_text

    check_outputs(output, None, document)
    stack = LayerStack.open(document)
    stack.save(output)
    layers = [{"name": layer.name, "x": layer.x, "y": layer.y, "width": layer.width, "height": layer.height} for layer in stack]
    summary = {"output": str(output), "size": [stack.width, stack.height], "layers": layers}
    report(summary, as_json, summary_text({**summary, "layers": ", ".join(layer.name for layer in stack)}))
