"""Floating point operations of a step, term by term, as one would count them on paper. A product of n×k and k×m counts 2nkm."""

from geometry import Geometry


def branch(g: Geometry) -> float:
    """One plain Flux-Fill pass of one image, without embedders and modulation."""
    tokens = g.num_image_tokens + g.num_text_tokens
    linear = 24 * g.dim**2 * tokens  # q, k, v, out and an MLP four times as wide: 12·d² weights on the path of a token
    attention = 4 * tokens**2 * g.dim
    return float(g.num_blocks * (linear + attention))


def messages(g: Geometry) -> float:
    """Cross-attention of the image tokens, both directions."""
    return 2.0 * g.num_blocks * 4 * g.num_image_tokens**2 * g.dim


def loras(g: Geometry) -> float:
    """Low-rank deltas of Q, K and V of both branches."""
    return 2.0 * g.num_blocks * g.num_image_tokens * 3 * (2 * 2 * g.dim * g.rank)


def mixer(g: Geometry) -> float:
    """g: 2·d → d/4 → 2·d over the image tokens of a pair."""
    return g.num_blocks * g.num_image_tokens * 2.0 * (2 * g.dim * (g.dim // 4)) * 2


def recomputed_projections(g: Geometry) -> float:
    """What a sharing module costs more that projects the image tokens of both branches to Q, K and V again."""
    return 2.0 * g.num_blocks * g.num_image_tokens * 3 * 2 * g.dim**2


def dual(g: Geometry) -> float:
    """One step of the dual branch."""
    return 2 * branch(g) + messages(g) + loras(g) + mixer(g)
