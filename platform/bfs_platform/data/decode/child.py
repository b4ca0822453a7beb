"""The process in which pictures of unknown origin are decoded: it may crash, hang or run out of memory without taking a worker along.

Started by `isolated.IsolatedReader` only. On its standard input comes one request after the other: a line of JSON
`{"key", "max_pixels", "bytes", "pixels"}` and that many bytes. Each answer is a line of JSON: `{"height", "width", "alpha"}`, and behind
it, where pixels are wanted, RGB and, if there is one, alpha; `{"bytes"}` and the file, where the decoder makes one; or
`{"error": [key, value, rule, remedy]}`. It ends with its input.
"""

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO

from bfs_model.errors import BadInput


def main() -> None:
    """Answer requests until the standard input closes. `argv[1]` holds the limits as JSON."""
    limits = json.loads(sys.argv[1])
    # Whatever a library prints goes to stderr; only answers go to the pipe.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    module, _, name = limits["function"].partition(":")
    decode = getattr(import_module(module), name)
    for line in iter(_limited(limits), b""):
        request = json.loads(line)
        data = sys.stdin.buffer.read(request.pop("bytes"))
        _start_clock(limits)
        parts = _answer(decode, data, request)
        _stop_clock()
        for part in parts:
            _write(answers, part)


def _limited(limits: dict[str, Any]) -> Callable[[], bytes]:
    """Give up what a decoder has no use for: memory beyond the limit, and dumping core."""
    with open("/proc/self/statm", encoding="ascii") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    total = in_use + limits["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (total, total))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return sys.stdin.buffer.readline


def _start_clock(limits: dict[str, Any]) -> None:
    """From here on the kernel ends this process when it takes too long, whatever the decoder's C code is doing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + limits["cpu_s"])
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.setitimer(signal.ITIMER_REAL, limits["wall_s"])


def _stop_clock() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(decode: Callable[..., Any], data: bytes, request: dict[str, Any]) -> list[Any]:
    with_pixels = request.pop("pixels")
    try:
        image = decode(data, **request)
    except BadInput as error:
        return [_line({"error": [error.key, str(error.value), error.rule, error.remedy]})]
    except MemoryError:
        return [_line({"error": [request["key"], f"<{len(data)} bytes>", "cannot be decoded (MemoryError)", "scale it down"]})]
    if isinstance(image, bytes):
        return [_line({"bytes": len(image)}), image]
    height, width = image.rgb.shape[:2]
    head = _line({"height": height, "width": width, "alpha": image.alpha is not None})
    if not with_pixels:
        return [head]
    return [head, image.rgb.data] + ([] if image.alpha is None else [image.alpha.data])


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _write(pipe: BinaryIO, part: Any) -> None:
    view = memoryview(part).cast("B")
    while view.nbytes:
        view = view[pipe.write(view) :]


if __name__ == "__main__":
    main()
