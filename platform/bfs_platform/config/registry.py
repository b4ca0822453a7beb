"""Names of recipes. Every module in `bfs_platform.recipe` is imported on the first look-up, none before."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

from bfs_model.errors import BadInput
from bfs_platform.config.spec import Spec


@dataclass(frozen=True)
class Recipe:
    """A registered recipe: its name, the type it returns, and the first line of its docstring."""

    name: str
    kind: type[Spec]
    summary: str
    build: Callable[[], Spec]


Build = TypeVar("Build", bound=Callable[[], Any])
_RECIPES: dict[str, Recipe] = {}


def recipe(build: Build) -> Build:
    """Register a function `name() -> SomeSpec` under its own name. It needs a return annotation and a docstring."""
    name = build.__name__
    kind = get_type_hints(build).get("return")
    assert isinstance(kind, type) and issubclass(kind, Spec), f"recipe {name} must be annotated to return a Spec"
    assert build.__doc__, f"recipe {name} needs a docstring: `bfs recipes` shows its first line"
    assert name not in _RECIPES, f"two recipes are called {name}"
    _RECIPES[name] = Recipe(name, kind, build.__doc__.strip().splitlines()[0], build)
    return build


def find(name: str) -> Recipe:
    """The registered recipe called `name`. Raises `BadInput` that names the nearest one."""
    _import_all()
    if name not in _RECIPES:
        raise BadInput("recipe", name, "is not a recipe", nearest(name, _RECIPES) + f"recipes: {', '.join(names())}")
    return _RECIPES[name]


def get(name: str) -> Spec:
    """Build the specification of the recipe called `name`. Raises `BadInput` that names the nearest one."""
    return find(name).build().named(name)


def names(kind: type[Spec] = Spec) -> list[str]:
    """Names of all recipes that return `kind`, sorted."""
    _import_all()
    return sorted(r.name for r in _RECIPES.values() if issubclass(r.kind, kind))


def nearest(word: str, known: Iterable[str]) -> str:
    """`"did you mean X? "`, or nothing when no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""


@cache
def _import_all() -> None:
    package = importlib.import_module("bfs_platform.recipe")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
