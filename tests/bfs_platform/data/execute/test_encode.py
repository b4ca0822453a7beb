"""Encoded columns: equal to encoding each picture by hand, whatever the batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import PASS

from bfs_model.latent.encoding import encode_images, to_tensor
from bfs_platform.data.execute.encode import Encoder, load_components
from bfs_platform.data.execute.work import compose_unit
from bfs_platform.data.plan.unit import Unit
from bfs_platform.data.shard.file import from_ipc, pixel_table, to_ipc
from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import DataSpec, EncodeSpec
from bfs_platform.data.stage.compose import Composer, Sample


@pytest.fixture(scope="module")
def samples(rorem_seven: Path) -> list[Sample]:
    """Five samples: three of 32×32 and, interleaved, two of 32×40."""
    square = DataSpec(stage=1, buckets=((32, 32),))
    wide = square.model_copy(update={"buckets": ((32, 40),)})
    rows = list(open_source("rorem", rorem_seven).rows())[:5]
    return [Composer(wide if i % 2 else square)(row, lambda part: read_part(rorem_seven, part)) for i, row in enumerate(rows)]


def floats(table: object, column: str, row: int) -> np.ndarray:
    return np.frombuffer(table[column][row].as_py(), "<f4")  # type: ignore[index]


def test_columns_equal_encoding_by_hand(samples: list[Sample], bundle_path: Path) -> None:
    """Latents of every record are those of its own pictures, in row order although sizes are mixed; texts likewise."""
    pipe = load_components(str(bundle_path))
    table, shapes = Encoder(EncodeSpec(batch_size=2), str(bundle_path)).encode(pixel_table(samples))
    assert shapes == {"latent_channels": 16, "vae_scale_factor": 4, "text_tokens": 16, "text_dim": 64, "pooled_dim": 64}
    for row, sample in enumerate(samples):
        pictures = {"z_bg": sample.background, "z_comp": sample.composite, "z_fg": sample.foreground}
        for name, picture in pictures.items():
            vae = pipe.rgba_vae if name == "z_fg" else pipe.vae
            with torch.inference_mode():
                mean, std = encode_images(vae, to_tensor(picture.astype(np.float32) / 255)[None])
            assert mean.shape[1:] == (16, 8, sample.composite.shape[1] // 4)
            np.testing.assert_allclose(floats(table, f"{name}_mean", row), mean.numpy().ravel(), atol=PASS)
            np.testing.assert_allclose(floats(table, f"{name}_std", row), std.numpy().ravel(), rtol=2e-4, atol=PASS)
        tokens, pooled = pipe.encode_prompt([sample.caption])
        np.testing.assert_allclose(floats(table, "prompt_embeds", row), tokens.numpy().ravel(), atol=PASS)
        np.testing.assert_allclose(floats(table, "pooled_embeds", row), pooled.numpy().ravel(), atol=PASS)


def test_the_transformer_is_not_loaded(bundle_path: Path) -> None:
    """Encoding needs no transformer: of Flux that is 24 GB."""
    assert load_components(str(bundle_path)).transformer is None  # type: ignore[attr-defined]


def test_a_unit_without_samples_passes_through(bundle_path: Path, encoded_spec: DataSpec, tmp_path: Path) -> None:
    """When every record of a shard is rejected, there is nothing to encode and nothing fails."""
    draft = compose_unit(Unit(3, (), "key"), tmp_path, Composer(encoded_spec))
    out = Encoder(encoded_spec.encode, str(bundle_path))(draft)
    assert out.table.num_rows == 0 and out.receipt.shapes == {}


def test_tables_travel_unchanged(samples: list[Sample]) -> None:
    """A table packed into one value comes back equal."""
    table = pixel_table(samples)
    assert from_ipc(to_ipc(table)).equals(table)
