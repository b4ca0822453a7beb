"""The state of a run: DeepSpeed around a module, checkpoints that are whole or do not count.

What is computed in a step does not belong here (`network`). Stands on the specification.
"""
