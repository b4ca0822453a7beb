"""The report: one static folder, no script or picture from elsewhere, that opens from disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bfs_platform.evaluate.catalogue import METRICS
from bfs_platform.evaluate.pictures import ERROR_GAIN

_ROW_METRICS = ("region_mae", "region_psnr", "region_ssim", "alpha_iou", "effect_recall", "effect_precision", "alpha_outside")
_TITLES = {
    "background": "background and box",
    "layer": "layer",
    "alpha": "alpha",
    "composite": "composite, before | after",
    "truth": "truth",
    "error": f"error ×{ERROR_GAIN}",
}


def write_report(results: dict[str, Any], images: Mapping[int, Mapping[str, bytes]], directory: Path) -> Path:
    """Write `directory/index.html` and the pictures beside it.

    Args: `results` as in metrics.json; `images` PNG bytes by position in the list and kind, for the records to be shown.
    Texts from the records are escaped. Returns: the path of index.html.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    (directory / "images").mkdir(parents=True)
    for position, kinds in images.items():
        for kind, data in kinds.items():
            (directory / "images" / _file_name(position, kind)).write_bytes(data)
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "spread": _spread}
    shown = [_shown_sample(results["samples"][position], position) for position in sorted(images)]
    page = environment.get_template("report.html.j2").render(
        results=results, metrics=METRICS, row_metrics=_ROW_METRICS, titles=_TITLES, shown=shown, settings=_settings(results)
    )
    path = directory / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _shown_sample(sample: Mapping[str, Any], position: int) -> dict[str, Any]:
    return {**sample, "figures": sample["systems"]["model"], "images": {kind: f"images/{_file_name(position, kind)}" for kind in _TITLES}}


def _file_name(position: int, kind: str) -> str:
    return f"{position:05d}-{kind}.png"


def _settings(results: Mapping[str, Any]) -> dict[str, str]:
    """What the figures depend on, for the head of the page."""
    spec, model = results["recipe"]["spec"], results["model"]
    base = model.get("base") or {}
    out = {
        "model": f"{model['uri']} ({model['content_hash'][:12]})",
        "base": f"{base['name']} ({base['content_hash'][:12]})" if base else "",
        "list": f"{len(results['list']['ids'])} records ({results['list']['hash'][:12]})",
        "recipe": results["recipe"]["recipe"],
        "seed": str(spec["seed"]),
        "steps": str(spec["steps"] or "the model's own"),
        "effect threshold": f"α > {spec['effect_threshold']:g}",
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
    }
    return {key: value for key, value in out.items() if value}


def _figure(value: float | None, name: str) -> str:
    return "–" if value is None else f"{value:.{METRICS[name].digits}f}"


def _spread(summary: Mapping[str, Any], name: str) -> str:
    """`mean ± std`, as far as they exist."""
    text = _figure(summary["mean"], name)
    return text if summary["std"] is None else f"{text} ± {_figure(summary['std'], name)}"
