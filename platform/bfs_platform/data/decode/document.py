"""Photoshop documents of unknown origin, read where they may be read: in the child process of `isolated.IsolatedReader`."""

from bfs_model.document import file as documents


def as_archive(source: bytes, *, key: str, max_pixels: int) -> bytes:
    """A document that BFS wrote, in any of its forms, as a .zip. Raises `BadInput` for others."""
    return documents.encode(documents.decode(source, shown=f"<{len(source)} bytes>", max_pixels=max_pixels), ".zip")
