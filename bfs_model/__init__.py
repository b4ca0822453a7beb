"""BFS in PyTorch: the paper's model, its pipeline and its layered documents. Knows no Ray, no MLflow, no HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfs_model.boxes import Box as Box
    from bfs_model.layers import LayerStack as LayerStack
    from bfs_model.pipeline import BFSPipeline as BFSPipeline
    from bfs_model.scene import Scene as Scene

__version__ = "0.1.0"

_EXPORTS = {
    "BFSPipeline": "bfs_model.pipeline",
    "LayerStack": "bfs_model.layers",
    "Box": "bfs_model.boxes",
    "Scene": "bfs_model.scene",
}
__all__ = ["BFSPipeline", "Box", "LayerStack", "Scene", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `import bfs_model` costs nothing."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'bfs_model' has no attribute {name!r}")
