"""An engine does one thing at a time: what a worker draws, or the smoke picture of who follows its name."""

import threading
from weakref import WeakKeyDictionary

from bfs_serve.job.engine import Engine

_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_making = threading.Lock()


def turn(engine: Engine) -> threading.Lock:
    """Held by whoever draws with `engine`: settings of a call lie on the model while it lasts, and another would take them for its own."""
    with _making:
        return _turns.setdefault(engine, threading.Lock())
