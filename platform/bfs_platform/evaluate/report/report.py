"""The report: one static folder, no script or picture from elsewhere, that opens from disk."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bfs_platform.evaluate.learned.paper import COLUMNS, PAPER, SOURCE
from bfs_platform.evaluate.metric.catalogue import exact, known
from bfs_platform.evaluate.report.pictures import ERROR_GAIN, KINDS, shown_kinds, system_of
from bfs_platform.evaluate.report.transparency import transparent

_ROW_METRICS = ("region_mae", "region_psnr", "region_ssim", "alpha_iou", "effect_recall", "effect_precision", "alpha_outside")
_TILES = ("region_psnr", "region_ssim", "alpha_iou", "effect_recall", "background_changed")
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
    wanted = shown_kinds(results["systems"])
    # A record that the model failed on has nothing to compare, whatever the others drew.
    images = {place: {kind: kinds[kind] for kind in wanted if kind in kinds} for place, kinds in images.items() if "layer" in kinds}
    for position, kinds in images.items():
        for kind, data in kinds.items():
            (directory / "images" / _file_name(position, kind)).write_bytes(data)
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "spread": _spread}
    shown = [_shown_sample(results, position, kinds) for position, kinds in sorted(images.items())]
    page = environment.get_template("report.html.j2").render(
        results=results,
        metrics={name: metric for name, metric in exact().items() if any(s[name]["n"] for s in results["systems"].values())},
        all_metrics=known(),
        row_metrics=_ROW_METRICS,
        titles=_TITLES,
        shown=shown,
        settings=_settings(results),
        specification=json.dumps(results["recipe"]["spec"], indent=2, ensure_ascii=False),
        learned=_learned(results),
        glass=transparent(results),
        tiles=[(name, results["systems"]["model"][name]) for name in _TILES if results["systems"]["model"][name]["n"]],
    )
    path = directory / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _shown_sample(results: Mapping[str, Any], position: int, kinds: Mapping[str, bytes]) -> dict[str, Any]:
    sample = results["samples"][position]
    beside = [(system, kind) for kind in kinds if (system := system_of(kind)) is not None]
    errors = {name: figures.get("region_mae") for name, figures in sample["systems"].items()}
    return {
        **sample,
        "figures": sample["systems"]["model"],
        "images": {kind: f"images/{_file_name(position, kind)}" for kind in KINDS},
        "others": [(name, f"images/{_file_name(position, kind)}", errors.get(name)) for name, kind in beside],
    }


def _file_name(position: int, kind: str) -> str:
    system = system_of(kind)
    return f"{position:05d}-{kind if system is None else f'composite_of_{_as_name(system)}'}.png"


def _as_name(system: str) -> str:
    """A system's name as far as a file name can hold it, made its own where that is not all of it."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", system)[:80]
    return plain if plain == system else f"{plain}-{hashlib.sha256(system.encode()).hexdigest()[:8]}"


def _learned(results: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of our systems and of the paper's, by learned metric; `rows` is empty when none was taken."""
    found = results["learned"]
    rows = {
        system: [found["kid"].get(system) if name == "kid" else summary.get(name) for name in COLUMNS]
        for system, summary in results["systems"].items()
    }
    taken = any(entry is not None for row in rows.values() for entry in row)
    paper = {system: [figures.get(name) for name in COLUMNS] for system, figures in PAPER.items()}
    reasons: dict[str, list[str]] = {}
    for name, reason in found.get("absent", {}).items():
        reasons.setdefault(reason, []).append(known()[name].label)
    notes = [f"{', '.join(names)}: not taken, {reason}." for reason, names in reasons.items()]
    notes += [f"{role}: weights {w['name']} ({w['sha256'][:12]})." for role, w in found.get("weights", {}).items()]
    notes += [f"{', '.join(f'{key} {value}' for key, value in versions.items())}." for versions in found.get("packages", {}).values()]
    if found["kid"]:
        drawn = next(iter(found["kid"].values()))
        spec = results["recipe"]["spec"]["learned"]
        notes.append(f"KID over {spec['kid']} features, {drawn['subsets']} subsets of {drawn['subset_size']}; ± is their spread.")
    return {"rows": rows if taken else {}, "columns": COLUMNS, "paper": paper, "source": SOURCE, "notes": notes}


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
        "short side": f"{spec['short_side']} pixels" if spec["short_side"] else "",
        "systems": ", ".join(results["systems"]),
        "effect threshold": f"α > {spec['effect_threshold']:g}",
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
    }
    return {key: value for key, value in out.items() if value}


def _figure(value: float | None, name: str) -> str:
    return "–" if value is None else f"{value:.{known()[name].digits}f}"


def _spread(summary: Mapping[str, Any], name: str) -> Any:
    """`mean ± std`, as far as they exist, the second less loud."""
    from markupsafe import Markup

    text = _figure(summary["mean"], name)
    return text if summary["std"] is None else Markup("{} <i>± {}</i>").format(text, _figure(summary["std"], name))
