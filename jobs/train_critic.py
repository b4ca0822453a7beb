#!/usr/bin/env python
"""How well critics tell composites from true renderings: train_critic.py --train EVALUATION --held-out EVALUATION --output DIR."""

from bfs_platform.entry.critic import main
from bfs_platform.jobs import run_job

if __name__ == "__main__":
    run_job(main)
