"""The shipped recipes, one module per subject. A new module here is found by itself; keep its imports light (no torch).

A recipe is a function that returns a complete specification. What the fields mean does not belong here (the `spec` of each
room), nor do overrides (`config`). Stands on all specifications.
"""
