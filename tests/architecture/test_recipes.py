"""The shipped recipes."""

import ast

import pytest
from sources import PACKAGES, ROOT, parsed, python_files

from bfs_platform.config import Spec, dump, get, load, names

SHIPPED = names()


def test_recipes_are_shipped() -> None:
    """There is something to run."""
    assert SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_survives_being_written(name, tmp_path) -> None:
    """Every recipe loads, and what is written beside a result is the same specification again."""
    spec = get(name)
    assert spec.recipe_name == name
    assert load(dump(spec, tmp_path / "spec.json")) == spec


def _kinds(spec: Spec) -> set[type[Spec]]:
    """The types of a specification and of all its parts."""
    kinds = {type(spec)}
    for field in type(spec).model_fields:
        child = getattr(spec, field)
        for part in child if isinstance(child, list | tuple) else [child]:
            if isinstance(part, Spec):
                kinds |= _kinds(part)
    return kinds


@pytest.mark.parametrize("name", SHIPPED)
def test_every_field_is_read_somewhere(name) -> None:
    """A setting that nothing reads is a promise that nothing keeps."""
    read = set()
    for path in python_files(*PACKAGES.values(), ROOT / "jobs"):
        nodes = list(ast.walk(parsed(path)))
        read |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
        # Some are read by a name that stands as a text, as keys of tables of models do.
        read |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    unread = {f"{kind.__name__}.{field}" for kind in _kinds(get(name)) for field in kind.model_fields if field not in read}
    assert unread == set()
