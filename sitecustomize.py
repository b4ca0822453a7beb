"""Python imports this by itself when the repository's root is on PYTHONPATH, as it is in a Ray job with `--working-dir .`.

Ray puts only the root of its snapshot on the path. Without this file, driver and workers of such a job would take bfs_model
from the snapshot and bfs_platform from wherever it is installed: two versions in one process. With it, the snapshot wins
for all packages, in every process of the job. Nothing else is done here.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(_ROOT / folder) for folder in ("platform", "serve") if (_ROOT / folder).is_dir()]
