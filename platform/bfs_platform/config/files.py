"""Specifications in files: written beside each result, and valid as input again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.config import registry
from bfs_platform.config.overrides import apply
from bfs_platform.config.spec import Spec, SpecT


def resolve(recipe: str, overrides: Sequence[str], expected: type[SpecT]) -> SpecT:
    """What `--recipe` and `--set` mean: load `recipe` (a name or a file), check its type, apply `overrides`.

    Raises: `BadInput` for an unknown recipe, one of another kind, an unknown key or a refused value.
    """
    spec = load(recipe)
    if not isinstance(spec, expected):
        alternatives = ", ".join(registry.names(expected)) or "none is shipped"
        raise BadInput("recipe", recipe, f"describes a {type(spec).__name__}, not a {expected.__name__}", f"recipes: {alternatives}")
    return apply(spec, overrides)


def load(name_or_path: str | Path) -> Spec:
    """The specification of a recipe name, of a file written by `dump`, or of the `manifest.json` of a result."""
    text = str(name_or_path)
    if not (text.endswith(".json") or os.sep in text):
        return registry.get(text)
    path = Path(text)
    if not path.is_file():
        raise BadInput("recipe", path, "is not a file", "give the name of a recipe or a resolved specification")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        # The body of a manifest names no folders: the same result elsewhere has the same hash.
        places = document.get("notes", {}).get("places", {}) if "body" in document else {}
        document = document["body"]["recipe"] if "body" in document else document
        name, values = document["recipe"], document["spec"]
        values = values | {part: values.get(part, {}) | own for part, own in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput("recipe", path, 'is not {"recipe": name, "spec": {…}}', "use a file that a job wrote beside its result") from None
    return _validated(name, values, path)


def dump(spec: Spec, path: str | Path) -> Path:
    """Write `spec` to `path` so that `load` returns an equal one; renamed into place when complete. Needs a recipe name."""
    assert spec.recipe_name, "only a specification that came from a recipe can be loaded again"
    text = json.dumps(spec.resolved(), indent=2, ensure_ascii=False) + "\n"
    return write_whole(path, text.encode(), key="recipe")


def _validated(name: str, values: dict[str, Any], path: Path) -> Spec:
    kind = registry.find(name).kind
    try:
        return kind.model_validate(values).named(name)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(part) for part in item["loc"])
        raise BadInput(key or "spec", item.get("input"), item["msg"].removeprefix("Input "), f"mend {path}") from None
