"""The service and its caller in a shell with dead proxies and a temporary directory too deep for the names of sockets."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import free_port
from PIL import Image
from shells import BIN, bare_shell

pytestmark = pytest.mark.ray

PROXIES = {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1"}


def test_a_layer_is_served_all_the_same(tmp_path: Path) -> None:
    """`python -m bfs_serve` becomes ready with a cluster of its own, and `bfs generate --url` gets its layer."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    env = bare_shell(tmp_path, TMPDIR=str(deep), **PROXIES)
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "b.png")
    port = str(free_port())
    command = [sys.executable, "-m", "bfs_serve", "--engine", "bfs_serve.model.fake:FakeEngine", "--model", "fake", "--port", port]
    ask = [str(BIN / "bfs"), "generate", "--url", f"http://127.0.0.1:{port}", "--background", "b.png", "--box", "8,8,40,40"]
    ask += ["--prompt", "a red ball", "--output", "layer.png"]
    seen: list[str] = []
    asked = None
    with subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as service:
        assert service.stderr is not None
        for line in service.stderr:
            seen.append(line)
            if line.startswith("ready http"):
                asked = subprocess.run(ask, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
                service.send_signal(signal.SIGTERM)
    assert asked is not None and service.returncode == 0, seen
    assert asked.returncode == 0, asked.stderr
    assert Image.open(tmp_path / "layer.png").mode == "RGBA"
    assert not (tmp_path / ".ray").exists()
