#!/usr/bin/env python
"""Pretrain the tabletop world's backbone, or with --recipe tabletop_rgb_vae its RGB VAE."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_backbone", __doc__)
