#!/usr/bin/env python
"""Evaluate a model against the truth: python jobs/evaluate.py --model tiny --input DIR --output DIR."""

from bfs_platform.entry.evaluate import main
from bfs_platform.jobs import run_job

if __name__ == "__main__":
    run_job(main)
