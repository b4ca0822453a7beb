"""FLOP and bytes of a training step: of the dual branch from its geometry, of other networks as they were counted (`count`).

A multiplication and an addition are two FLOP. The backward pass of frozen weights computes gradients of activations only,
as many FLOP as the forward pass; attention costs twice its forward there, trainable weights twice theirs.
"""

from dataclasses import dataclass

from bfs_platform.train.plan.count import Counted
from bfs_platform.train.plan.geometry import Geometry
from bfs_platform.train.spec import TrainSpec

# Activations that autograd keeps, in values per token and block and unit of width: measured with saved_tensors_hooks on the
# tiny model (tests/bfs_platform/train/plan/test_plan.py holds them to 15 %). `SHARING` counts image tokens of both branches.
SAVED_BASE, SAVED_SHARING = 15.0, 13.0
# Four bits, and a float32 scale for every 64 weights, itself in eight bits with a scale for every 256 of them.
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
# What an optimizer keeps of a weight: two float32 moments; two of eight bits, with a float32 scale for every 256; four.
STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2 * (1 + 4 / 256), "prodigy": 16.0, "muon": 8.0}


@dataclass(frozen=True)
class Flops:
    """FLOP of one sample (both branches) in the forward and in the backward pass."""

    forward: float
    backward: float

    def step(self, recompute: bool) -> float:
        """Of a training step; gradient checkpointing repeats the forward pass."""
        return self.forward * (2 if recompute else 1) + self.backward


def flops_per_sample(g: Geometry) -> Flops:
    """FLOP of one training pair: both branches, sharing, forward and backward. Φ and embeddings of time are left out (< 1 %)."""
    d, tokens = g.dim, g.image_tokens + g.text_tokens
    linear = 2 * g.num_blocks * tokens * 24 * d * d
    ends = 2 * 2 * (g.image_tokens * d * (g.in_channels + g.out_channels) + g.text_tokens * d * g.text_dim)
    modulation = (g.num_double * 24 + g.num_single * 6) * d * d  # once for both branches, and without a gradient
    attention = 2 * g.num_blocks * 4 * tokens * tokens * d
    cross = 2 * g.num_blocks * 4 * g.image_tokens**2 * d
    low_rank = g.num_blocks * 2 * g.image_tokens * 12 * g.rank * d
    mixer = g.num_blocks * g.image_tokens * (8 * d * g.sharing_hidden if g.mixer == "mlp" else 4 * d * d)
    trained = low_rank + mixer
    # The input of the first block needs no gradient: its projections (6 of 24 d², of image and text) have no backward pass.
    first = 2 * tokens * 6 * d * d
    backward = linear - first + 2 * (attention + cross) + 2 * trained + ends / 2 * g.out_channels / (g.in_channels + g.out_channels)
    return Flops(float(linear + ends + modulation + attention + cross + trained), float(backward))


def step_flops(of: Geometry | Counted, spec: TrainSpec) -> float:
    """FLOP of a sample in a training step."""
    return of.flops if isinstance(of, Counted) else flops_per_sample(of).step(spec.gradient_checkpointing)


@dataclass(frozen=True)
class Memory:
    """Bytes on one worker, by what they hold."""

    base: float
    trainable: float
    gradients: float
    optimizer: float
    average: float
    activations: float
    buffers: float

    @property
    def total(self) -> float:
        return self.base + self.trainable + self.gradients + self.optimizer + self.average + self.activations + self.buffers


def memory_per_worker(of: Geometry | Counted, spec: TrainSpec, world_size: int, micro_batch_size: int) -> Memory:
    """Bytes that a worker holds at the peak of a step."""
    size = 2 if spec.zero.bf16 else 4
    stage = spec.zero.stage
    base = of.base_params * size / (world_size if stage == 3 else 1)
    if spec.memory == "nf4":
        base = (of.base_params - of.block_weights) * size + of.block_weights * NF4_BYTES
    kept = of.kept_bytes * micro_batch_size if isinstance(of, Counted) else activation_bytes(of, spec, micro_batch_size)
    block = 0 if isinstance(of, Counted) or stage < 3 else 2 * 12 * of.dim**2 * 2 * size  # the one in use and the next one, whole
    masters = 4 if stage or spec.zero.bf16 else 0
    optimizer = 0.0 if spec.zero.offload_optimizer else of.trainable_params * (STATE_BYTES[spec.optimizer.kind] + masters)
    return Memory(
        base=base + of.whole_params * 4,
        trainable=of.trainable_params * size / (world_size if stage == 3 else 1),
        gradients=of.trainable_params * 4 / (world_size if stage >= 2 else 1),
        optimizer=optimizer / (world_size if stage else 1),
        average=_average_bytes(of, spec, world_size),
        activations=kept,
        buffers=block + 3 * 10**7 * 4,
    )


def checkpoint_bytes(of: Geometry | Counted, spec: TrainSpec) -> float:
    """Of a checkpoint: float32 weights, what the optimizer keeps, and the average."""
    average = 4 if spec.ema.half_life_samples else 0
    return of.trainable_params * (4 + STATE_BYTES[spec.optimizer.kind] + average)


def _average_bytes(of: Geometry | Counted, spec: TrainSpec, world_size: int) -> float:
    """Of the average of the weights, which lies beside the moments, and with them in host memory where they are."""
    if not spec.ema.half_life_samples or spec.zero.offload_optimizer:
        return 0.0
    return 4 * of.trainable_params / (world_size if spec.zero.stage else 1)


def activation_bytes(g: Geometry, spec: TrainSpec, micro_batch_size: int) -> float:
    """Bytes that autograd keeps between forward and backward; with checkpointing each block's input, and one block whole.

    Of that block the gradients are there as well, by then the largest part (`test_plan_bench.py` holds the sum to 15 %).
    Without checkpointing they take the place of activations that are no longer needed.
    """
    size = 2 if spec.zero.bf16 else 4
    tokens = 2 * micro_batch_size * (g.image_tokens + g.text_tokens)
    block = g.dim * size * (SAVED_BASE * tokens + SAVED_SHARING * 2 * micro_batch_size * g.image_tokens)
    if spec.gradient_checkpointing:
        return g.num_blocks * g.dim * size * tokens + 2 * block
    return g.num_blocks * block
