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
    """The whole repository, as a person would look through it, and what its commits ever held."""
    command = [sys.executable, str(ROOT / "infra/security/find_secrets.py"), *(["--history"] if (ROOT / ".git").exists() else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_secret_that_was_removed_is_found(tmp_path: Path) -> None:
    """In the commit that had it, by its file; not in the one that took it away."""
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> str:
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "settings.ini").write_text("harmless\nkey = AKIA" + "QWERTYUIOP123456\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    commit = git("rev-parse", "--short", "HEAD")
    (tmp_path / "settings.ini").write_text("harmless\n")
    git("commit", "--quiet", "-am", "two")
    assert list(_script("find_secrets").in_history(tmp_path)) == [f"{commit}:settings.ini an access key of AWS"]


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


def test_the_bill_of_an_image_names_its_system_and_its_page(tmp_path: Path) -> None:
    """What Debian has installed, not what it removed; what is built into the studio, with npm's own hashes, and no tool of the build."""
    paragraphs = (
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2+b9\nDescription: a shell\n Version: of no one",
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1",
    )
    (tmp_path / "status").write_text("\n\n".join(paragraphs) + "\n\n")
    bom = _script("bom")
    assert bom.of_debian(tmp_path / "status") == [
        {
            "type": "library",
            "bom-ref": "pkg:deb/debian/bash@5.2.15-2%2Bb9?arch=amd64",
            "name": "bash",
            "version": "5.2.15-2+b9",
            "purl": "pkg:deb/debian/bash@5.2.15-2%2Bb9?arch=amd64",
        }
    ]
    shipped = {c["name"]: c for c in bom.of_npm(ROOT / "serve/studio/package-lock.json")}
    asked = json.loads((ROOT / "serve/studio/package.json").read_text(encoding="utf-8"))
    assert shipped.keys() >= asked["dependencies"].keys() and not shipped.keys() & asked["devDependencies"].keys()
    assert shipped["@fontsource-variable/inter"]["purl"] == "pkg:npm/%40fontsource-variable/inter@5.3.0"
    assert all(len(c["hashes"][0]["content"]) == 128 and c["hashes"][0]["alg"] == "SHA-512" and c["licenses"] for c in shipped.values())
