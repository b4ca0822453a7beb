"""Candidates on their way: found in the registry, loaded and tried, watched on a share of the jobs, and taken back or promoted.

The worker that follows a name does this, one look after the other; what it knows stands with the published model, so another one can go
on. What is decided holds for new jobs at once; the registry is told until it has heard it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from bfs_platform.registry.spec import CanarySpec
from bfs_serve.job.engine import Engine, Pin
from bfs_serve.model.canary import BACK, WAIT, judge, untried
from bfs_serve.model.passing import passes
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.versions import Seen
from bfs_serve.telemetry.logs import log

_REGISTRY = "models:/"
_PATIENCE_S = 2.0
WITHDRAWN = "withdrawn in the registry"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is to be tried: `uri` beside the champion `champion_uri`. `key`: what its source knows it by, plain data."""

    uri: str
    champion_uri: str
    rules: CanarySpec
    key: dict[str, Any]


class Candidates(Protocol):
    """Where candidates come from, and where it is told how they did. Blocking."""

    def find(self, name: str) -> Candidate | None:
        """What is to be tried under a served name."""

    def settle(self, key: dict[str, Any], good: bool, reason: str) -> str:
        """Promote, or forget. Returns the verdict in words. May be asked again for the same."""


class RegistryCandidates:
    """Those of the model registry; names that are not followed there have none."""

    def find(self, name: str) -> Candidate | None:
        """See `Candidates`."""
        if not name.startswith(_REGISTRY) or "@" not in name:
            return None
        from bfs_platform.registry.canary import find_trial
        from bfs_platform.registry.store import Reference

        reference = Reference.parse(name)
        trial = find_trial(reference.name, str(reference.alias))
        return None if trial is None else Candidate(trial.uri, trial.champion_uri, trial.rules, asdict(trial) | {"rules": None})

    def settle(self, key: dict[str, Any], good: bool, reason: str) -> str:
        """See `Candidates`."""
        from bfs_platform.registry.canary import Trial, settle

        return settle(Trial(**key | {"rules": CanarySpec()}), good, reason)


