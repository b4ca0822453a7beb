"""The shipped recipes, one module per subject. A new module here is found by itself; keep its imports light (no torch)."""
