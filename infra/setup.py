"""Create .venv and install requirements.lock and this repository into it; do nothing when that is already done.

Run it as `make setup`. It needs nothing but a Python with `venv`. Kept to syntax that old Pythons read, so that they can
say what is wrong instead of failing on it.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "bfs-setup")
LOG = os.path.join(VENV, "setup.log")
OLDEST = (3, 11)
OTHER_PYTHONS = ("python3.11", "python3.12", "python3.13")


def main():
    """Return an exit code."""
    if sys.version_info < OLDEST:
        return _with_another_python()
    try:
        import ensurepip  # noqa: F401 - Debian ships Python without it
        import venv
    except ImportError:
        return _say("setup: this Python has no venv module; install it, for example the package python3-venv.", 2)
    stamp = _stamp()
    if _read(STAMP) == stamp:
        return 0
    print("setup: creating .venv and installing requirements.lock (minutes the first time) ...", flush=True)
    if not os.path.exists(os.path.join(VENV, "bin", "pip")):
        venv.create(VENV, with_pip=True, clear=True)
    if os.path.exists(STAMP):
        os.remove(STAMP)
    with open(LOG, "w") as log:
        done = _pip(log, ["install", "-r", "requirements.lock"])
        # setuptools is in the lock, so the build needs no environment of its own.
        done = done and _pip(log, ["install", "--no-deps", "--no-build-isolation", "-e", "."])
        # pymatting compiles its kernels on first import, for half a minute; better now than inside a test or a job.
        done = done and subprocess.call([os.path.join(VENV, "bin", "python"), "-c", "import pymatting"], stdout=log, stderr=log) == 0
    if not done:
        return _say(f"setup: pip failed; its last lines are above and the whole log is in {LOG}.", 1)
    with open(STAMP, "w") as file:
        file.write(stamp)
    print("setup: done.", flush=True)
    return 0


def _with_another_python():
    for name in OTHER_PYTHONS:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, os.path.abspath(__file__)])
    found = "{}.{}".format(*sys.version_info[:2])
    return _say(f"setup: python={found} is too old; install Python 3.11 or newer and run `make setup PYTHON=python3.11`.", 2)


def _stamp():
    """Changes when what is to be installed, the Python, or the place of the repository changes."""
    digest = hashlib.sha256(repr((ROOT, sys.version_info[:2])).encode())
    for name in ("requirements.lock", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _pip(log, arguments):
    """Run pip in .venv: one line per package on the terminal, everything in the log; the log's tail on failure."""
    command = [os.path.join(VENV, "bin", "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    pip = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    tail = []
    for line in pip.stdout:
        log.write(line)
        tail = [*tail[-19:], line]
        if line.startswith(("Collecting ", "Installing ", "Building ", "Obtaining ")):
            print("  " + line.split(" (from")[0].strip()[:100], flush=True)
    if pip.wait() != 0:
        sys.stderr.write("".join(tail))
    return pip.returncode == 0


def _read(path):
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def _say(message, code):
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_say("setup: interrupted; `make setup` goes on where it stopped.", 130))
