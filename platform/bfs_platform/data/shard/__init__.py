"""Training sets on disk and on object stores: the layout of a shard, writing, committing, reading, fetching.

How a sample is made does not belong here (`stage`, `execute`). Stands on `plan` and on the samples of `stage`.
"""
