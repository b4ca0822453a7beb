"""BFS in PyTorch: the paper's model, its pipeline and its layered documents. Knows no Ray, no MLflow, no HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bfs_model.version import __version__ as __version__

if TYPE_CHECKING:
    from bfs_model.document.layers import LayerStack as LayerStack
    from bfs_model.document.scene import Scene as Scene
    from bfs_model.picture.boxes import Box as Box
    from bfs_model.sampling.pipeline import BFSPipeline as BFSPipeline

_EXPORTS = {
    "BFSPipeline": "bfs_model.sampling.pipeline",
    "LayerStack": "bfs_model.document.layers",
    "Box": "bfs_model.picture.boxes",
    "Scene": "bfs_model.document.scene",
}
__all__ = ["BFSPipeline", "Box", "LayerStack", "Scene", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `import bfs_model` costs nothing."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'bfs_model' has no attribute {name!r}")
