#!/usr/bin/env python
"""Stage 1 of the paper: Eq. 8 on the synthetic set."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_stage1", __doc__)
