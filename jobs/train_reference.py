#!/usr/bin/env python
"""Train the reference encoder of the tabletop world: pictures of objects become tokens that the backbone reads as text."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_reference", __doc__)
