"""Events that could not be delivered yet: one JSON object per line, the files they need beside it."""

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """An append-only queue in `path`. Survives the process; a line torn by a crash is skipped, the others are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.files = self.path.with_name(self.path.name + ".files")

    def __bool__(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def append(self, event: Event) -> None:
        """Add an event at the end. Raises `OSError` when the disk refuses."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The line end comes first as well, so that a torn last line cannot swallow this one.
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(event, ensure_ascii=True) + "\n")

    def keep_file(self, suffix: str) -> Path:
        """A fresh path beside the journal, for the content of an event; removed when the event is delivered."""
        self.files.mkdir(parents=True, exist_ok=True)
        return self.files / f"{uuid.uuid4().hex}{suffix}"

    def events(self) -> list[Event]:
        """All events, oldest first."""
        if not self:
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "op" in event:
                found.append(event)
        return found

    def replace(self, remaining: list[Event], done: list[Event]) -> None:
        """Keep only `remaining`, in one rename, and remove the files of `done`."""
        if remaining:
            temporary = self.path.with_name(self.path.name + ".partial")
            temporary.write_text("".join(json.dumps(event) + "\n" for event in remaining), encoding="utf-8")
            os.replace(temporary, self.path)
        else:
            self.path.unlink(missing_ok=True)
        for event in done:
            self.forget(event)

    def forget(self, event: Event) -> None:
        """Remove the file or directory that was kept for `event`."""
        if not event.get("kept"):
            return
        kept = Path(event["file"])
        if kept.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
        else:
            kept.unlink(missing_ok=True)
        if self.files.is_dir() and not any(self.files.iterdir()):
            self.files.rmdir()
