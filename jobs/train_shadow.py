#!/usr/bin/env python
"""Train the shadow generation network on a stage-2 set: tabletop scenes, or DESOBAv2 built with --recipe desobav2_data."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_shadow", __doc__)
