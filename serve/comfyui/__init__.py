"""BFS in ComfyUI: nodes that ask a BFS service to draw layers, take them out of pictures, and write layered files.

Runs in ComfyUI's Python with what ComfyUI itself needs (torch, numpy, Pillow), and nothing else of BFS.
"""

from .nodes import BFSDocument, BFSExtract, BFSGenerate, BFSLayer

NODE_CLASS_MAPPINGS = {"BFSGenerate": BFSGenerate, "BFSExtract": BFSExtract, "BFSLayer": BFSLayer, "BFSDocument": BFSDocument}
NODE_DISPLAY_NAME_MAPPINGS = {
    "BFSGenerate": "BFS: draw a layer",
    "BFSExtract": "BFS: take a layer out",
    "BFSLayer": "BFS: layer of a document",
    "BFSDocument": "BFS: draw a document",
}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
