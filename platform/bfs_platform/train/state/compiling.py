"""Blocks of a transformer, compiled: one graph for all blocks of a kind, made in the first step of a run."""

import os
import shutil

from diffusers import FluxTransformer2DModel
from torch import nn

from bfs_model.errors import BadInput


def check(wanted: str) -> None:
    """Raises `BadInput` when blocks are to be compiled and this machine has no compiler: torch writes C++, on GPUs too."""
    compiler = os.environ.get("CXX", "g++")
    if wanted == "blocks" and shutil.which(compiler) is None:
        rule = f"needs a C++ compiler, and there is no {compiler}"
        raise BadInput("compile", wanted, rule, "install g++ or set CXX, or use compile=none")


def compile_blocks(module: nn.Module) -> None:
    """Compile the blocks of every transformer inside `module`, whatever attends in them. Parameters keep their names."""
    for part in module.modules():
        if isinstance(part, FluxTransformer2DModel):
            part.compile_repeated_blocks(fullgraph=True)
