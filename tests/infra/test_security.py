"""No secret lies in the repository, and the bill of materials is that of what is installed."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "infra/security" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_holds_a_secret() -> None:
    """The whole repository, as a person would look through it."""
    done = subprocess.run(
        [sys.executable, ROOT / "infra/security/find_secrets.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        ("key = AKIA" + "QWERTYUIOP123456", "an access key of AWS"),
        ("ghp_" + "a1B2" * 10, "a token of GitHub"),
        ("hf_" + "a1B2" * 9, "a token of Hugging Face"),
        ("postgresql://bfs:" + "k3Jd92mxPq7@db/x", "a password in an address"),
        ("RAY_AUTH_TOKEN = " + '"9f86d081884c7d659a2feaa0c55ad015"', "a random value given to a secret's name"),
    ],
)
def test_a_secret_is_found(line: str, what: str) -> None:
    """One of each form; with the excuse on its line it is passed over."""
    find = _script("find_secrets").findings
    assert list(find(f"harmless\n{line}\n")) == [(2, what)]
    assert list(find(f"{line}  # not a secret: an example")) == []


@pytest.mark.parametrize(
    "line", ["password: word", "postgresql://user:password@host/database", 'token = "the-token-of-the-cluster"', "u:***@h"]
)
def test_what_only_looks_like_one_is_not(line: str) -> None:
    """Names of secrets, and examples in sentences."""
    assert list(_script("find_secrets").findings(line)) == []


def test_the_bill_names_everything_that_is_installed(tmp_path: Path) -> None:
    """Each distribution once, with its version and address; the same environment gives the same bill."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "infra/security/bom.py"), "--output", str(tmp_path / "bom.json")]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=env)
    assert made.stdout.strip() == str(tmp_path / "bom.json")
    bill = json.loads((tmp_path / "bom.json").read_text(encoding="utf-8"))
    listed = [(c["name"], c["version"]) for c in bill["components"]]
    # In a process of its own: Ray puts a folder onto the path of whoever imports it.
    code = "from importlib import metadata\nprint(*{(d.metadata['Name'], d.version) for d in metadata.distributions()}, sep='\\n')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=env).stdout
    found = {(str(canonicalize_name(name)), version) for name, version in map(ast.literal_eval, said.splitlines())}
    installed = found - {("bfs", metadata.version("bfs"))}
    assert set(listed) == installed and len(listed) == len(installed) > 100
    assert all(c["purl"] == c["bom-ref"] == f"pkg:pypi/{c['name']}@{c['version']}" for c in bill["components"])
    licensed = [c for c in bill["components"] if "licenses" in c]
    assert len(licensed) > 0.95 * len(listed), "nearly all say under which licence they come"
    command[-1] = str(tmp_path / "again.json")
    subprocess.run(command, capture_output=True, timeout=120, check=True, env=env)
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == bill
