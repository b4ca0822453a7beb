#!/usr/bin/env python
"""Train the classifier of shapes and colours that evaluation on the tabletop world uses."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_recogniser", __doc__)
