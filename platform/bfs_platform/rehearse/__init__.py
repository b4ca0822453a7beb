"""The road from a folder of FLUX.1-Fill to a served model: which commands it takes, and the whole of it run small.

What the steps do does not belong here: they are the jobs, as a user starts them. Stands on recipes by name, and on plans.
"""
