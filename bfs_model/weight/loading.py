"""From the name of a model to a pipeline: bundle, trained model, or FLUX.1-Fill; precision and memory mode included."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import bundle, flux_fill, licence, memory, small_bundle

_SETTINGS = ("window_size", "default_steps", "guidance_scale", "true_cfg_scale", "alpha_floor")


@dataclass(frozen=True)
class Loader:
    """How a pipeline is to be loaded. `pipeline` is its class, `load_layout` diffusers' own loader of that class."""

    pipeline: Any
    load_layout: Callable[..., Any]
    dtype: torch.dtype | None
    accept_flux_licence: bool
    sharing_settings: dict[str, Any] | None

    def load(self, name: str | Path, given: dict[str, Any]) -> Any:
        """Load `name`; `given` components and settings are used in place of its own. See `BFSPipeline.from_pretrained`."""
        path = bundle.locate(name, self.accept_flux_licence)
        if bundle.is_foreign(path):
            return self._flux_fill(name, path, given)
        manifest = integrity.verify(path)
        if manifest["kind"] == bundle.MODEL:
            pipe = self._model(name, path, manifest, given)
        elif manifest["kind"] == bundle.BUNDLE:
            bound = licence.checked(name, manifest["body"], self.accept_flux_licence)
            pipe = self._bundle(path, manifest, given)
            pipe.licence = bound
            pipe.untrained = tuple(part for part in manifest["body"].get("untrained", ()) if part not in given)
        else:
            raise BadInput("model", name, f"is a {manifest['kind']}", "give a bundle or a model")
        pipe.source = f"{name}@{manifest['content_hash'][:12]}"
        return pipe

    def _bundle(self, path: Path, manifest: dict[str, Any], given: dict[str, Any]) -> Any:
        precision = self._precisions(path)
        with no_progress_bars():
            if precision == torch.float32 and small_bundle.is_small(manifest):
                parts = small_bundle.load(path, given)
                if parts is not None:
                    return self.pipeline(**parts)
            return self.load_layout(str(path), use_safetensors=True, local_files_only=True, dtype=precision, **given)

    def _flux_fill(self, name: str | Path, path: Path, given: dict[str, Any]) -> Any:
        licence.check_flux(name, self.accept_flux_licence)
        settings = {key: given[key] for key in _SETTINGS if key in given}
        parts = {key: value for key, value in given.items() if key not in settings}
        with no_progress_bars():
            parts = flux_fill.load_parts(path, self.dtype, self.sharing_settings, parts)
        pipe = self.pipeline(**parts, **settings)
        pipe.source, pipe.licence = str(name), licence.FLUX_LICENCE
        pipe.untrained = tuple(part for part in bundle.TRAINED_PARTS if part not in given)
        return pipe

    def _model(self, name: str | Path, path: Path, manifest: dict[str, Any], given: dict[str, Any]) -> Any:
        licence.checked(name, manifest["body"]["base"], self.accept_flux_licence)  # before its base is read and hashed
        pipe = self.load(bundle.base_of(path, manifest, self.accept_flux_licence), given)
        for part in bundle.TRAINED_PARTS:
            if part not in given and (path / part).is_dir():
                module = type(getattr(pipe, part)).from_pretrained(path / part, use_safetensors=True, dtype=torch.float32)
                pipe.register_modules(**{part: module.to(pipe.device).eval()})
        pipe.untrained = tuple(part for part in manifest["body"].get("untrained", ()) if part not in given)
        return pipe

    def _precisions(self, path: Path) -> Any:
        """Weights may be stored in half precision to save space; without a wish they are loaded as float32."""
        if self.dtype in (None, torch.float32):
            return torch.float32
        index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
        return {part: dtype for part, dtype in memory.precisions(self.dtype).items() if part == "default" or part in index}


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Loading a local folder takes less time than drawing the libraries' bars."""
    shown = [(m, m.is_progress_bar_enabled()) for m in (diffusers_logging, transformers_logging)]
    for module, _ in shown:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, enabled in shown:
            if enabled:
                module.enable_progress_bar()
