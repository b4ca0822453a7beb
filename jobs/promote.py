#!/usr/bin/env python
"""Promote a model version through its gates: python jobs/promote.py --candidate models:/bfs/7."""

from bfs_platform.jobs import run_job
from bfs_platform.registry.job import main

if __name__ == "__main__":
    run_job(main)
