"""The docker: where the service is, what to draw, and how far it is."""

from __future__ import annotations

import os
from typing import Any, Callable

from krita import DockWidget, Krita
from PyQt5.QtWidgets import (
    QApplication,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from .picture import Unusable, below, box_of, insert, place_of
from .service import Service
from .task import Task

TITLE = "BFS"
_SETTINGS = "bfs"
_URL = "http://127.0.0.1:8000"
_LEAVE_MS = 5000


class Docker(DockWidget):
    """Draws into the active document, above its active layer, in the box of its selection."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle(TITLE)
        self._task: Task | None = None
        self._lay_out()
        QApplication.instance().aboutToQuit.connect(self.leave)
        self._idle("Select a place, describe the object, draw.")

    def canvasChanged(self, canvas: Any) -> None:
        """Krita asks for this; another canvas changes nothing here."""

    def draw(self) -> None:
        """Ask for a layer in the box of the selection."""
        document = Krita.instance().activeDocument()
        try:
            if document is None:
                raise Unusable("Open a picture to draw into")
            fields = {**self._fields(), "box": box_of(document)}
            place = place_of(document)
            background = below(document, place)
        except Unusable as error:
            self._idle(f"{error}.")
            return

        def work(service: Service, tell: Callable[[dict[str, Any]], Any]) -> Any:
            job = service.make("layers", {"background": background}, fields, tell)
            return job, service.result(job, "ora")

        self._start(work, lambda found: self._insert(document, place, *found))

    def check(self) -> None:
        """Ask the service what it serves."""

        def shown(models: list[dict[str, Any]]) -> None:
            self._idle("Connected. " + ", ".join(f"{model['name']} is {model['state']}" for model in models) + ".")

        self._start(lambda service, tell: service.models(), shown)

    def cancel(self) -> None:
        """Stop waiting; the document stays as it is, and the service gives up the job."""
        if self._task is not None:
            self._task.cancel()
            self._idle("Canceled.")

    def leave(self) -> None:
        """Cancel, and wait until the service knows: Krita ends, and threads must not outlive it."""
        task = self._task
        self.cancel()
        if task is not None:
            task.wait(_LEAVE_MS)

    def _insert(self, document: Any, place: Any, job: dict[str, Any], openraster: bytes) -> None:
        if document not in Krita.instance().documents():
            self._idle("The picture was closed meanwhile.")
            return
        if place is not None and place.parentNode() is None:  # somebody removed the layer
            place = place_of(document)
        number = insert(document, place, openraster)
        warnings = "".join(f" {warning}." for warning in job.get("warnings", []))
        self._idle(f"Drawn with seed {job['seed']}, {number} layer{'s' * (number > 1)}.{warnings}")

    def _start(self, work: Callable[..., Any], done: Callable[[Any], Any]) -> None:
        for name, field in (("url", self.url), ("key", self.key)):
            Krita.instance().writeSetting(_SETTINGS, name, field.text())
        task = Task(self.url.text(), self.key.text() or os.environ.get("BFS_API_KEY", ""), work)

        def while_wanted(act: Callable[[Any], Any]) -> Callable[[Any], None]:
            return lambda value: act(value) if self._task is task else None

        task.told.connect(while_wanted(self._show))
        task.done.connect(while_wanted(done))
        task.failed.connect(while_wanted(lambda reason: self._idle(reason if reason.endswith((".", "?")) else f"{reason}.")))
        self._task = task
        self._busy(True)
        self.progress.setRange(0, 0)
        self.message.setText("Asking the service …")
        task.start()

    def _show(self, job: dict[str, Any]) -> None:
        progress = job.get("progress")
        if progress:
            self.progress.setRange(0, progress["steps"])
            self.progress.setValue(progress["step"])
            self.message.setText(f"Drawing, step {progress['step']} of {progress['steps']}")
        elif job["status"] == "queued":
            self.message.setText(f"Waiting, {job.get('queue_position') or 0} in front")

    def _idle(self, message: str) -> None:
        self._task = None
        self._busy(False)
        self.progress.setRange(0, 1)
        self.progress.reset()
        self.message.setText(message)

    def _busy(self, busy: bool) -> None:
        self.draw_button.setEnabled(not busy)
        self.check_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)

    def _fields(self) -> dict[str, Any]:
        prompt, seed = self.prompt.toPlainText().strip(), self.seed.text().strip()
        if not prompt:
            raise Unusable("Describe the object in words")
        if seed and not (seed.isascii() and seed.isdigit() and int(seed) < 2**32):
            raise Unusable("The seed is not a whole number from 0 to 4294967295; leave it empty for another one each time")
        steps = self.steps.value() or None
        return {"prompt": prompt, "seed": int(seed) if seed else None, "steps": steps, "split_effects": self.split.isChecked()}

    def _lay_out(self) -> None:
        read = Krita.instance().readSetting
        self.url, self.key = QLineEdit(read(_SETTINGS, "url", _URL)), QLineEdit(read(_SETTINGS, "key", ""))
        self.key.setEchoMode(QLineEdit.Password)
        self.key.setPlaceholderText("none")
        self.prompt, self.seed, self.steps = QPlainTextEdit(), QLineEdit(), QSpinBox()
        self.prompt.setPlaceholderText("a large red glossy plastic sphere")
        self.prompt.setMaximumHeight(4 * self.fontMetrics().lineSpacing())
        self.prompt.setTabChangesFocus(True)
        self.seed.setPlaceholderText("another one each time")
        self.steps.setRange(0, 200)
        self.steps.setSpecialValueText("as the model likes")
        self.split = QCheckBox("Object and effects as a group")
        self.split.setChecked(True)
        self.draw_button, self.cancel_button, self.check_button = QPushButton("Draw"), QPushButton("Cancel"), QPushButton("Connect")
        self.draw_button.clicked.connect(self.draw)
        self.cancel_button.clicked.connect(self.cancel)
        self.check_button.clicked.connect(self.check)
        self.progress, self.message = QProgressBar(), QLabel()
        self.progress.setTextVisible(False)
        self.message.setWordWrap(True)
        form, buttons, page = QFormLayout(), QHBoxLayout(), QVBoxLayout()
        rows = (("&Service", self.url), ("&Key", self.key), ("&Prompt", self.prompt), ("S&eed", self.seed), ("S&teps", self.steps))
        for label, field in rows:
            form.addRow(label, field)
        for button in (self.draw_button, self.cancel_button, self.check_button):
            buttons.addWidget(button)
        page.addLayout(form)
        page.addWidget(self.split)
        page.addLayout(buttons)
        page.addWidget(self.progress)
        page.addWidget(self.message)
        page.addStretch()
        body = QWidget(self)
        body.setLayout(page)
        self.setWidget(body)
