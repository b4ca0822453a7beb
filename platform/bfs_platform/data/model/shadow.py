"""The learned shadow network as a model of a build: the object is cut out, and its layer comes back with a shadow."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.sampling.shadow_network import LearnedShadow, located
from bfs_model.weight.memory import MEMORY_VARIABLE, ROUNDED, checked_mode, quantise
from bfs_platform.data.model.base import Answer, device_of
from bfs_platform.data.record import Record, Reject, seed_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.compose import quantised
from bfs_platform.data.stage.matting import matting


class LearnedShadows:
    """Works last, on layers as the recipe's matting gives them. The same record gets the same shadow wherever it is built."""

    name = "flux_shadow"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        self.spec, self.matting = spec, matting(spec.matting)
        # Rounded in host memory, where there is room for it whole, and then moved.
        self.network = LearnedShadow.load(folder, spec.models.flux_shadow_steps)
        transformer, device = self.network.transformer, device_of()
        if spec.memory != "none":
            quantise([*transformer.transformer_blocks, *transformer.single_transformer_blocks], spec.memory)
        for part in (transformer, self.network.vae):
            part.to(device)

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """Records with their shadow; those of stage 2, and layers that come whole, show their own and stay as they are."""
        return [self._shadowed(record) if self.spec.stage == 1 and not record.whole_layer else record for record in records]

    def _shadowed(self, record: Record) -> Answer:
        try:
            given = record.foreground
            layer = self.matting.cut_out(record.composite, record.object_mask) if given is None else given.astype(np.float32) / 255
        except Reject as reject:
            return reject
        layer = self.network.add_shadow(layer, seed_of(self.spec.seed, "shadow", record.id))
        return replace(record, foreground=quantised(layer))


def check(folder: Path, spec: DataSpec) -> None:
    """Raise `BadInput` unless the network and the base that it points to are whole, and can be held as the recipe says."""
    located(folder)
    checked_mode(spec.memory)
    asked = os.environ.get(MEMORY_VARIABLE)
    if asked in ROUNDED:
        rule = "would round the base before the shadow network's own weights are laid beside it"
        raise BadInput(MEMORY_VARIABLE, asked, rule, "unset it for builds, and set memory=nf4 in their recipe")
