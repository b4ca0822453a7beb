"""Killing processes of a running service, at random, and measuring how long it takes to be whole again."""

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping

import psutil

SAMPLER, INGRESS, PROXY, CONTROLLER = "ServeReplica:bfs:sampler", "ServeReplica:bfs:ingress", "ProxyActor", "ServeController"
_TWO_AT_ONCE = 0.25


def below(pid: int, name: str) -> Iterator[psutil.Process]:
    """The processes that `pid` started, and those started by them, whose command line holds `name`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in " ".join(process.cmdline()):
                    yield process


class Kills:
    """kill -9 to processes of a service, by name, and how long it takes to be whole again.

    `whole`: by name of a process, how many of them a service has that lacks nothing. `roots`: the pids below which it runs now.
    `answers`: whether it would draw a layer. `others`: what else is done to it, by name. `recovery_s`: by what was done, how long
    it took to be whole again.
    """

    def __init__(
        self,
        whole: Mapping[str, int],
        roots: Callable[[], list[int]],
        answers: Callable[[], Awaitable[bool]],
        seed: int,
        others: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
    ) -> None:
        self._whole, self._roots, self._answers = whole, roots, answers
        self._chance, self._others = random.Random(seed), dict(others or {})
        self.recovery_s: dict[str, list[float]] = defaultdict(list)

    async def kill(self, name: str) -> None:
        """One process of this name, as soon as there is one."""
        while not (victims := await asyncio.to_thread(self._processes, name)):
            await asyncio.sleep(0.2)
        with contextlib.suppress(psutil.NoSuchProcess):
            self._chance.choice(victims).kill()

    async def until_whole(self) -> None:
        """Wait until nothing is missing, and it would draw."""
        while not (await asyncio.to_thread(self._is_complete) and await self._answers()):
            await asyncio.sleep(0.2)

    async def run(self, pause_s: float) -> None:
        """Until canceled: one or two at once, drawn from all there are, some `pause_s` after it was whole again."""
        turns = [*self._others]  # what happens rarely comes first, so that a short storm has it as well
        while True:
            await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            done = []
            for _ in range(1 + (self._chance.random() < _TWO_AT_ONCE)):
                turns = turns or self._chance.sample(every := [*self._whole, *self._others], len(every))
                done.append(turns.pop())
                await self._do(done[-1])
            begin = time.monotonic()
            await self.until_whole()
            self.recovery_s[" and ".join(sorted(done))].append(round(time.monotonic() - begin, 1))

    async def _do(self, name: str) -> None:
        if name in self._others:
            await self._others[name]()
        elif victims := await asyncio.to_thread(self._processes, name):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._chance.choice(victims).kill()

    def _is_complete(self) -> bool:
        return all(len(self._processes(name)) >= number for name, number in self._whole.items())

    def _processes(self, name: str) -> list[psutil.Process]:
        return [process for pid in self._roots() for process in below(pid, name)]
