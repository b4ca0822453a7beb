"""Promotes models one after the other, as a machine of its own: each move waits, its gates passed, until it is told to go on.

python tests/support/promoter.py < VERSIONS, each on a line that is followed by one for "go"; prints "ready", then what became of it.
"""

import json
import sys
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.registry.promote import promote
from bfs_platform.registry.spec import SmokeSpec


def _smoke(folder: Path, spec: SmokeSpec) -> str:
    print("ready", flush=True)
    sys.stdin.readline()
    return "fake: nothing was drawn"


if __name__ == "__main__":
    for version in iter(sys.stdin.readline, ""):
        try:
            record = promote(f"models:/bfs/{version.strip()}", smoke=_smoke)
            print(json.dumps({"won": record["version"] if record["promoted"] and record["changed"] else None}), flush=True)
        except BadInput as error:
            print(json.dumps({"lost": str(error)}), flush=True)
