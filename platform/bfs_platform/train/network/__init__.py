"""The networks that are trained: each says what is trainable, what one batch is, and what is written at the end.

One module per network. The loop around them does not belong here, nor do their layers (`bfs_model.network`). Stands on
`sample`, `report` and `plan`.
"""
