"""A build at work: units through stages, models and encoders to shards, as plain functions and as a Ray Data stream.

What one stage does to a record does not belong here (`stage`, `model`). Stands on every other room of `data`.
"""
