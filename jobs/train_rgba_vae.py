#!/usr/bin/env python
"""Fine-tune the RGBA VAE, grown from the RGB VAE of the base."""

from bfs_platform.entry.train import training_job

if __name__ == "__main__":
    training_job("tabletop_rgba_vae", __doc__)
