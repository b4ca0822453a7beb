"""The small geometry: pipelines and FLUX.1-Fill folders of random weights, for tests and for training from nothing.

Everything that is only for the tabletop world's sizes. Stands on `sampling` and `weight`.
"""
