"""A plug-in of the tests, beside the one that is tested: plays the stories when Krita has its window, writes what it saw, and ends.

A story is a generator that yields what it waits for. Between two looks Krita has its own event loop back: in a nested one it would
put off what concerns its layers.
"""

import json
import os
import time
import traceback
from pathlib import Path

from krita import Extension, Krita
from PyQt5.QtCore import QTimer

from . import stories

FOLDER = Path(os.environ["BFS_DRIVER_FOLDER"])
WHAT = json.loads(os.environ["BFS_DRIVER"])
LIMIT_S, LOOK_MS = 120, 20


class Driver(Extension):
    """Plays once."""

    def setup(self):
        """Krita asks for this."""

    def createActions(self, window):
        """Krita has a window."""
        self._left = list(WHAT["stories"])
        QTimer.singleShot(1000, self.next_story)

    def next_story(self):
        """All stories in one Krita; a failing one says why and does not stop the next."""
        if not self._left:
            os._exit(0)  # a regular end asks whether documents shall be saved
        self._name = self._left.pop(0)
        self._story = getattr(stories, self._name)(WHAT, FOLDER)
        self.go_on()

    def go_on(self):
        """Until the next thing to wait for."""
        try:
            self._condition = next(self._story)
        except StopIteration as end:
            self.end_story(end.value)
        except Exception:
            self.end_story({"failed": traceback.format_exc()})
        else:
            self._until = time.monotonic() + LIMIT_S
            QTimer.singleShot(LOOK_MS, self.look)

    def look(self):
        """Is it there?"""
        if self._condition():
            self.go_on()
        elif time.monotonic() > self._until:
            self.end_story({"failed": f"waited too long in {self._story.gi_frame}"})
        else:
            QTimer.singleShot(LOOK_MS, self.look)

    def end_story(self, seen):
        """Keep what it saw."""
        (FOLDER / f"{self._name}.json").write_text(json.dumps(seen), encoding="utf-8")
        QTimer.singleShot(0, self.next_story)


Krita.instance().addExtension(Driver(Krita.instance()))
