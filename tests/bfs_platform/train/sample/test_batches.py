"""From rows to tensors: which samples lose their prompt."""

import torch

from bfs_model.objectives import LatentBatch
from bfs_platform.train.sample.batches import without_some_prompts

NOTHING = (torch.zeros(1, 3, 2), torch.zeros(1, 2))


def batch_of(ids: list[str]) -> LatentBatch:
    zeros, count = torch.zeros(len(ids), 1, 1, 1), len(ids)
    return LatentBatch(ids, zeros, zeros, zeros, torch.ones(count, 1, 4, 4), torch.ones(count, 3, 2), torch.ones(count, 2))


def test_a_share_of_the_samples_loses_both_embeddings() -> None:
    """A tenth of many samples have the empty prompt, in tokens and pooled alike; the others keep theirs whole."""
    made = without_some_prompts(batch_of([str(i) for i in range(2000)]), NOTHING, 0.1, 7, 3)
    dropped = made.pooled_embeds[:, 0] == 0
    assert 0.08 < dropped.float().mean() < 0.12
    assert (made.prompt_embeds[dropped] == 0).all() and (made.prompt_embeds[~dropped] == 1).all()
    assert (made.pooled_embeds[dropped] == 0).all() and (made.pooled_embeds[~dropped] == 1).all()


def test_who_loses_it_depends_on_names_alone() -> None:
    """The same sample at the same step, in whatever batch; not the same ones at every step; none at probability 0."""
    ids = [str(i) for i in range(50)]
    one, turned = (without_some_prompts(batch_of(order), NOTHING, 0.5, 7, 3) for order in (ids, ids[::-1]))
    assert torch.equal(one.pooled_embeds, turned.pooled_embeds.flip(0))
    assert not torch.equal(one.pooled_embeds, without_some_prompts(batch_of(ids), NOTHING, 0.5, 7, 4).pooled_embeds)
    assert without_some_prompts(batch := batch_of(ids), NOTHING, 0.0, 7, 3) is batch