class Trials:
    """`tried(name, pin)` loads a version and draws its smoke picture, as PNG; it raises what is wrong with it."""

    def __init__(
        self,
        source: Candidates,
        store: JobStore,
        blobs: Blobs,
        locate: Callable[[str], Pin],
        tried: Callable[[str, Pin], Coroutine[Any, Any, tuple[Engine, bytes]]],
    ) -> None:
        self._source, self._store, self._blobs, self._locate, self._tried = source, store, blobs, locate, tried
        self._loading: dict[str, tuple[Pin, asyncio.Task[tuple[Engine, bytes]]]] = {}

    async def is_under_way(self, name: str) -> bool:
        """Whether a candidate of this name is loaded or watched, or a verdict is to be told."""
        _, body = (await self._store.published()).get(name, ("", {}))
        return self._is_loading(name) or bool((trial := body.get("canary")) and not trial["told"])

    def take_over(self, other: "Trials") -> None:
        """Keep what another one had begun to load."""
        self._loading = other._loading

    async def close(self) -> None:
        """Load nothing more."""
        tasks = [loading for _, loading in self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loading.clear()

    def _is_loading(self, name: str) -> bool:
        return name in self._loading and not self._loading[name][1].done()

    async def advance(self, name: str) -> None:
        """One step of the trial under a name, if there is one."""
        version, body = (await self._store.published()).get(name, ("", {}))
        body = untried(body)
        trial = body.get("canary")
        if not version:
            return
        if trial and trial["verdict"] and not trial["told"]:
            await self._tell(name, version, body)
            return
        candidate = await asyncio.to_thread(self._source.find, name)
        if candidate is None:
            if name in self._loading and not self._is_loading(name):
                _heard(self._loading.pop(name)[1])
            if trial and not trial["told"]:
                await self._end(name, version, body, False, WITHDRAWN)
            return
        pin, champion = await asyncio.to_thread(lambda: (self._locate(candidate.uri), self._locate(candidate.champion_uri)))
        if champion.version != version:  # its champion is not served yet, or cannot be
            return
        if not trial or trial["told"] or trial["version"] != pin.version:
            await self._begin(name, version, body, candidate, pin)
            return
        await self._watch(name, version, body, candidate)

    async def _begin(self, name: str, version: str, body: dict[str, Any], candidate: Candidate, pin: Pin) -> None:
        rules = candidate.rules
        trial = {"version": pin.version, "key": candidate.key, "share": rules.share, "since": time.time(), "verdict": None, "told": False}
        if pin.version == version:
            begun = body | {"canary": trial | {"info": body["info"], "before": {}}}
            await self._end(name, version, begun, True, "it is the champion already")
            return
        loading = await self._loaded(name, pin)
        if loading is None:
            return
        version_now, body = (await self._store.published())[name]
        if version_now != version:  # the champion is another one since the loading began
            _heard(loading)
            return
        body = untried(body)
        try:
            engine, smoke = loading.result()
        except Exception as error:
            if passes(error):
                raise
            begun = body | {"canary": trial | {"info": None, "before": {}}}
            await self._end(name, version, begun, False, f"it cannot be served: {type(error).__name__}: {error}"[:500])
            return
        before = await self._store.seen([version, pin.version])
        kept = await asyncio.to_thread(self._blobs.put, smoke)
        about = {"info": asdict(engine.info), "smoke": kept, "before": {key: asdict(value) for key, value in before.items()}}
        await self._store.publish(name, version, body | {"canary": trial | about, "history": body["history"] | {pin.version: pin.uri}})
        log.info("a candidate is tried", model=name, version=pin.version[:12], share=rules.share)

    async def _loaded(self, name: str, pin: Pin) -> "asyncio.Task[tuple[Engine, bytes]] | None":
        """The loading of a candidate once it is over; None for now, where it takes long: nobody else waits for it meanwhile."""
        begun, loading = self._loading.get(name) or (pin, asyncio.create_task(self._tried(name, pin)))
        self._loading[name] = begun, loading
        await asyncio.wait({loading}, timeout=_PATIENCE_S)
        if not loading.done():
            return None
        del self._loading[name]
        return loading if begun == pin else None

    async def _watch(self, name: str, version: str, body: dict[str, Any], candidate: Candidate) -> None:
        trial = body["canary"]
        found = await self._store.seen([version, trial["version"]])
        champion, ours = (found[key].since(Seen(**trial["before"].get(key, {}))) for key in (version, trial["version"]))
        decision = judge(candidate.rules, champion, ours, time.time() - trial["since"])
        if decision.action != WAIT:
            await self._end(name, version, body, decision.action != BACK, decision.reason)

    async def _end(self, name: str, version: str, body: dict[str, Any], good: bool, reason: str) -> None:
        """Write the verdict down, so that it holds for new jobs; then tell the registry."""
        taken_back = {} if good or reason == WITHDRAWN else {"taken_back_at": time.time()}
        trial = body["canary"] | {"verdict": {"good": good, "reason": reason} | taken_back}
        decided = body | {"canary": trial}
        if good:
            await self._store.publish(name, version, decided)
        else:
            moved = await self._store.take_back(name, version, decided, trial["version"])
            log.error("a candidate is taken back", model=name, version=trial["version"][:12], reason=reason, jobs_passed_on=moved)
        await self._tell(name, version, decided)

    async def _tell(self, name: str, version: str, body: dict[str, Any]) -> None:
        trial = body["canary"]
        good, reason = trial["verdict"]["good"], trial["verdict"]["reason"]
        said = await asyncio.to_thread(self._source.settle, trial["key"], good, reason)
        told = trial | {"told": True, "verdict": trial["verdict"] | {"good": said.startswith("promoted"), "reason": said}}
        await self._store.publish(name, version, body | {"canary": told})
        log.info("a trial is over", model=name, version=trial["version"][:12], verdict=said)


def _heard(loading: "asyncio.Task[tuple[Engine, bytes]]") -> None:
    """What a loading that nobody needs any more failed of is no news."""
    if not loading.cancelled():
        loading.exception()
