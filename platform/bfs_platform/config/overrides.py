"""`--set key=value`: change a frozen specification by dotted keys, all at once, validated by its own rules."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_platform.config.registry import nearest
from bfs_platform.config.spec import Spec, SpecT


@dataclass
class _Leaf:
    """A value as it was typed. It is read as JSON first, and as plain text if the field does not accept that."""

    key: str
    text: str
    as_text: bool = False

    def value(self) -> Any:
        if not self.as_text:
            try:
                return json.loads(self.text)
            except ValueError:
                self.as_text = True
        return self.text


_Tree = dict[str, "_Leaf | _Tree"]


def apply(spec: SpecT, overrides: Sequence[str]) -> SpecT:
    """Return `spec` changed by `overrides`, each `"a.b=value"`.

    Values are JSON (`1e-4`, `true`, `null`, `[1, 2]`) or else plain text. All are applied together before anything is
    validated, so two values that are only valid as a pair may come in either order.

    Raises: `BadInput` naming key, value and rule; for an unknown key, the nearest one.
    """
    if not overrides:
        return spec
    return _changed(spec, _tree(spec, overrides), prefix="").named(spec.recipe_name)


def dotted_keys(spec: Spec, prefix: str = "") -> Iterator[str]:
    """All keys that `--set` accepts for `spec`: `"seed"`, `"optimizer"`, `"optimizer.lr"`…"""
    for name in type(spec).model_fields:
        yield prefix + name
        child = getattr(spec, name)
        if isinstance(child, Spec):
            yield from dotted_keys(child, f"{prefix}{name}.")


def _tree(spec: Spec, overrides: Sequence[str]) -> _Tree:
    root: _Tree = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise BadInput("--set", override, "is not key=value", "for example --set seed=7")
        _refuse_unknown(spec, key, text)
        _insert(root, key, text)
    return root


def _insert(root: _Tree, key: str, text: str) -> None:
    *parents, last = key.split(".")
    node = root
    for depth, parent in enumerate(parents):
        child = node.setdefault(parent, {})
        if isinstance(child, _Leaf):
            raise BadInput(key, text, f"contradicts the value given for {'.'.join(parents[: depth + 1])}", "set one of the two")
        node = child
    if isinstance(node.get(last), dict):
        raise BadInput(key, text, f"contradicts a value given for a key inside {key}", "set one of the two")
    node[last] = _Leaf(key, text)


def _refuse_unknown(spec: Spec, key: str, text: str) -> None:
    node: Any = spec
    done: list[str] = []
    for part in key.split("."):
        if node is None or isinstance(node, dict):
            return  # no instance to compare with: the field's own type decides during validation
        if not isinstance(node, Spec):
            raise BadInput(key, text, f"goes inside {'.'.join(done)}, which is a single value", f"set {'.'.join(done)} itself")
        if part not in type(node).model_fields:
            here = ".".join([*done, ""])
            keys = ", ".join(here + name for name in type(node).model_fields)
            raise BadInput(key, text, "is not a known key", nearest(key, dotted_keys(spec)) + f"keys: {keys}")
        node = getattr(node, part)
        done.append(part)


def _changed(spec: SpecT, tree: _Tree, prefix: str) -> SpecT:
    values = {name: getattr(spec, name) for name in type(spec).model_fields}
    own: _Tree = {}
    for name, change in tree.items():
        child = values[name]
        if isinstance(change, dict) and isinstance(child, Spec):
            values[name] = _changed(child, change, f"{prefix}{name}.")
        else:
            own[name] = change
    while True:
        try:
            return type(spec).model_validate(values | {name: _plain(change, values[name]) for name, change in own.items()})
        except ValidationError as error:
            if not _retry_as_text(error, own):
                raise _bad_input(error, tree, prefix) from None


def _plain(change: "_Leaf | _Tree", current: Any) -> Any:
    """The override as plain values: a leaf's value, or the current mapping with the changed entries."""
    if isinstance(change, _Leaf):
        return change.value()
    entries = dict(current) if isinstance(current, dict) else {}
    return entries | {name: _plain(child, entries.get(name)) for name, child in change.items()}


def _retry_as_text(error: ValidationError, tree: _Tree) -> bool:
    """Turn refused JSON values into the text that was typed (`name=7` for a text field). True if any was turned."""
    turned = False
    for item in error.errors():
        leaf = _leaf_at(tree, item["loc"])
        if leaf is not None and item["type"] in ("string_type", "literal_error", "enum") and not leaf.as_text:
            leaf.as_text = turned = True
    return turned


def _leaf_at(tree: _Tree, location: tuple[int | str, ...]) -> _Leaf | None:
    node: _Leaf | _Tree | None = tree
    for part in location:
        if isinstance(node, dict):
            node = node.get(str(part))
    return node if isinstance(node, _Leaf) else None


def _leaves(tree: _Tree) -> list[_Leaf]:
    return [leaf for child in tree.values() for leaf in ([child] if isinstance(child, _Leaf) else _leaves(child))]


def _bad_input(error: ValidationError, tree: _Tree, prefix: str) -> BadInput:
    item = error.errors()[0]
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, BadInput):
        return cause
    leaf = _leaf_at(tree, item["loc"])
    rule = "is not a known key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if leaf is None:  # a rule over several fields: name all that were changed
        changed = _leaves(tree)
        return BadInput(",".join(x.key for x in changed), ",".join(x.text for x in changed), rule)
    inside = prefix + ".".join(str(part) for part in item["loc"])
    return BadInput(inside if inside.startswith(leaf.key) else leaf.key, leaf.text, rule)
