"""What a whole set leaves out: near-copies in nearly the same place, pictures of other sets, and the poorest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bfs_model.picture.boxes import Box
from bfs_platform.config.files import load
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.plan.curation import curate, quantiles
from bfs_platform.data.plan.ledger import Ledger
from bfs_platform.data.plan.unit import Receipt
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.shard.show import as_text, describe
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import BoundSpec, CheckSpec, CurationSpec, DataSpec
from bfs_platform.data.stage.measures import measures


def spec_of(bits: int | None = 3, **curation: Any) -> DataSpec:
    return DataSpec(stage=2, buckets=((32, 32),), checks=CheckSpec(duplicate_bits=bits), curation=CurationSpec(**curation))


def hashes(number: int) -> list[int]:
    """Random hashes, of which every third is an earlier one with up to four bits turned over."""
    draw = np.random.default_rng(3)
    found: list[int] = []
    for n in range(number):
        value = int(draw.integers(2**63))
        if n % 3 == 2:
            value = found[int(draw.integers(n))]
            for bit in draw.choice(64, int(draw.integers(5)), replace=False):
                value ^= 1 << int(bit)
        found.append(value)
    return found


@pytest.mark.parametrize("bits", [0, 2, 3, 7])
def test_near_copies_are_those_that_comparing_all_finds(bits: int) -> None:
    """Of 300 records in boxes that overlap more or less: exactly those go that repeat an earlier kept one, as a plain loop decides."""
    values, draw = hashes(300), np.random.default_rng(4)
    boxes = [[x, 4, x + 20, 24] for x in draw.integers(0, 6, 300).tolist()]
    kept: list[int] = []
    expected = {}
    for n, value in enumerate(values):
        shared = {k: max(0, 20 - abs(boxes[k][0] - boxes[n][0])) for k in kept}
        same = [k for k in kept if (values[k] ^ value).bit_count() <= bits and shared[k] / (40 - shared[k]) >= 0.75]
        if same:
            expected[f"{n}"] = f"shows the same as {same[0]}"
        else:
            kept.append(n)
    ledger = Ledger()
    for shard in reversed(range(30)):
        rows = [[f"{n}", boxes[n], f"{values[n]:016x}"] for n in range(10 * shard, 10 * shard + 10)]
        ledger.add(Receipt(shard, "k", None, rows))
    curate(ledger, spec_of(bits, box_overlap=0.75))
    assert {i: why.detail for shard in range(30) for i, why in ledger.dropped(shard).items()} == expected and expected


def test_what_another_set_shows_goes_wherever_its_object_is() -> None:
    """A stranger's picture drops every record near it, copies of each other or not, and counts as held out."""
    rows = [["a", [0, 0, 4, 4], f"{0b111:016x}"], ["b", [9, 9, 12, 12], f"{0b1:016x}"], ["c", [0, 0, 4, 4], f"{2**40 - 1:016x}"]]
    ledger = Ledger()
    ledger.add(Receipt(0, "k", None, rows))
    curate(ledger, spec_of(None, apart_from=("x",), apart_bits=2), [("s of x", 0b11)])
    assert {i: why.detail for i, why in ledger.dropped(0).items()} == dict.fromkeys("ab", "shows the same as s of x")
    assert ledger.rejects == {"held_out": 2}


def test_the_poorest_go_by_bound_and_by_share() -> None:
    """Below the bound first, then a share of what is left; equal values go in listing order; quantiles are of what stays."""
    ledger = Ledger()
    for shard, values in enumerate(([5.0, 1.0, 9.0, 2.0], [9.0, 9.0, 2.0, 9.0, 7.0])):
        rows = [[f"{shard}/{n}", [0, 0, 4, 4], f"{17 ** (4 * shard + n + 1):016x}"] for n in range(len(values))]
        ledger.add(Receipt(shard, "k", None, rows, measures={"sharpness": values}))
    curate(ledger, spec_of(None, sharpness=BoundSpec(min=1.5, worst=0.25)))
    assert {i: why.detail.split(" is ")[1] for shard in (0, 1) for i, why in ledger.dropped(shard).items()} == {
        "0/1": "below 1.5",
        "0/3": "among the lowest 25.0% of the set",
        "1/2": "among the lowest 25.0% of the set",
    }
    assert ledger.rejects == {"low_quality": 3}
    assert quantiles(ledger) == {"sharpness": {"1%": 5.0, "5%": 5.0, "25%": 7.0, "50%": 9.0, "75%": 9.0}}


def test_measures_tell_what_they_are_called_after() -> None:
    """Blur costs sharpness and little contrast; a flat picture has no contrast; a burnt-out one no exposure."""
    draw = np.random.default_rng(1)
    picture = draw.integers(10, 240, (64, 64, 3)).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))
    box = Box(8, 8, 56, 56)
    assert measures(blurred, box)["sharpness"] < 0.05 * measures(picture, box)["sharpness"]
    half = picture.copy()
    half[:, 32:] = 255
    assert measures(half, box)["exposure"] == 0.5 and measures(picture, box)["exposure"] == 1
    assert measures(np.full((64, 64, 3), 90, np.uint8), box) == {"sharpness": 0, "contrast": 0, "exposure": 1}


def test_a_build_leaves_out_what_its_recipe_says(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A held-out set's records, and the least sharp of the rest, are missing, listed with their reasons, and no fault of the source."""

    def recipe(**curation: Any) -> DataSpec:
        return pixel_spec.model_copy(update={"stage": 2, "max_reject_rate": 0.0, "curation": CurationSpec(**curation)})

    def built(root: Path, name: str, **curation: Any) -> Path:
        spec, source = recipe(**curation), open_source("rorem", root)
        build(source, tmp_path / name, spec, stream=in_process(source, spec, tmp_path / name))
        return tmp_path / name

    root = rorem(7)
    held_out = built(rorem(2, name="two"), "held-out")
    wanted = {"apart_from": (str(held_out),), "apart_bits": 0, "sharpness": BoundSpec(worst=0.2)}
    output = built(root, "out", **wanted)
    rejects = {line["id"]: line["reason"] for line in map(json.loads, (output / "rejects.jsonl").read_text().splitlines())}
    assert {i for i, reason in rejects.items() if reason == "held_out"} == {"0000", "0001"}
    assert list(rejects.values()).count("low_quality") == 1 and len(open_dataset(output)) == 4
    assert open_dataset(output).body["apart_from"] == [{"name": "held-out", "content_hash": open_dataset(held_out).content_hash}]
    assert "sharpness 1% below" in as_text(describe(output))
    assert load(output / "manifest.json") == recipe(**wanted), "a recipe again, folders and all"
    moved = shutil.move(held_out, tmp_path / "elsewhere" / "held-out")
    again = built(root, "again", **wanted | {"apart_from": (str(moved),)})
    assert open_dataset(again).content_hash == open_dataset(output).content_hash, "the same set, apart from the same one elsewhere"
    plain = built(root, "plain")
    assert "curation" not in open_dataset(plain).body["recipe"]["spec"] and len(open_dataset(plain)) == 7
