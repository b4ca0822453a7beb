"""Settings of each network, told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from bfs_platform.config import Spec

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class SharingSpec(Spec):
    """Stage 1 and stage 2 of the paper: the information-sharing weights of the dual branch.

    `init`: `fresh` weights, or those that the `base` (bundle or model) brings. `comp_weight`, `real_probability`: Eq. 8 and §4.2.
    `rank`, `alpha`, `mixer`, `detach_inputs` shape fresh weights. `guidance` is embedded when the backbone is distilled.
    """

    kind: Literal["sharing"] = "sharing"
    stage: Literal[1, 2]
    init: Literal["fresh", "base"] = "fresh"
    comp_weight: Weight
    real_probability: Share = 0.8
    shared_noise: bool = True
    guidance: float = 1.0
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: float = 16.0
    mixer: Literal["mlp", "shared"] = "mlp"
    detach_inputs: bool = False


class RgbVaeSpec(Spec):
    """The RGB VAE of the tabletop world: the stand-in for Flux's. `crop`: side of random crops, 0 for whole images."""

    kind: Literal["rgb_vae"] = "rgb_vae"
    kl_weight: Weight = 1e-6
    object_weight: Weight = 1.0
    edge_weight: Weight = 0.5
    colour_weight: Weight = 1.0
    crop: Annotated[int, Field(ge=0, multiple_of=8)] = 0


class BackboneSpec(Spec):
    """The inpainting backbone of the tabletop world: the stand-in for Flux-Fill.

    `masked_probability`: how often the condition is the composite with the box cut out (inpainting, as Flux-Fill was
    trained); otherwise it is the whole background.
    """

    kind: Literal["backbone"] = "backbone"
    masked_probability: Share = 0.5


class RgbaVaeSpec(Spec):
    """The RGBA VAE, grown from the RGB VAE of the base."""

    kind: Literal["rgba_vae"] = "rgba_vae"
    kl_weight: Weight = 1e-6
    reference_weight: Weight = 1e-2
    alpha_weight: Weight = 1.0
    opaque_probability: Share = 0.3


class CompositorSpec(Spec):
    """Φ of Eq. 7. `noise` is the largest noise put on z_F: during training of BFS, Φ sees one-step estimates."""

    kind: Literal["compositor"] = "compositor"
    noise: Weight = 0.2
    empty_probability: Share = 0.1


Network = Annotated[SharingSpec | RgbVaeSpec | BackboneSpec | RgbaVaeSpec | CompositorSpec, Field(discriminator="kind")]
