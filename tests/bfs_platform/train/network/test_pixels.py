"""Crops of training pictures: where they lie, and what decides it."""

import torch

from bfs_platform.train.network.pixels import crops

IDS = [f"record {n}" for n in range(32)]


def numbered(side: int) -> torch.Tensor:
    """Pictures [32, 1, side, side] whose pixels are numbered, so that a crop tells where it was."""
    return torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side).expand(len(IDS), 1, side, side)


def test_crops_depend_on_seed_step_and_record() -> None:
    """The same again for the same; each a square out of its picture."""
    images = numbered(16)
    first = crops(images, 8, 7, 3, IDS)
    assert first.shape == (32, 1, 8, 8) and torch.equal(first, crops(images, 8, 7, 3, IDS))
    assert torch.equal(first[5:6], crops(images[5:6], 8, 7, 3, IDS[5:6]))
    assert not torch.equal(first, crops(images, 8, 7, 4, IDS)) and len({int(crop[0, 0, 0]) for crop in first}) > 10
    corner = first[:, :, :1, :1]
    steps = torch.arange(8).view(1, 1, 8, 1) * 16 + torch.arange(8).view(1, 1, 1, 8)
    assert torch.equal(first, corner + steps)
    assert torch.equal(crops(images, 16, 7, 3, IDS), images)


def test_crops_hold_what_is_wanted() -> None:
    """A pixel in a corner of the picture is in every crop, not always at the same place; with none wanted, crops lie anywhere."""
    images, wanted = numbered(16), torch.zeros(32, 16, 16, dtype=torch.bool)
    wanted[:16, 9, 6] = True
    around = crops(images, 8, 7, 3, IDS, wanted)
    number = 9 * 16 + 6
    held = [(crop == number).any().item() for crop in around]
    assert all(held[:16]) and not all(held[16:])
    assert len({int(crop[0, 0, 0]) for crop in around[:16]}) > 5
    assert torch.equal(around[16:], crops(images[16:], 8, 7, 3, IDS[16:]))
