"""Which records a step sees, in which order, as tensors, one batch ahead.

Networks do not belong here (`network`). Stands on training sets (`data.shard`).
"""
