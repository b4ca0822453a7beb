"""Settings of each network, told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from bfs_platform.config import Spec

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
NoiseLevels = Literal["uniform", "logit_normal", "mixed"]  # `bfs_model.objectives.Draw.for_batch`


class SharingSpec(Spec):
    """Stage 1 and stage 2 of the paper: the information-sharing weights of the dual branch.

    `init`: `fresh` weights, or those that the `base` (bundle or model) brings. `comp_weight`, `real_probability`: Eq. 8 and §4.2.
    `rank`, `alpha`, `mixer`, `mixer_hidden` (of the MLP; 0 is a quarter of the backbone's width) and `detach_inputs` shape fresh
    weights. `guidance` is embedded when the backbone is distilled. `prompt_dropout`: how often a sample has no prompt, so that
    sampling can be guided by the difference that it makes (`true_cfg_scale`); the paper has none. `noise_levels`: how σ is drawn;
    the paper's are uniform.
    """

    kind: Literal["sharing"] = "sharing"
    stage: Literal[1, 2]
    init: Literal["fresh", "base"] = "fresh"
    comp_weight: Weight
    real_probability: Share = 0.8
    shared_noise: bool = True
    guidance: float = 1.0
    prompt_dropout: Share = 0.0
    noise_levels: NoiseLevels = "uniform"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: float = 16.0
    mixer: Literal["mlp", "shared"] = "mlp"
    mixer_hidden: Annotated[int, Field(ge=0)] = 0
    detach_inputs: bool = False


class RgbVaeSpec(Spec):
    """The RGB VAE of the tabletop world: the stand-in for Flux's. `crop`: side of random crops, 0 for whole images.

    `grown_from`: a bundle whose VAE has fewer levels. A `fresh` base begins with what fits of it (`bfs_model.tiny.growth`), which
    then need not be learned again. `decoder_only` leaves the encoder and the scale of the latents as they are. `noise` is the
    largest noise put on the latents, in units of their spread, before they are decoded: see `RgbaVaeSpec`. `init`: a `fresh`
    spread of the posterior, or that of the base. `balanced`: at the end the channels of the latents are scaled to posteriors of
    one width (`autoencoders.balance`).
    """

    kind: Literal["rgb_vae"] = "rgb_vae"
    init: Literal["fresh", "base"] = "fresh"
    kl_weight: Weight = 1e-6
    balanced: bool = False
    object_weight: Weight = 1.0
    edge_weight: Weight = 0.5
    colour_weight: Weight = 1.0
    grown_from: str = ""
    decoder_only: bool = False
    noise: Weight = 0.0
    crop: Annotated[int, Field(ge=0, multiple_of=8)] = 0


class BackboneSpec(Spec):
    """The inpainting backbone of the tabletop world: the stand-in for Flux-Fill.

    `masked_probability`: how often the condition is the composite with the box cut out (inpainting, as Flux-Fill was
    trained); otherwise it is the whole background. `prompt_dropout`: how often there is no prompt. `noise_levels`: how σ is drawn.
    `box_weight`: how much more tokens in the box count: around it the condition shows what is to be drawn, and there is most of a picture.
    """

    kind: Literal["backbone"] = "backbone"
    masked_probability: Share = 0.5
    prompt_dropout: Share = 0.0
    noise_levels: NoiseLevels = "uniform"
    box_weight: Weight = 0.0


class RgbaVaeSpec(Spec):
    """The RGBA VAE. `init`: `fresh`ly grown from the RGB VAE of the base, or the one that the base brings.

    `decoder_only` leaves the encoder as it is, so that whatever was trained on its latents keeps its worth.
    Loss: `kl_weight` and `reference_weight` of the KL to N(0, I) and to the RGB VAE on opaque images; `empty_weight` and
    `alpha_margin` of `bfs_model.network.rgba_vae.alpha_loss`; `perceptual` distance over black and white, its LPIPS weights in
    `perceptual_folder`. `opaque_probability`: how often a whole picture takes the place of a layer. `crop`: side of random
    crops around what a layer shows, 0 for whole layers, which are mostly empty. `noise` is the largest noise put on the latents
    before they are decoded: latents that are drawn are never quite right, and a decoder that knows only true ones makes blotches
    of what is wrong (noise-augmented decoding: Zheng et al., Diffusion Transformers with Representation Autoencoders, 2025).
    `held_out`: records to measure on, and what they must show for the gates to pass (`measures.rgba_figures`).
    """

    kind: Literal["rgba_vae"] = "rgba_vae"
    init: Literal["fresh", "base"] = "fresh"
    decoder_only: bool = False
    kl_weight: Weight = 1e-6
    reference_weight: Weight = 1e-2
    alpha_weight: Weight = 1.0
    empty_weight: Weight = 2.0
    alpha_margin: Weight = 0.05
    edge_weight: Weight = 0.5
    perceptual: Literal["none", "gradients", "lpips"] = "none"
    perceptual_weight: Weight = 0.5
    perceptual_folder: str = ""
    opaque_probability: Share = 0.3
    crop: Annotated[int, Field(ge=0, multiple_of=8)] = 0
    noise: Weight = 0.0
    held_out: Annotated[int, Field(ge=1)] = 64
    min_psnr_db: Weight = 32.0
    max_alpha_mae_low: Weight = 0.05
    max_alpha_mae_high: Weight = 0.03
    max_empty_alpha: Weight = 0.001
    max_drift: Weight = 0.05


class CompositorSpec(Spec):
    """Φ of Eq. 7. `init`: `fresh` of `width` and `num_blocks`, or the one that the base brings.

    `noise` is the largest noise put on z_F: during training of BFS, Φ sees one-step estimates. `empty_probability` and
    `pair_probability`: how often the layer is empty, or stands over the background of another record. `decoded_weight` of the
    error of the decoded picture, of crops of `crop`×`crop` latents, in a share of the samples.
    `held_out`: records to measure on, and what they must show for the gates to pass (`measures.compositor_figures`).
    """

    kind: Literal["compositor"] = "compositor"
    init: Literal["fresh", "base"] = "fresh"
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 192
    num_blocks: Annotated[int, Field(ge=1)] = 10
    noise: Weight = 0.2
    empty_probability: Share = 0.1
    pair_probability: Share = 0.3
    decoded_weight: Weight = 0.1
    decoded_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    crop: Annotated[int, Field(ge=6)] = 16
    held_out: Annotated[int, Field(ge=1)] = 64
    max_gap_db: Weight = 1.5
    min_identity_db: Weight = 45.0


class RecogniserSpec(Spec):
    """The classifier of shapes and colours for evaluation. `side` of the crops that it sees, in pixels.

    `jitter`: how far crops are moved and scaled, as a share of the box.
    """

    kind: Literal["recogniser"] = "recogniser"
    side: Annotated[int, Field(ge=16, multiple_of=8)] = 32
    jitter: Share = 0.16
    label_smoothing: Share = 0.05


class ReferenceSpec(Spec):
    """The reference encoder of the tabletop world: the stand-in for Flux-Redux.

    `patch_size`, `hidden_size`, `num_layers` of its SigLIP tower, which makes as many tokens as the text has.
    `whole_probability`: how often an object is shown with what stands around it. `jitter`: how far it is off the middle.
    """

    kind: Literal["reference"] = "reference"
    patch_size: Annotated[int, Field(ge=4)] = 16
    hidden_size: Annotated[int, Field(ge=16, multiple_of=16)] = 128
    num_layers: Annotated[int, Field(ge=1)] = 4
    whole_probability: Share = 0.3
    jitter: Share = 0.06


class ShadowNetworkSpec(Spec):
    """The shadow generation network of `bfs_model.sampling.shadow_network`. `num_steps`: how many it draws in afterwards.

    `white_probability`: how often the object stands over white instead of in its scene.
    """

    kind: Literal["shadow"] = "shadow"
    rank: Annotated[int, Field(ge=1)] = 256
    guidance: float = 3.5
    num_steps: Annotated[int, Field(ge=1)] = 28
    white_probability: Share = 0.5


Network = Annotated[
    SharingSpec | RgbVaeSpec | BackboneSpec | RgbaVaeSpec | CompositorSpec | RecogniserSpec | ReferenceSpec | ShadowNetworkSpec,
    Field(discriminator="kind"),
]
