"""Callers that ask a service without a pause, and see from each picture which model of the registry engine drew it."""

import io
import threading
import time
from dataclasses import dataclass, field

import httpx2
import numpy as np
from PIL import Image
from registry_engine import SLOW, picture_of

WIDTH, HEIGHT, BOX, SEED = 48, 32, (8, 4, 40, 28), 7
NUM_CALLERS = 3
WITHIN_S = 300.0


@dataclass
class Requests:
    """Callers that ask without a pause. `drawn`: for each answer the number of the model that drew it, in the order of arrival."""

    url: str
    drawn: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Requests":
        self._threads = [threading.Thread(target=self._ask) for _ in range(NUM_CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        fields = {"box": ",".join(map(str, BOX)), "prompt": "a ball", "seed": str(SEED)}
        out = io.BytesIO()
        Image.new("RGB", (WIDTH, HEIGHT)).save(out, "PNG")
        headers = {"Prefer": f"wait={WITHIN_S:g}", "Accept": "image/png"}
        with httpx2.Client(base_url=self.url, timeout=2 * WITHIN_S, trust_env=False) as client:
            while not self._stopping.is_set():
                answer = client.post("/v1/layers", files={"background": out.getvalue()}, data=fields, headers=headers)
                with self._answered:
                    if answer.status_code == 200:
                        self.drawn.append(number_of(answer.content))
                    else:
                        self.failures.append(f"{answer.status_code} {answer.text[:300]}")
                    self._answered.notify_all()

    def until_all_by(self, number: float) -> float:
        """Wait until every caller's next answers are of this model. Returns how many seconds that took."""
        since = time.monotonic()
        with self._answered:
            begin = len(self.drawn)

            def is_so() -> bool:
                last = self.drawn[begin:][-4 * NUM_CALLERS :]
                return bool(self.failures) or (len(last) == 4 * NUM_CALLERS and set(last) == {number})

            assert self._answered.wait_for(is_so, WITHIN_S), (number, self.drawn[-20:])
            assert self.failures == []
        return time.monotonic() - since


def number_of(png: bytes) -> float:
    """The model that drew a picture; none but whole pictures of one model are allowed."""
    picture = np.asarray(Image.open(io.BytesIO(png)))
    (number,) = [n for n in (1.0, 2.0, SLOW) if np.array_equal(picture, picture_of(n, WIDTH, HEIGHT, BOX, SEED))]
    return number
