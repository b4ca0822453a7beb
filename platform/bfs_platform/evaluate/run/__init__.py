"""An evaluation at work: one actor, many records, a Ray cluster; and whole trainings compared.

What a figure means does not belong here (`metric`, `learned`). Stands on every other room of `evaluate`.
"""
