"""`bfs convert`: weights in the format of the authors' released code become a model folder of ours."""

from pathlib import Path
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, report

Released = Annotated[Path, typer.Option(metavar="FILE", help="Trained weights of BFS_Release, as .safetensors.")]
Base = Annotated[str, typer.Option(help="The backbone they were trained on: a FLUX.1-Fill folder or hub id, or a bundle.")]
OutputFolder = Annotated[Path, typer.Option("--output", metavar="DIR", help="The model folder to write.")]
RgbaVae = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of their RGBA VAE; the base's serves without it.")]
Alpha = Annotated[float | None, typer.Option(min=1e-6, help="Alpha of the LoRAs; their rank by default, as in the release.")]


def convert(
    released: Released,
    base: Base,
    output: OutputFolder,
    rgba_vae: RgbaVae = None,
    alpha: Alpha = None,
    as_json: AsJson = False,
) -> None:
    """Make a model folder of weights that the authors' released code reads."""
    from bfs_model import integrity
    from bfs_model.weight import released as format_of_release

    manifest = format_of_release.convert(released, base, output, rgba_vae, alpha)
    found = integrity.read_manifest(manifest.parent)
    summary = {
        "output": str(output),
        "base": found["body"]["base"]["name"],
        "rank": found["body"]["converted"]["rank"],
        "content_hash": found["content_hash"],
    }
    report(summary, as_json, f"{output}: released weights of rank {summary['rank']} on {summary['base']}")
