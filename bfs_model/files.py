"""Files appear whole or not at all."""

import os
import uuid
from pathlib import Path

from bfs_model.errors import BadInput


def write_whole(path: Path | str, data: bytes, *, key: str = "output") -> Path:
    """Write `data` to `path` through a temporary file beside it and a rename, so that nobody ever sees half of it.

    An existing file is replaced. Raises `BadInput` with `key` when the path cannot be written; `OSError` when the disk
    is full or fails. In both cases what was there before is untouched.
    """
    target = writable(path, key=key)
    temporary = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except (PermissionError, FileNotFoundError) as error:  # no such folder any more, or none that holds files, such as /proc
        raise BadInput(key, path, f"cannot be written ({error.strerror})", "choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target


def writable(path: Path | str, *, key: str = "output") -> Path:
    """Check, before any work is done, that a file may be written at `path`; follows a symbolic link. Raises `BadInput`."""
    try:
        target = Path(path).expanduser().resolve()
        if target.is_dir():
            raise BadInput(key, path, "is a folder", "give the path of a file")
        if target.exists() and not target.is_file():
            raise BadInput(key, path, "is not a regular file", "give the path of a file")
        if not target.parent.is_dir():
            raise BadInput(key, path, "lies in a folder that does not exist", f"create {target.parent} first")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise BadInput(key, path, "lies in a folder that cannot be written", "choose another place")
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links
        raise BadInput(key, path, f"is not a usable path ({error})", "choose another one") from None
    except ValueError as error:  # a NUL byte in the path
        if isinstance(error, BadInput):
            raise
        raise BadInput(key, path, f"is not a usable path ({error})", "choose another one") from None
    return target
