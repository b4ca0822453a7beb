"""Small model folders, everything that can be wrong with one, and a smoke gate that draws nothing."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bfs_model import integrity
from bfs_platform.registry.gates import Smoke
from bfs_platform.registry.spec import SmokeSpec

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model folder with the layout of a trained model; `value` distinguishes contents."""

    def make(value: float = 0.0, folder: str = "model", extra: dict[str, bytes] | None = None) -> Path:
        final = tmp_path / folder
        staging = integrity.staging_for(final)
        for part in ("sharing", "rgba_vae"):
            (staging / part).mkdir()
            (staging / part / "config.json").write_text("{}")
            save_file({"weight": np.full((4, 3), value, np.float32)}, staging / part / "weights.safetensors")
        for name, data in (extra or {}).items():
            (staging / name).write_bytes(data)
        base = {"name": "tiny", "content_hash": "0" * 64}
        integrity.commit(staging, final, "model", {"base": base, "training": {"steps": 3}})
        return final

    return make


@pytest.fixture
def passing_smoke() -> Smoke:
    """A smoke gate that only looks whether there is something to load."""

    def smoke(folder: Path, spec: SmokeSpec) -> str:
        assert (folder / "sharing" / "weights.safetensors").is_file()
        return "fake: nothing was drawn"

    return smoke


@dataclass(frozen=True)
class Tampering:
    """A change to a model folder, and words of the error that it must give."""

    apply: Callable[[Path], None]
    rule: str


def reseal(folder: Path) -> None:
    """Write a fresh, consistent manifest over whatever lies in a folder: a forger's work."""
    integrity.write_manifest(folder, "model", {"base": {"name": "tiny", "content_hash": "0" * 64}})


def flip(folder: Path) -> None:
    """Flip one bit of the weights."""
    path = folder / "sharing" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def truncate(folder: Path) -> None:
    """Cut the weights short."""
    os.truncate(folder / "sharing" / "weights.safetensors", 40)


def add_pickle(folder: Path) -> None:
    """Put a pickle beside the weights, unlisted."""
    (folder / "sharing" / "extra.pkl").write_bytes(pickle.dumps({}))


def add_listed_pickle(folder: Path) -> None:
    """Put a pickle beside the weights and list it."""
    add_pickle(folder)
    reseal(folder)


def add_code(folder: Path) -> None:
    """Put Python code into the folder and list it."""
    (folder / "custom_pipeline.py").write_text("raise SystemExit")
    reseal(folder)


def disguise_pickle(folder: Path) -> None:
    """Name a pickle as if it were safetensors, and list it."""
    (folder / "sharing" / "weights.safetensors").write_bytes(pickle.dumps(list(range(1000))))
    reseal(folder)


def add_link(folder: Path) -> None:
    """Let a listed name be a link to a file of the machine."""
    (folder / "README.md").symlink_to("/etc/hostname")
    reseal(folder)


def add_hidden(folder: Path) -> None:
    """List a file in a hidden directory."""
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("x")
    reseal(folder)


def escape(folder: Path) -> None:
    """List a path that leads out of the folder."""
    (folder.parent / "outside.json").write_text("{}")
    path = folder / integrity.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"].append({"path": "../outside.json", "bytes": 2, "sha256": integrity.sha256_file(folder.parent / "outside.json")})
    manifest["content_hash"] = integrity.content_hash(manifest["kind"], manifest["body"], manifest["files"])
    path.write_text(json.dumps(manifest))


def forget_base(folder: Path) -> None:
    """Leave out which base the model belongs to."""
    integrity.write_manifest(folder, "model", {})


def remove_manifest(folder: Path) -> None:
    """Leave an interrupted write: files without a manifest."""
    (folder / integrity.MANIFEST).unlink()


TAMPERINGS = {
    flip: "damaged",
    truncate: "damaged",
    add_pickle: "not listed",
    add_listed_pickle: "extra.pkl is none of",
    add_code: "custom_pipeline.py is none of",
    disguise_pickle: "not in the safetensors format",
    add_link: "is a link",
    add_hidden: "not a plain path",
    escape: "not a plain path",
    forget_base: "which base",
    remove_manifest: "no manifest",
}


@pytest.fixture(params=TAMPERINGS.items(), ids=lambda item: item[0].__name__)
def tampering(request: pytest.FixtureRequest) -> Tampering:
    """Each kind of tampering in turn."""
    return Tampering(*request.param)
