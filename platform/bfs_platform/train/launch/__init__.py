"""Starting a run: inputs checked, Ray Train around it, one worker per rank, errors in one line; packing the result.

Stands on every other room of `train`.
"""
