#!/usr/bin/env python
"""Stage 2 of the paper: Eq. 9 and 10, 80 to 20, on both sets."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_stage2", __doc__)
