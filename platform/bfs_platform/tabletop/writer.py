"""The on-disk layout of a tabletop set (RORem's), and the folder in which an unfinished one waits.

DIR/source/ID.png   with the object          DIR/mask/ID.png    white where the object is seen
DIR/GT/ID.png       without the object       DIR/effect/ID.png  white where it changes the picture elsewhere
DIR/meta.json       list of records          DIR/manifest.json  kind "source"
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.integrity import commit, staged
from bfs_platform.tabletop.sample import FOLDERS, VERSION, Request, Sample, name_of

KIND = "source"
_RECORDS = "records"
_REQUEST = "request.json"


class Partial:
    """Finished scenes of an unfinished set, in `.NAME.rendering` beside the output. Each scene's record is written last."""

    def __init__(self, output: Path, request: Request) -> None:
        self.output, self.request = output, request
        self.path = output.parent / f".{output.name}.rendering"

    @contextmanager
    def opened(self) -> Iterator["Partial"]:
        """Hold the folder alone; scenes that another request left there are removed first."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput("output", self.output, f"cannot be written ({error.strerror})", "choose another directory") from None
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput("output", self.output, "is being rendered by another process", "wait for it or choose another") from None
            self._claim()
            yield self

    def _claim(self) -> None:
        wanted = json.dumps(self.request.facts() | {"version": VERSION}, sort_keys=True)
        note = self.path / _REQUEST
        if not note.is_file() or note.read_text(encoding="utf-8") != wanted:
            note.unlink(missing_ok=True)
            for folder in (_RECORDS, *self.request.folders):
                shutil.rmtree(self.path / folder, ignore_errors=True)
        for folder in (_RECORDS, *self.request.folders):
            (self.path / folder).mkdir(exist_ok=True)
        _write(note, wanted.encode())

    def finished(self, num_scenes: int) -> set[int]:
        """The indices below `num_scenes` that are whole: the record can be read and every picture decodes."""
        return {index for index in range(num_scenes) if self._is_whole(index)}

    def _is_whole(self, index: int) -> bool:
        try:
            record = json.loads(self._record_path(index).read_text(encoding="utf-8"))
            for place in _pictures(record):
                with Image.open(self.path / place) as image:
                    image.load()
        except (OSError, ValueError, KeyError, SyntaxError):  # Pillow reports a broken PNG chunk as SyntaxError
            return False
        return True

    def add(self, sample: Sample) -> None:
        """Keep a scene; it counts as finished once its record is in place."""
        for folder, image in sample.images.items():
            _write(self.path / folder / f"{name_of(sample.index)}.png", image)
        _write(self._record_path(sample.index), json.dumps(sample.record).encode())

    def publish(self, num_scenes: int, notes: dict[str, Any]) -> Path:
        """Commit scenes 0 … `num_scenes` - 1 as the output, remove the folder, and return the manifest's path."""
        with staged(self.output, KIND) as staging:
            records = [json.loads(self._record_path(index).read_text(encoding="utf-8")) for index in range(num_scenes)]
            for folder in self.request.folders:
                (staging / folder).mkdir()
            for record in records:
                for place in _pictures(record):
                    shutil.copyfile(self.path / place, staging / place)
            (staging / "meta.json").write_text(_meta(records), encoding="utf-8")
            body = {"name": "tabletop", "licence": "CC0-1.0", "num_records": num_scenes, "version": VERSION}
            manifest = commit(staging, self.output, KIND, body | self.request.facts(), notes)
        shutil.rmtree(self.path)
        return manifest

    def _record_path(self, index: int) -> Path:
        return self.path / _RECORDS / f"{name_of(index)}.json"


def _pictures(record: dict[str, Any]) -> list[str]:
    """The places of all pictures of a scene."""
    return [*(record[folder] for folder in FOLDERS), *(edit["picture"] for edit in record.get("edits", {}).values())]


def _meta(records: list[dict[str, Any]]) -> str:
    """A JSON list with one record per line."""
    return "[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n"


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
