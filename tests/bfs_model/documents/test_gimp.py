"""GIMP opens our PSD: the layers, their places and looks, their pixels, and the picture that they make together."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.layers import LayerStack

GIMP = shutil.which("gimp-console") or shutil.which("gimp")
MODES = {"normal": "28", "multiply": "30", "screen": "31"}  # GimpLayerMode of GIMP 2.10
SCRIPT = """
(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "{psd}" "{psd}")))
       (layers (cadr (gimp-image-get-layers image)))
       (port (open-output-file "{folder}/layers.txt")))
  (let loop ((i 0))
    (if (< i (vector-length layers))
      (let ((layer (vector-ref layers i))
            (picture (string-append "{folder}/" (number->string i) ".png")))
        (for-each (lambda (value) (display value port) (display "|" port))
          (list (car (gimp-item-get-name layer)) (car (gimp-drawable-offsets layer)) (cadr (gimp-drawable-offsets layer))
                (car (gimp-drawable-width layer)) (car (gimp-drawable-height layer)) (car (gimp-layer-get-opacity layer))
                (car (gimp-layer-get-mode layer)) (car (gimp-item-get-visible layer)) (car (gimp-drawable-has-alpha layer))
                (car (gimp-layer-get-mask layer))))
        (newline port)
        (file-png-save RUN-NONINTERACTIVE image layer picture picture 0 1 0 0 0 0 1)
        (loop (+ i 1)))))
  (close-output-port port)
  (let ((flat (car (gimp-image-flatten image))))
    (file-png-save RUN-NONINTERACTIVE image flat "{folder}/flat.png" "{folder}/flat.png" 0 1 0 0 0 0 0))
  (gimp-image-delete image))
"""


@pytest.mark.gimp
@pytest.mark.skipif(GIMP is None, reason="the program `gimp` is not installed")
def test_gimp_opens_the_psd(scene: LayerStack, tmp_path: Path) -> None:
    """Names in every script, offsets off the canvas, opacity, mode, visibility, alpha and pixels; flattened within one level."""
    psd = scene.save(tmp_path / "scene.psd")
    script = SCRIPT.format(psd=psd, folder=tmp_path)
    command = [str(GIMP), "--no-interface", "--no-data", "--no-fonts", "--new-instance", "-b", script, "-b", "(gimp-quit 0)"]
    env = os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert "execution error" not in result.stdout + result.stderr, result.stdout + result.stderr
    # A metadata field that GIMP does not know would greet the user with a warning on every opening.
    assert not re.search("XMP|namespace|PSD", result.stderr), result.stderr

    rows = [line.split("|") for line in (tmp_path / "layers.txt").read_text(encoding="utf-8").splitlines()]
    for number, (row, layer) in enumerate(zip(rows, reversed(scene.layers), strict=True)):
        name, x, y, width, height, opacity, mode, visible, has_alpha, mask, _ = row
        assert name == layer.name
        assert [int(v) for v in (x, y, width, height)] == [layer.x, layer.y, layer.width, layer.height]
        assert float(opacity) == pytest.approx(layer.opacity * 100, abs=0.2)
        assert (mode, visible, has_alpha, mask) == (MODES[layer.blend_mode], str(int(layer.visible)), "1", "-1")
        pixels = np.asarray(Image.open(tmp_path / f"{number}.png").convert("RGBA"))
        assert np.array_equal(pixels[..., 3], layer.rgba[..., 3])
        seen = pixels[..., 3] > 0
        assert np.array_equal(pixels[seen], layer.rgba[seen])
    flat = np.asarray(Image.open(tmp_path / "flat.png").convert("RGB")).astype(int)
    assert np.abs(flat - np.asarray(scene.flatten())).max() <= 1
