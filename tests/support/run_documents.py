"""Runs a document from top to bottom, word for word, as a user who has just opened a shell in the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from documents import Block, blocks

# Commands that are printed and not run with their document, each with the reason.
NOT_RUN = {
    "make test": "it is what runs the documents",
    "make test-portable": "the tests again, this one among them",
    "make test-quantised": "continuous integration runs it (.ci/run); it downloads torchao and bitsandbytes",
    "make tools": "continuous integration runs it (.ci/run); it downloads programs",
    "make check": "continuous integration runs it (.ci/run)",
    "make bench": "many minutes of measuring; tests/infra reads what it prints",
    "make bench-gpu": "needs a GPU",
    "make soak": "hours",
    "make lock": "rewrites requirements.lock with what an index has today",
    "make clean": "removes the environment that runs the tests",
}
# Programs that run until they are stopped, and where they answer when they are ready. A reader gives them a terminal of their own.
STAYING = {
    " serve ": "http://127.0.0.1:8000/readyz",
    "bfs studio": "http://127.0.0.1:8000/readyz",
    "mlflow ui ": "http://127.0.0.1:5000/health",
}
# What runs with a documented variable that shortens it: fewer scenes for the demo.
SHORTER = {"make demo": "ARGS='--scenes 16'"}
_AS_ROOT = [] if os.geteuid() == 0 else ["--map-root-user"]
_ALONE = ["unshare", *_AS_ROOT, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_ENTER = """
ip link set lo up
mkdir -p /tmp/ray && mount --bind "$PRIVATE/ray" /tmp/ray
mkdir -p "$COPY/.venv" && mount --bind "$ROOT/.venv" "$COPY/.venv"
mount --rbind "$COPY" "$ROOT"
cd "$ROOT"
exec env -i HOME="$PRIVATE/home" PATH="$PRIVATE/bin:/usr/bin:/bin" TERM=dumb bash -e "$PRIVATE/document.sh"
"""
_HEAD = """
until_ready() {  # URL LOG, of the program started last
    until curl --silent --fail --max-time 5 --output /dev/null "$1"; do
        if ! kill -0 $!; then cat "$2"; return 1; fi
        sleep 1
    done
}
"""


def why_not() -> str | None:
    """Why documents cannot be run here, if they cannot: they need ports, process ids and a view of the disk of their own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip (packages util-linux and iproute2) are not there"
    trial = [*_ALONE, "sh", "-c", "ip link set lo up && mount --bind /tmp /tmp"]
    result = subprocess.run(trial, capture_output=True, text=True, timeout=60)
    return None if result.returncode == 0 else f"namespaces cannot be made here: {result.stderr.strip()}"


def copy_of(root: Path, folder: Path) -> Path:
    """The files that the repository holds, for documents to work on."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def run_document(document: Path, root: Path, copy: Path, private: Path, limit_s: float, seen: set[str]) -> tuple[int, str]:
    """Run `document` with `copy` in the place of `root`, but for inline commands in `seen`, which grows.

    Returns its exit code, and what was printed, from the last command on. Ports, processes and mounts are its own: the ports that
    it prints are free, and whatever it leaves running ends with it.
    """
    for name in ("bin", "ray", "home", "logs"):
        (private / name).mkdir(parents=True)
    # `make` looks for the Python that made the environment, which need not be the system's.
    (private / "bin/python3").symlink_to(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    (private / "document.sh").write_text(script(document, private / "logs", seen), encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "ROOT": str(root), "COPY": str(copy), "PRIVATE": str(private)}
    log = private / "output.log"
    with log.open("wb") as output:
        command = [*_ALONE, "sh", "-e", "-c", _ENTER]
        code = subprocess.run(command, env=env, cwd=root, stdout=output, stderr=subprocess.STDOUT, timeout=limit_s).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    return code, text[max(text.rfind("\n### "), 0) :]


def script(document: Path, logs: Path, seen: set[str]) -> str:
    """One shell script of what the document prints, each block under a line that says where it stands.

    Blocks always run; a command in a sentence or a table does where it is met for the first time (`seen`).
    """
    parts = [_HEAD]
    for number, block in enumerate(blocks(document)):
        commands = {" ".join(words) for words in block.commands()} if block.language == "sh" else set()
        if block.inline and commands <= seen:
            continue
        seen |= commands
        parts.append(f"echo; echo '### {block.place}'\n{_runnable(block, logs / f'{number}.log')}")
    return "\n".join(parts)


def _runnable(block: Block, log: Path) -> str:
    if block.language == "python":
        return f".venv/bin/python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON\n"
    lines = []
    for line in block.text.replace("\\\n", " ").splitlines(keepends=True) if block.language == "sh" else ():
        ready = next((url for words, url in STAYING.items() if words in line and not line.startswith("#")), None)
        if ready is not None:
            line = f"{line.rstrip()} > {log} 2>&1 &\nuntil_ready {ready} {log}\n"
        if (command := " ".join(line.split())) not in NOT_RUN:
            lines.append(f"{SHORTER[command]} {line}" if command in SHORTER else line)
    return "".join(lines)


def environment_of_the_documents(root: Path) -> bool:
    """Whether the tests run in the environment that the documents name."""
    return Path(sys.prefix).resolve() == (root / ".venv").resolve()
