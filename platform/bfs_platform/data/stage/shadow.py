"""The shadow provider that a recipe names."""

import numpy as np

from bfs_model.network.shadow import ProceduralShadow, ShadowProvider
from bfs_platform.data.spec import ShadowSpec


class NoShadow:
    """Layers as they come: of objects alone (the ablation), or with the shadow that a model of the build has drawn already."""

    def add_shadow(self, layer: np.ndarray, seed: int) -> np.ndarray:
        return layer


def shadow(spec: ShadowSpec) -> ShadowProvider:
    """The provider that a recipe names."""
    if spec.kind != "procedural":
        return NoShadow()
    return ProceduralShadow(reflection_chance=spec.reflection_chance)
