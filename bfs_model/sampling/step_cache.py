"""Step caches: denoising steps that reuse what an earlier step computed, by diffusers' own hooks.

The pair decides together: both branches of one image stand in one batch, so one decision covers them, and what is reused
includes their messages. Images decide alone: each has a context of its own, cleared before and after a call. So under
`first_block`, which looks at the values, the images of a batch run one after the other (a pair is already a batch), and
each skips what it would skip in a call of its own. `taylorseer` decides by the step's number and keeps the batch whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from diffusers.hooks import FirstBlockCacheConfig, TaylorSeerCacheConfig
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.shapes import Given

NONE = "none"


@dataclass(frozen=True)
class FirstBlock:
    """Skip all but the first block of a step when that block's residual moved by less than `threshold` of its mean size."""

    kind: ClassVar[str] = "first_block"
    threshold: Given[float] = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or not 0 < self.threshold < 1:
            raise BadInput("threshold", self.threshold, "is not between 0 and 1", "0.05 is careful, 0.2 is bold")

    def config(self) -> FirstBlockCacheConfig:
        """What diffusers installs."""
        return FirstBlockCacheConfig(threshold=float(self.threshold))


@dataclass(frozen=True)
class TaylorSeer:
    """After `warmup_steps` whole steps run every `interval`-th one; extrapolate the velocity over the others.

    `order`: of the Taylor polynomial in the step's number; 0 repeats the last velocity.
    """

    kind: ClassVar[str] = "taylorseer"
    interval: Given[int] = 3
    warmup_steps: Given[int] = 3
    order: Given[int] = 1

    def __post_init__(self) -> None:
        for name, value, least in (("interval", self.interval, 2), ("warmup_steps", self.warmup_steps, 1), ("order", self.order, 0)):
            if type(value) is not int or value < least:
                raise BadInput(name, value, f"is not a whole number of {least} or more", f"use {least} or more")

    def config(self) -> TaylorSeerCacheConfig:
        """What diffusers installs: only the last layer is extrapolated, the blocks of a skipped step do not run at all."""
        return TaylorSeerCacheConfig(
            cache_interval=self.interval,
            disable_cache_before_step=self.warmup_steps,
            max_order=self.order,
            taylor_factors_dtype=torch.float32,
            use_lite_mode=True,
        )


StepCache = FirstBlock | TaylorSeer
_KINDS: dict[str, type[FirstBlock] | type[TaylorSeer]] = {c.kind: c for c in (FirstBlock, TaylorSeer)}
KINDS = tuple(_KINDS)


def of(kind: Given[str], **settings: Any) -> StepCache | None:
    """The cache of this name with these settings; None for `none`.

    Raises: `BadInput` for an unknown name, a setting that this cache does not have, or a value out of range.
    """
    if kind == NONE and not settings:
        return None
    if not isinstance(kind, str) or kind not in _KINDS:
        close = get_close_matches(str(kind), KINDS, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"use {', '.join((*KINDS, NONE))}"
        raise BadInput("step_cache", kind, "is unknown", remedy)
    names = [f.name for f in fields(_KINDS[kind])]
    for name in settings:
        if name not in names:
            raise BadInput("step_cache", name, f"is no setting of {kind}", f"it has {', '.join(names)}")
    return _KINDS[kind](**settings)


class StepCaching:
    """What a pipeline with a `transformer` and a `dual_branch` gains: step caches, for all calls or for one.

    What is enabled lives on the transformer, so a cache that was enabled there by diffusers' own `enable_cache` serves too.
    """

    transformer: Any
    dual_branch: Any

    def enable_step_cache(self, kind: str = FirstBlock.kind, **settings: Any) -> None:
        """Use a step cache in all calls: `first_block` (threshold=…) or `taylorseer` (interval=…, warmup_steps=…, order=…).

        Raises: `BadInput` for an unknown name or setting.
        """
        cache = of(kind, **settings)
        _install(self.transformer, None if cache is None else cache.config())

    def disable_step_cache(self) -> None:
        """Compute every step again; the transformer is as it was."""
        _install(self.transformer, None)

    @contextmanager
    def _caching(self, setting: "Given[str | StepCache | None]") -> Iterator[None]:
        """Install what this call asks for, if anything, with nothing remembered from before or for later."""
        transformer = self.transformer
        enabled = transformer._cache_config
        if setting is not None:
            cache = setting if isinstance(setting, StepCache) else of(setting)
            _install(transformer, None if cache is None else cache.config())
        try:
            _forget(transformer)
            yield
        finally:
            _forget(transformer)
            _install(transformer, enabled)

    def _velocity(
        self,
        x: Tensor,
        condition: Tensor,
        sigma: Tensor,
        prompt_embeds: Tensor,
        pooled_embeds: Tensor,
        img_ids: Tensor,
        guidance: float = 1.0,
        text_bias: Tensor | None = None,
        pass_name: str = "",
    ) -> Tensor:
        """The dual branch (see `DualBranch.forward`), in the cache context of each image.

        A step of several passes gives each a `pass_name`, so that none reuses what another has computed.
        """
        dual, per_image, shared = self.dual_branch, (condition, sigma, prompt_embeds, pooled_embeds), (img_ids, guidance)
        transformer, batch = dual.transformer, len(condition)
        if not transformer.is_cache_enabled:
            return dual(x, *per_image, *shared, text_bias)
        if batch == 1 or isinstance(transformer._cache_config, TaylorSeerCacheConfig):
            with transformer.cache_context(f"{pass_name}all"):
                return dual(x, *per_image, *shared, text_bias)
        pairs = []
        for i in range(batch):
            with transformer.cache_context(f"{pass_name}image {i}"):
                bias = None if text_bias is None else text_bias[i : i + 1]
                pairs.append(dual(x[i::batch], *(t[i : i + 1] for t in per_image), *shared, bias))
        return torch.cat([p[:1] for p in pairs] + [p[1:] for p in pairs])


def _install(transformer: Any, config: Any) -> None:
    """Put diffusers' hooks for `config` on the transformer in place of those that are there."""
    if transformer._cache_config == config:
        return
    if transformer.is_cache_enabled:
        transformer.disable_cache()
    if config is not None:
        transformer.enable_cache(config)


def _forget(transformer: Any) -> None:
    """Drop what was remembered of a request."""
    if transformer.is_cache_enabled:
        transformer._reset_stateful_cache()
