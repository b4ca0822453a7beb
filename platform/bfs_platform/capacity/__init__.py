"""How many samplers a rate of requests takes, and what that costs: a model of the queue, fed by measured or counted seconds.

What a training or a data set takes does not belong here (`train.plan`, `data.plan`). Stands on `train.plan` and `config`.
"""
