"""The service as a program of its own, for as long as a test needs it."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def running(command: Sequence[str], env: Mapping[str, str], cwd: Path, within_s: float = 180) -> Iterator[str]:
    """Start the service, wait until it says that it is ready, and yield its address. It ends by SIGTERM, with exit code 0."""
    process = subprocess.Popen(command, env=dict(env), cwd=cwd, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    deadline = threading.Timer(within_s, process.kill)  # a service that says nothing must not hold the test for ever
    deadline.start()
    try:
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if ready := re.match(r"ready (http://\S+)", line):
                break
        else:
            raise AssertionError("the service ended before it was ready:\n" + "".join(said))
        deadline.cancel()
        with contextlib.closing(process.stderr):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
            yield ready[1]
            process.terminate()
            assert process.wait(60) == 0
    finally:
        deadline.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
