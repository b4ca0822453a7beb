#!/usr/bin/env python
"""Promote a model version through its gates: python jobs/promote.py --candidate models:/bfs/7."""

from bfs_platform.entry.promote import main
from bfs_platform.jobs import run_job

if __name__ == "__main__":
    run_job(main)
