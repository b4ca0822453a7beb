"""Callers of a service whose processes are killed around them: what each asked for, what it was told, and what it got.

A caller waits out what passes (429, 503, 507, broken connections) and asks again under its key. Anything else that it is told is a
fault of the service, which it writes down before it goes on.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
from storm_wishes import SHARES, Wish

PASSING = (429, 503, 507)
MANNERS = {"look": 4, "wait": 3, "twice": 2, "again": 2, "follow": 4, "cancel": 2, "hang up": 1, "hang up and come back": 2}
_TRIES = 5  # a job may lose two workers and fail; under its key it is opened again


@dataclass
class Story:
    """One caller. `ids`: the jobs that it was told of, of which the last one counts; `view`: how that one ended."""

    wish: Wish
    manner: str
    key: str
    ids: list[str] = field(default_factory=list)
    view: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def job(self) -> str:
        return f"/v1/jobs/{self.ids[-1]}"


class Callers:
    """`count` callers of the service at `url`, `at_once` at a time; each gives up, with a fault, after `patience_s` without an answer."""

    def __init__(self, url: str, count: int, seed: int, patience_s: float, at_once: int = 10, num_tiny: int = 0) -> None:
        chance = random.Random(seed)
        kinds = chance.choices(list(SHARES), list(SHARES.values()), k=count - num_tiny) + ["tiny"] * num_tiny
        chance.shuffle(kinds)
        manners = chance.choices(list(MANNERS), list(MANNERS.values()), k=count)
        first = 1000 * chance.randrange(1000)
        self.stories = [
            Story(Wish(*told), manner, f"key-{told[1]}") for *told, manner in zip(kinds, range(first, first + count), manners, strict=True)
        ]
        self.num_done, self.longest_silence_s = 0, 0.0
        self.waited_out: Counter[str] = Counter()
        self._url, self._patience_s, self._chance, self._slots = url, patience_s, chance, asyncio.Semaphore(at_once)
        self._heard, self._one_is_done = 0.0, asyncio.Condition()

    async def run(self) -> None:
        """All callers, to their ends."""
        self._heard = time.monotonic()
        async with httpx2.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as self._client:
            await asyncio.gather(*map(self._told, self.stories))

    async def served(self, share: float) -> None:
        """Wait until such a share of all callers has had its end."""
        async with self._one_is_done:
            await self._one_is_done.wait_for(lambda: self.num_done >= share * len(self.stories))

    async def _told(self, story: Story) -> None:
        async with self._slots:
            try:
                await self._live(story)
            except Exception as error:
                story.faults.append(f"{type(error).__name__}: {error}")
            async with self._one_is_done:
                self.num_done += 1
                self._one_is_done.notify_all()

    async def _live(self, story: Story) -> None:
        if story.manner.startswith("hang up"):
            await self._hang_up(story)
            if story.manner == "hang up":
                return  # it has no key, so nobody can ask for its job
        for _ in range(_TRIES):
            await self._start(story)
            if story.manner == "cancel":
                await self._ask("DELETE", story.job, story)
            if story.manner == "follow":
                await self._follow(story)
            story.view = await self._end(story)
            if story.view.get("problem", {}).get("status", 0) < 500:
                break
        if story.view["status"] == "succeeded":
            story.result = (await self._ask("GET", f"{story.job}/result", story)).json()
        if story.manner == "again":
            told = [*story.ids]
            await self._start(story)
            if story.ids != told:
                story.faults.append(f"the key of {told} was drawn again as {story.ids[-1]}")

    async def _start(self, story: Story) -> None:
        """Have the wish taken on, by one request or by two at the same time."""
        num_requests = 2 if story.manner == "twice" else 1
        headers = {"Idempotency-Key": story.key} | ({"Prefer": "wait=20"} if story.manner == "wait" else {})
        asking = (self._ask("POST", story.wish.path, story, headers=headers, **story.wish.content()) for _ in range(num_requests))
        for answer in await asyncio.gather(*asking):
            if (told := answer.json()["id"]) not in story.ids:
                story.ids.append(told)

    async def _hang_up(self, story: Story) -> None:
        """Leave in the middle of it."""
        headers = {"Prefer": "wait=20"} | ({} if story.manner == "hang up" else {"Idempotency-Key": story.key})
        with contextlib.suppress(httpx2.HTTPError, TimeoutError):
            async with asyncio.timeout(self._chance.uniform(0.02, 0.6)):
                await self._client.post(story.wish.path, headers=headers, **story.wish.content())

    async def _ask(self, method: str, path: str, story: Story, **settings: Any) -> httpx2.Response:
        """Ask until there is a good answer."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            pause_s = 0.3
            try:
                answer = await self._client.request(method, path, **settings)
            except httpx2.HTTPError as error:
                self.waited_out[type(error).__name__] += 1
            else:
                if answer.status_code < 300:
                    self._hear()
                    return answer
                if answer.status_code in PASSING and "retry-after" in answer.headers:
                    self.waited_out[str(answer.status_code)] += 1
                    pause_s = min(float(answer.headers["retry-after"]), 1.0)
                else:
                    story.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(pause_s)
        raise TimeoutError(f"no answer to {method} {path} in {self._patience_s} s")

    async def _end(self, story: Story) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience_s
        while True:
            view: dict[str, Any] = (await self._ask("GET", story.job, story)).json()
            if "finished_at" in view:
                return view
            if time.monotonic() > deadline:
                raise TimeoutError(f"{story.job} is {view['status']} after {self._patience_s} s")
            await asyncio.sleep(0.2)

    async def _follow(self, story: Story) -> None:
        """Read events to the final one, leaving now and then; none may be missing, and none told twice."""
        last, deadline = 0, time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            leave_at = last + self._chance.randrange(1, 5)
            with contextlib.suppress(httpx2.HTTPError):
                async with self._client.stream("GET", f"{story.job}/events", headers={"Last-Event-ID": str(last)}) as answer:
                    if answer.status_code == 204:
                        return
                    if answer.status_code >= 300 and answer.status_code not in PASSING:
                        story.faults.append(f"GET {story.job}/events: {answer.status_code} {(await answer.aread())[:300]!r}")
                    async for line in answer.aiter_lines():
                        if line.startswith("id: "):
                            if int(line[4:]) != last + 1:
                                story.faults.append(f"event {line[4:]} of {story.job} came after {last}")
                            last = int(line[4:])
                            self._hear()
                        if last >= leave_at and not line:
                            break
            await asyncio.sleep(0.1)
        raise TimeoutError(f"the events of {story.job} never ended")

    def _hear(self) -> None:
        now = time.monotonic()
        self.longest_silence_s, self._heard = max(self.longest_silence_s, now - self._heard), now
