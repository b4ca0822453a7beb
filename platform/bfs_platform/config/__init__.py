"""Recipes: a run is a function that returns a complete, typed, frozen specification.

`resolve("tabletop_stage1", ["optimizer.lr=1e-4"], TrainSpec)` is what a job calls. The resolved specification is written
beside each result (`dump`) and is itself a valid input (`load`).
"""

from bfs_platform.config.files import dump, load, resolve
from bfs_platform.config.overrides import apply
from bfs_platform.config.registry import get, names, recipe
from bfs_platform.config.spec import Spec

__all__ = ["Spec", "apply", "dump", "get", "load", "names", "recipe", "resolve"]
