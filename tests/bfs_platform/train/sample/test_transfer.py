"""Batches on their way to a device."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bfs_platform.train.sample.transfer import Transfer, place


@dataclass(frozen=True)
class Pair:
    """A batch with something that is no tensor."""

    ids: list[str]
    values: Tensor
    nothing: Tensor | None = None


def batch(step: int = 0) -> tuple[Any, ...]:
    values = torch.arange(4096.0).reshape(64, 64) + step
    return (Pair([f"{step}"], values), values.half(), (values.to(torch.uint8), 7))


def test_what_is_handed_over_is_what_was_begun() -> None:
    """Tensors within tuples and dataclasses go along; names, numbers and what is absent stay as they are."""
    transfer = Transfer(torch.device("cpu"))
    pair, half, (small, seven) = transfer.end(transfer.begin(batch(3)))
    expected = batch(3)
    assert pair.ids == ["3"] and pair.nothing is None and seven == 7
    assert torch.equal(pair.values, expected[0].values) and torch.equal(half, expected[1]) and torch.equal(small, expected[2][0])


def test_every_tensor_is_placed() -> None:
    """None stays behind: a device without memory shows which went."""
    pair, half, (small, _) = place(batch(), torch.device("meta"))
    assert {tensor.device.type for tensor in (pair.values, half, small)} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_many_batches_beside_work_arrive_whole() -> None:
    """On a GPU, with the current stream kept busy: each batch is the one that was begun, however soon the next is on its way."""
    device = torch.device("cuda")
    transfer, busy = Transfer(device), torch.rand(2048, 2048, device=device)
    ahead, sums = transfer.begin(batch(0)), []
    for step in range(1, 50):
        pair, *_ = transfer.end(ahead)
        ahead = transfer.begin(batch(step))
        busy = busy @ busy / 1024
        sums.append(pair.values.double().sum())
    assert [float(value) for value in sums] == [float(batch(step)[0].values.double().sum()) for step in range(49)]
