"""Modules that diffusers and transformers import and drawing a layer never uses: loaded when something does use them.

Half of a cold `bfs generate` was spent on the compiler of torch, its distributed tensors, SciPy, PEFT and every model that
diffusers knows. `install` puts a finder in front of Python's own. Importing a module of `DEFERRED` then makes a stand-in; the
module is imported, with what was deferred inside it, when anything is asked of the stand-in that it does not lend. It lends
classes and functions that the libraries take by `from module import name` on their way in: a `Lent` is the real one to whoever
calls it, takes an attribute from it, derives from it, or asks `isinstance`. Objects that the libraries make of lent classes on
their way in, the tables of layouts of tensor parallelism, are `Made` when something is asked of them.
"""

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from types import ModuleType
from typing import Any

from bfs_platform.cli import quicker
from bfs_platform.cli.unneeded import DEFERRED, INDEXES

_released: set[str] = set()


def install() -> None:
    """Defer the modules of `DEFERRED` that have not been imported yet. May be called again."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        quicker.install()


def waiting() -> list[str]:
    """The deferred modules that were imported and of which nothing was needed yet."""
    return [name for name in DEFERRED if isinstance(sys.modules.get(name), StandIn)]


def real(name: str) -> Any:
    """The module itself. Whatever is deferred in the same package is imported with it, in the order that its author meant."""
    top = next((other for other in DEFERRED if name.startswith(f"{other}.")), name)
    hidden = []
    for inside in [other for other in DEFERRED if f"{other}.".startswith(f"{top}.")]:
        _released.add(inside)
        if isinstance(sys.modules.get(inside), StandIn):
            del sys.modules[inside]
            package, _, last = inside.rpartition(".")
            attributes = vars(sys.modules[package]) if package in sys.modules else {}
            if isinstance(attributes.get(last), StandIn):
                del attributes[last]  # while a module is imported, its package does not know it
            elif last in attributes:
                hidden.append((attributes, last, attributes[last]))  # a function of the same name
    module = importlib.import_module(top)
    for attributes, last, own in hidden:
        attributes[last] = own
    while top == "torch._dynamo" and _marks and not getattr(module.__spec__, "_initializing", False):
        decorator, function = _marks.pop()
        getattr(module, decorator)(function)
    return importlib.import_module(name)


class Lent:
    """A class or function of a module that may not have been imported; `name` may lead through attributes."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        entry = next((entry for entry in DEFERRED[self._module] if _name(entry) == self._name), self._name)
        within = entry.partition("@")[2]
        holder = importlib.import_module(f"{self._module}.{within}") if within else real(self._module)
        return attrgetter(self._name)(holder)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the real one returns."""
        if self._module not in _released and f"{self._name}()" in DEFERRED[self._module]:
            return Made(lambda: self._real()(*args, **kwargs))
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        longer = f"{self._name}.{name}"
        if self._module not in _released and longer in DEFERRED[self._module]:
            return Lent(self._module, longer)
        return getattr(self._real(), name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real(),)

    def __instancecheck__(self, instance: Any) -> bool:
        # Nothing is of a class that nobody has imported; one that was, by another way, bears its name.
        name = self._name.rpartition(".")[2]
        return any(base.__name__ == name for base in instance.__class__.__mro__) and isinstance(instance, self._real())

    def __or__(self, other: Any) -> Any:
        return Made(lambda: self._real() | other)  # as a rule an annotation, which nobody asks


class Made:
    """An object that a lent class has a part in."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = functools.cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._make())

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._make())

    def __eq__(self, other: object) -> bool:
        return bool(self._make() == other)

    def __hash__(self) -> int:
        return hash(self._make())


def _name(entry: str) -> str:
    """The name in an entry of `DEFERRED`."""
    return entry.partition("@")[0].partition("=")[0].removesuffix("()")


class StandIn(ModuleType):
    """Takes the place of a module until something is needed of it, and passes everything on from then."""

    def __getattr__(self, name: str) -> Any:
        own = self.__name__
        if own not in _released:
            if (own, name) in _SUBSTITUTES:
                return _SUBSTITUTES[own, name]
            entry = next((entry for entry in DEFERRED[own] if _name(entry).partition(".")[0] == name), None)
            if entry is not None:
                elsewhere = entry.partition("=")[2]
                return getattr(sys.modules[elsewhere], name) if elsewhere else Lent(own, name)
            if name == "__version__" and "." not in own:
                return importlib.metadata.version(own)
            if name.startswith("__"):
                raise AttributeError(f"module {own!r} has no attribute {name!r}")
            if own in INDEXES and PathFinder.find_spec(f"{own}.{name}", self.__path__) is not None:
                return importlib.import_module(f"{own}.{name}")
        return getattr(real(own), name)


# Decorators of torch's compiler mark functions for it, which matters once it is there: they are remembered until then.
_marks: list[tuple[str, Any]] = []


def _mark(decorator: str, function: Any) -> Any:
    _marks.append((decorator, function))
    return function


def _disable(fn: Any = None, recursive: bool = True, **settings: Any) -> Any:
    """`torch._dynamo.disable`: a plain call as long as there is no compiler, its own way of calling afterwards."""
    if fn is None:
        return lambda function: _disable(function, recursive, **settings)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in _released:
            return fn(*args, **kwargs)
        if not disabled:
            disabled.append(sys.modules["torch._dynamo"].disable(fn, recursive, **settings))
        return disabled[0](*args, **kwargs)

    return call


def _undocumented(obj: Any = None, **_texts: Any) -> Any:
    """`auto_docstring` of transformers, which looks into most of the library for texts: without them."""
    return obj if obj is not None else _undocumented


_SUBSTITUTES: dict[tuple[str, str], Any] = {
    ("torch._dynamo", "allow_in_graph"): functools.partial(_mark, "allow_in_graph"),
    ("torch._dynamo", "assume_constant_result"): functools.partial(_mark, "assume_constant_result"),
    ("torch._dynamo", "disable"): _disable,
    ("transformers.utils.auto_docstring", "auto_docstring"): _undocumented,
}


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a deferred module lies, with a loader that does not run it."""
        parent = name.rpartition(".")[0]
        if name not in DEFERRED and parent not in INDEXES and isinstance(sys.modules.get(parent), StandIn):
            real(parent)
        if name not in DEFERRED or name in _released:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader()
        return spec


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""
