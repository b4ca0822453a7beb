"""Units where the workers find them: one file in the workspace, of which the stream carries places instead of rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bfs_platform.data.plan.unit import Unit
from bfs_platform.data.record import ListDigest
from bfs_platform.storage.path import Location


def write_units(units: Sequence[Unit], folder: Location) -> tuple[Location, pa.Table]:
    """Write `units` to a file in `folder`; returns it, and the offset and length of each unit in it.

    The file is named by what it holds: runs that overlap on an object store do not overwrite each other's.
    """
    keys = ListDigest()
    keys.add(unit.key for unit in units)
    path = folder / f"units-{keys.hexdigest()[:16]}.bin"
    lengths = np.zeros(len(units), np.int64)
    file: Any
    with path.open("wb") as file:
        for number, unit in enumerate(units):
            packed = unit.to_bytes()
            file.write(packed)
            lengths[number] = len(packed)
    return path, pa.table({"offset": np.cumsum(lengths) - lengths, "length": lengths})


def read_unit(path: Location, offset: int, length: int) -> Unit:
    """The unit at a place of such a file."""
    file: Any
    with path.open("rb") as file:
        file.seek(offset)
        return Unit.from_bytes(file.read(length))
