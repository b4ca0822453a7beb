"""How the embedded model is trained: its data, its networks, and both stages. Every run averages its weights and can be made longer.

Sizes are for one core that multiplies in bfloat16: 60 samples a second of the backbone, half as many of the stages.
"""

from bfs_platform.config import recipe
from bfs_platform.data.spec import CropsSpec, DataSpec, EncodeSpec, MattingSpec, ShadowSpec
from bfs_platform.train.network_spec import (
    BackboneSpec,
    CompositorSpec,
    Network,
    RecogniserSpec,
    ReferenceSpec,
    RgbaVaeSpec,
    RgbVaeSpec,
    SharingSpec,
)
from bfs_platform.train.spec import CheckpointSpec, EmaSpec, OptimizerSpec, TrainSpec, ZeroSpec

PICTURES = ((128, 128),)


@recipe
def crisp_pixels() -> DataSpec:
    """Pictures of both stages without latents, for the RGB VAE, the recogniser and the reference encoder."""
    return DataSpec(stage=2, buckets=PICTURES, encode=EncodeSpec(enabled=False))


@recipe
def crisp_data_stage1() -> DataSpec:
    """Stage-1 set with rendered effects, each scene also as its mirror image."""
    return DataSpec(stage=1, buckets=PICTURES, shadow=ShadowSpec(kind="dataset"), mirror=True)


@recipe
def crisp_data_stage2() -> DataSpec:
    """Stage-2 set, each scene also as its mirror image."""
    return DataSpec(stage=2, buckets=PICTURES, mirror=True)


@recipe
def crisp_data_backbone() -> DataSpec:
    """What the backbone learns from: each scene and its mirror image, both also from closer by. Their layers are not learned from."""
    crops = CropsSpec(count=2, smallest=0.8)
    return DataSpec(stage=2, buckets=PICTURES, mirror=True, crops=crops, matting=MattingSpec(kind="mask"))


@recipe
def crisp_rgb_vae() -> TrainSpec:
    """The RGB VAE on crops. A fresh base begins with what fits of the embedded bundle.

    Latents that say little more than must be said are easier to draw, and their decoder makes less of errors (infra/crisp/README.md).
    """
    network = RgbVaeSpec(crop=64, object_weight=3.0, edge_weight=1.0, colour_weight=2.0, kl_weight=1e-4, balanced=True, grown_from="tiny")
    return _run(network, num_steps=6000, batch_size=12, lr=1e-3, betas=(0.9, 0.99), half_life=6000)


@recipe
def crisp_rgba_vae() -> TrainSpec:
    """The RGBA VAE, grown from the RGB VAE, on crops around what a layer shows."""
    network = RgbaVaeSpec(crop=64, opaque_probability=0.15, reference_weight=0.002, perceptual="gradients")
    return _run(network, num_steps=4000, batch_size=12, lr=4e-4, betas=(0.5, 0.9), half_life=6000)


@recipe
def crisp_rgba_decoder() -> TrainSpec:
    """The decoder of the RGBA VAE alone, on latents that are off as drawn ones are: else it makes blotches of what is wrong."""
    network = RgbaVaeSpec(
        init="base",
        decoder_only=True,
        crop=64,
        opaque_probability=0.15,
        noise=0.4,
        alpha_weight=2.5,
        perceptual="gradients",
        min_psnr_db=30.0,
    )
    return _run(network, num_steps=1600, batch_size=12, lr=3e-4, half_life=1500, betas=(0.5, 0.9), bfloat16=True)


@recipe
def crisp_compositor() -> TrainSpec:
    """Φ."""
    network = CompositorSpec(width=96, num_blocks=4, crop=10, decoded_share=0.5, decoded_weight=0.6)
    return _run(network, num_steps=4000, batch_size=16, lr=1e-3, half_life=8000)


@recipe
def crisp_backbone() -> TrainSpec:
    """The backbone on one and a half million samples: the whole background as the condition, as both stages use it."""
    network = BackboneSpec(masked_probability=0.0, prompt_dropout=0.1, noise_levels="mixed")
    spec = _run(network, num_steps=24000, batch_size=64, lr=8e-4, betas=(0.9, 0.99), half_life=60000, bfloat16=True)
    # Held-out loss after 150 steps: 0.2357, of AdamW 0.2397, for a fifth more time (infra/crisp/README.md).
    return spec.model_copy(update={"optimizer": spec.optimizer.model_copy(update={"kind": "muon"}), "zero": ZeroSpec(stage=0)})


@recipe
def crisp_stage1() -> TrainSpec:
    """Stage 1 (Eq. 8) on four hundred thousand samples, from the sharing weights that the base has grown from."""
    network = SharingSpec(
        stage=1, comp_weight=0.1, init="base", prompt_dropout=0.1, noise_levels="mixed", rank=64, alpha=64.0, mixer_hidden=512
    )
    return _run(network, num_steps=12500, batch_size=32, lr=8e-4, betas=(0.9, 0.99), half_life=30000, bfloat16=True)


@recipe
def crisp_stage2() -> TrainSpec:
    """Stage 2 (80 % Eq. 9, 20 % Eq. 10), starting from the stage-1 model given as --base."""
    network = SharingSpec(stage=2, comp_weight=0.5, init="base", prompt_dropout=0.1, rank=64, alpha=64.0, mixer_hidden=512)
    return _run(network, num_steps=400, batch_size=32, lr=2e-4, half_life=3000, bfloat16=True)


@recipe
def crisp_reference() -> TrainSpec:
    """The reference encoder, distilled from the text encoder."""
    return _run(ReferenceSpec(), num_steps=3000, batch_size=64, lr=1e-3, half_life=10000)


@recipe
def crisp_recogniser() -> TrainSpec:
    """The classifier of shapes and colours that evaluation uses."""
    return _run(RecogniserSpec(side=48), num_steps=2500, batch_size=64, lr=1e-3, half_life=10000)


def _run(
    network: Network,
    num_steps: int,
    batch_size: int,
    lr: float,
    half_life: int,
    betas: tuple[float, float] = (0.9, 0.999),
    bfloat16: bool = False,
) -> TrainSpec:
    """One process; the rate rises, stays, and falls over the last third."""
    return TrainSpec(
        network=network,
        num_steps=num_steps,
        batch_size=batch_size,
        micro_batch_size=batch_size,
        num_workers=0,
        threads_per_worker=2,
        autocast=bfloat16,
        attention="math" if bfloat16 else "auto",
        validate_every_steps=1000,
        optimizer=OptimizerSpec(lr=lr, betas=betas, warmup_steps=min(200, num_steps // 20), schedule="linear"),
        ema=EmaSpec(half_life_samples=half_life),
        zero=ZeroSpec(stage=1),
        checkpoint=CheckpointSpec(every_steps=250),
    )
