"""A unit on its way through the stages: its pictures, then its table."""

from dataclasses import dataclass, field

import pyarrow as pa

from bfs_platform.data.plan.unit import Receipt
from bfs_platform.data.record import Record


@dataclass(frozen=True, slots=True)
class Draft:
    """A unit on its way: its table so far, and the receipt that will be written when the table is."""

    table: pa.Table
    receipt: Receipt = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A unit whose pictures are read and fitted: what models look at. `order` are the ids of all its rows as listed."""

    records: tuple[Record, ...]
    receipt: Receipt
    order: tuple[str, ...]
