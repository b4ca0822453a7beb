"""What a training run will need: memory, seconds, days and money, from the geometry of the model.

Nothing is measured or started here. Stands on the specification and on the order of `sample`.
"""
