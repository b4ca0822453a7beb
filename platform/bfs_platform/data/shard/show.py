"""What a dataset is: as JSON values, as text, and as a page of pictures."""

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bfs_model.picture.images import checkerboard, png_bytes
from bfs_platform.data.shard.reading import Dataset, open_dataset
from bfs_platform.data.spec import KIND
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.path import RemotePath, location

COLUMNS = ("background and box", "composite", "layer", "alpha")
STYLE = """body{font:14px system-ui;margin:2rem;background:#fff;color:#222}table{border-collapse:collapse}
td,th{padding:4px 8px;text-align:left;font-weight:normal;vertical-align:top}th{color:#666}
img{width:160px;image-rendering:pixelated;display:block}td.c{max-width:18rem}code{color:#666}"""


def describe(directory: str | Path | RemotePath) -> dict[str, Any]:
    """The facts of a dataset, from its manifest: what it holds, what made it, what was rejected. Reads no shard."""
    place = location(directory)
    manifest = read_manifest(place, KIND)
    body, notes = manifest["body"], manifest["notes"]
    seconds = notes.get("stage_s", {})
    total = body["num_records"] + sum(body["rejects"].values())
    return {
        "path": str(place),
        "content_hash": manifest["content_hash"],
        "stage": body["stage"],
        "num_records": body["num_records"],
        "num_shards": len(body["shards"]),
        "num_bytes": sum(entry["bytes"] for entry in manifest["files"]),
        "encoded": body["encoded"],
        "base": body["base"],
        "recipe": body["recipe"],
        "sources": body["sources"],
        "rejects": body["rejects"],
        "reject_rate": sum(body["rejects"].values()) / total,
        "skipped_files": notes.get("skipped_files", 0),
        "unread_captions": notes.get("unread_captions", {}),
        "measures": notes.get("measures", {}),
        "stage_s": seconds,
        "wall_s": notes.get("wall_s"),
    }


def as_text(facts: dict[str, Any]) -> str:
    """`describe`'s facts for reading."""
    rejects = ", ".join(f"{reason} {count}" for reason, count in facts["rejects"].items()) or "none"
    sources = ", ".join(f"{s['name']} ({s['licence']}) {s['content_hash'][:12]}" for s in facts["sources"])
    skipped = facts["skipped_files"]
    base = f"{facts['base']['name']} {facts['base']['content_hash'][:12]}" if facts["base"] else "not encoded"
    unread = "".join(f", {encoder} did not read {count} captions whole" for encoder, count in facts["unread_captions"].items())
    recipe = facts["recipe"]["spec"]
    buckets = " ".join(f"{width}x{height}" for height, width in recipe["buckets"])
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in facts["stage_s"].items())
    lines = [
        f"dataset   {facts['path']}",
        f"content   {facts['content_hash']}",
        f"stage     {facts['stage']}",
        f"records   {facts['num_records']} in {facts['num_shards']} shards, {facts['num_bytes'] / 2**20:.1f} MiB",
        f"rejects   {rejects} ({facts['reject_rate']:.1%})",
        f"sources   {sources}" + (f", {skipped} hidden files or files of the system passed over" if skipped else ""),
        f"latents   {base}{unread}",
        f"recipe    {facts['recipe']['recipe'] or '(unnamed)'}, seed {recipe['seed']}, sizes {buckets}",
        f"time      {facts['wall_s']} s; per stage, all processes: {times}",
    ]
    for name, values in facts["measures"].items():
        lines.append(f"{name:9} " + ", ".join(f"{share} below {value:.4g}" for share, value in values.items()))
    return "\n".join(lines)


def contact_sheet(directory: str | Path | RemotePath, path: str | Path, num_samples: int = 24) -> Path:
    """Write one self-contained HTML page with `num_samples` records spread over the dataset, all layers of each."""
    dataset = open_dataset(directory)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(num_samples, len(dataset))).round().astype(int))
    rows = "\n".join(_row(dataset, int(index)) for index in indices)
    header = "".join(f"<th>{name}</th>" for name in (*COLUMNS, "caption"))
    facts = html.escape(as_text(describe(directory)))
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Dataset, stage {dataset.body["stage"]}</title>
<style>{STYLE}</style><h1>Dataset, stage {dataset.body["stage"]}</h1><pre>{facts}</pre>
<table><tr>{header}</tr>
{rows}
</table></html>
"""
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def _row(dataset: Dataset, index: int) -> str:
    text = dataset.take([index], ["id", "caption"])
    box = dataset.boxes([index])[0].tolist()
    background, composite, layer = (dataset.pictures(name, [index])[0] for name in ("background", "composite", "foreground"))
    assert background is not None and composite is not None and layer is not None
    pictures = [_with_box(background, box), composite, np.asarray(checkerboard(layer)), layer[..., 3]]
    cells = "".join(f'<td><img alt="{name}" src="{_data_uri(p)}"></td>' for name, p in zip(COLUMNS, pictures, strict=True))
    caption = f"{html.escape(text['caption'][0])}<br><code>{html.escape(text['id'][0])}</code>"
    return f'<tr>{cells}<td class="c">{caption}</td></tr>'


def _with_box(picture: np.ndarray, box: list[int]) -> np.ndarray:
    image = Image.fromarray(picture).copy()
    x0, y0, x1, y1 = box
    ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 210, 0))
    return np.asarray(image)


def _data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()
