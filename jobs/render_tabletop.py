#!/usr/bin/env python
"""Render scenes of the tabletop world: render_tabletop.py --scenes 200 --seed 7 --output DIR [--split train]."""

from bfs_platform.entry.render import main
from bfs_platform.jobs import run_job

if __name__ == "__main__":
    run_job(main)
