"""The version, alone in a file: what documents and bundles record needs nothing else."""

__version__ = "0.1.0"
