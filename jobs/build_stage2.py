#!/usr/bin/env python
"""Build the stage-2 training set: python jobs/build_stage2.py --source rorem --input DIR --output DIR."""

from bfs_platform.entry.build import main
from bfs_platform.jobs import run_job

if __name__ == "__main__":
    run_job(lambda: main(stage=2))
