#!/usr/bin/env python
"""Train the latent compositor of Eq. 7."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_compositor", __doc__)
