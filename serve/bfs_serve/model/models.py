"""The models of a worker: which versions are published, which are loaded, and the follower that finds and tries new ones.

One worker at a time follows a name. It loads a new version beside the old, draws its smoke picture, and then publishes it; from
then on new orders are pinned to it, and the other workers load it. A version that fails is remembered, and the old one
stays; so is one whose loading ends the process, which cannot say so itself: what is begun is written down before. What is no
fault of the version (`model.passing`) is tried again, after longer and longer pauses.
A candidate is loaded and tried in the same way, and then watched: see `model.trials`.
"""

import asyncio
import contextlib
import gc
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.picture.images import png_bytes
from bfs_serve.job.engine import Engine, ModelInfo, Pin, Request, Settings
from bfs_serve.model.canary import TRIED, is_over, untried
from bfs_serve.model.passing import Pauses, is_out_of_memory, passes
from bfs_serve.model.trials import Candidates, RegistryCandidates, Trials
from bfs_serve.model.turns import turn
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.telemetry import amounts
from bfs_serve.telemetry.amounts import Tally
from bfs_serve.telemetry.logs import log

_HISTORY = 8  # versions of a name whose orders may still be on their way
_FAILED = 16
_NOTHING: dict[str, Any] = {"history": {}, "failed": {}}  # what is known of a name under which nothing is published
_MAX_TRIES = 2  # processes that may end while they load a version; what ends two would end a third
_LOOK_S = 10.0  # what was published is looked for at least so often
_LEAST_LEASE_S = 5.0
SMOKE_SEED = 7
SMOKE_SIZE = (64, 64)


class Models:
    """`names`: what is served. `engine_cls` loads them. At most `max_loaded` engines are kept, those longest unused go first."""

    def __init__(
        self,
        names: Sequence[str],
        engine_cls: type[Engine],
        store: JobStore,
        blobs: Blobs,
        worker: str,
        follow_s: float,
        max_loaded: int = 3,
        candidates: Candidates | None = None,
    ) -> None:
        self.names = tuple(names)
        self.tally = Tally()
        self._engine_cls, self._store, self._blobs, self._worker = engine_cls, store, blobs, worker
        self._follow_s, self._max_loaded = follow_s, max(max_loaded, 2 * len(self.names) + 1)
        self._period_s = min(follow_s or _LOOK_S, _LOOK_S)
        self._lease_s = max(_LEAST_LEASE_S, 3 * self._period_s)
        self._engines: OrderedDict[tuple[str, str], Engine] = OrderedDict()
        self._loading = asyncio.Lock()
        self._pauses = Pauses()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._trials = Trials(candidates or RegistryCandidates(), store, blobs, engine_cls.locate, self._tried)

    def take_over(self, other: "Models") -> None:
        """Keep what another one had loaded."""
        self._engines, self._loading, self.tally = other._engines, other._loading, other.tally
        self._trials.take_over(other._trials)

    async def start(self) -> None:
        """Have every served model loaded: the published version, or, where that is no more, the one that its name means now.

        Raises what loading raises.
        """
        for name in self.names:
            while not await self._is_there(name):
                if await self._may_follow(name):
                    await self._follow(name, first=True)
                else:
                    await asyncio.sleep(0.2)

    async def run(self) -> None:
        """Keep to what the names mean, until canceled."""
        due: dict[str, float] = {}
        while True:
            await asyncio.sleep(self._period_s)
            for name in self.names:
                try:
                    if self._follow_s and not self._pauses.is_resting(name) and await self._may_follow(name):
                        if (is_due := time.monotonic() >= due.get(name, 0.0)) or await self._trials.is_under_way(name):
                            await self._follow(name)
                            await self._trials.advance(name)
                        if is_due:
                            due[name] = time.monotonic() + self._follow_s - self._period_s / 2
                        self._pauses.went_well(name)
                    if not await self._is_loaded(name) and await self._may_follow(name):  # it was added since the start
                        await self._follow(name)
                except Exception as error:
                    pause_s = self._pauses.failed(name) if passes(error) else 0.0
                    told = f"{type(error).__name__}: {error}"[:500]
                    log.error("model is not followed for now", model=name, error=told, pause_s=pause_s)

    async def close(self) -> None:
        """Load nothing more, and let others follow at once."""
        await self._trials.close()
        for name in self.names:
            await self._store.let_go(f"follow:{name}", self._worker)

    async def engine(self, name: str, version: str) -> Engine:
        """The engine of a version, loaded if need be; what is there does not wait for another's loading. Raises what loading raises."""
        key = name, version
        if key not in self._engines:
            async with self._loading:
                if key not in self._engines:
                    self._keep(key, await self._load(name, Pin(await self._uri(name, version), version)))
        self._engines.move_to_end(key)
        return self._engines[key]

    def _keep(self, key: tuple[str, str], engine: Engine) -> None:
        """Have an engine at hand, as the one used last; those longest unused go."""
        self._engines[key] = engine
        self._engines.move_to_end(key)
        while len(self._engines) > self._max_loaded:
            self._engines.popitem(last=False)

    async def _uri(self, name: str, version: str) -> str:
        published = await self._store.published()
        history = published[name][1]["history"] if name in published else {}
        return str(history.get(version, name))

    async def _load(self, name: str, pin: Pin) -> Engine:
        began = time.perf_counter()
        while len(self._engines) >= self._max_loaded:  # before: two more than there is room for would be there at once
            self._engines.popitem(last=False)
        try:
            engine = await asyncio.get_running_loop().run_in_executor(self._thread, self._engine_cls, name, pin)
        except Exception as error:
            if not is_out_of_memory(error) or len(self._engines) < 2:
                raise
            self._keep_in_use(name, pin)
            engine = await asyncio.get_running_loop().run_in_executor(self._thread, self._engine_cls, name, pin)
        seconds = time.perf_counter() - began
        log.info("loaded", model=name, version=pin.version[:12], seconds=round(seconds, 3))
        self.tally.add(amounts.of_seconds(amounts.LOAD_SECONDS, seconds))
        return engine

    def _keep_in_use(self, name: str, pin: Pin) -> None:
        """Let go of all engines but the one used last: there is no room for another one."""
        log.warning("no memory for a model: others are let go", model=name, version=pin.version[:12], kept=next(reversed(self._engines)))
        while len(self._engines) > 1:
            self._engines.popitem(last=False)
        gc.collect()  # what refers to itself would stay until later

    async def _is_loaded(self, name: str) -> bool:
        """Load the published version, and what is tried beside it. Returns whether there is one."""
        version, body = (await self._store.published()).get(name, ("", {}))
        if not version:
            return False
        await self.engine(name, version)
        trial = body.get("canary")
        if trial and not is_over(trial):
            try:
                await self.engine(name, trial["version"])
            except Exception as error:  # what is served is there; jobs of the candidate fail, and whoever watches it sees that
                told = f"{type(error).__name__}: {error}"[:500]
                log.error("candidate is not loaded", model=name, version=trial["version"][:12], error=told)
        return True

    async def _is_there(self, name: str) -> bool:
        """As `_is_loaded`; False as well where the published version was replaced, or is gone, since a service ran last."""
        try:
            return await self._is_loaded(name)
        except Exception as error:
            version, _ = (await self._store.published())[name]
            pin = await asyncio.to_thread(self._engine_cls.locate, name)
            if pin.version == version:
                raise
            told = f"{type(error).__name__}: {error}"[:500]
            log.warning("published version is no more", model=name, version=version[:12], error=told, instead=pin.version[:12])
            return False

    async def _may_follow(self, name: str) -> bool:
        return await self._store.hold(f"follow:{name}", self._worker, self._lease_s)

    @contextlib.asynccontextmanager
    async def _kept(self, name: str) -> AsyncIterator[None]:
        """Stay the one who follows a name, however long that takes. The lease is short: when its holder dies, another one goes on."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(self._lease_s / 3)
                with contextlib.suppress(Exception):  # the store is away: the lease may outlast that
                    await self._may_follow(name)

        keeper = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeper.cancel()

    @contextlib.asynccontextmanager
    async def _noted(self, name: str, tried: str) -> AsyncIterator[None]:
        """Have it written down that a version is being tried; who is told to stop meanwhile, or fails for no fault of it, takes that back.

        Raises `RuntimeError` when processes ended at it before.
        """
        _, body = (await self._store.published()).get(name, ("", _NOTHING))
        tries = body.get(TRIED, {}).get(tried, 0)
        if tries >= _MAX_TRIES:
            raise RuntimeError(f"{tries} processes ended while they loaded it; see the log of the service")
        await self._store.note(name, TRIED, {tried: tries + 1}, _NOTHING)
        try:
            yield
        except (asyncio.CancelledError, Exception) as error:
            if not isinstance(error, Exception) or passes(error):
                with contextlib.suppress(Exception):
                    await self._store.note(name, TRIED, None, _NOTHING)
            raise

    async def _follow(self, name: str, first: bool = False) -> None:
        """Find out what `name` means; load, try and publish it when that is new."""
        version, body = (await self._store.published()).get(name, ("", dict(_NOTHING)))
        pin = await asyncio.to_thread(self._engine_cls.locate, name)
        if pin.version == version or (pin.version in body["failed"] and not first):
            return
        body = untried(body)
        try:
            if pin.version in body["history"] and (name, pin.version) in self._engines:
                engine, smoke = await self._at_hand(name, pin)
            else:
                engine, smoke = await self._tried(name, pin)
        except Exception as error:
            if passes(error):
                raise
            failed = {**body["failed"], pin.version: f"{type(error).__name__}: {error}"[:500]}
            await self._store.publish(name, version, body | {"failed": dict(list(failed.items())[-_FAILED:])})
            if first:
                raise
            log.error("version cannot be served, the old one stays", model=name, version=pin.version[:12], error=failed[pin.version])
            return
        history = {**body["history"], pin.version: pin.uri}
        shown = {"history": dict(list(history.items())[-_HISTORY:]), "failed": body["failed"], "info": asdict(engine.info)}
        shown["smoke"] = await asyncio.to_thread(self._blobs.put, smoke)
        if (trial := body.get("canary")) and trial["told"]:  # one that goes on was watched beside another champion
            shown["canary"] = trial
        await self._store.publish(name, pin.version, shown)
        log.info("serving", model=name, version=pin.version[:12])

    async def _at_hand(self, name: str, pin: Pin) -> tuple[Engine, bytes]:
        """As `_tried`, of a version that is here since it was served before: it waits for no loading, so a rollback is quick."""
        engine = self._engines[name, pin.version]
        smoke = await asyncio.to_thread(smoke_picture, engine)
        self._keep((name, pin.version), engine)
        return engine, await asyncio.to_thread(png_bytes, smoke)

    async def _tried(self, name: str, pin: Pin) -> tuple[Engine, bytes]:
        """A version that has drawn its smoke picture, and that as PNG. Raises what is wrong with it."""
        async with self._kept(name), self._loading, self._noted(name, pin.version):
            engine = self._engines.get((name, pin.version)) or await self._load(name, pin)
            smoke = await asyncio.get_running_loop().run_in_executor(self._thread, smoke_picture, engine)
            self._keep((name, pin.version), engine)
        return engine, await asyncio.to_thread(png_bytes, smoke)


def smoke_picture(engine: Engine) -> Image.Image:
    """One layer by this engine on a plain picture. Raises `RuntimeError` when it is not one, or shows nothing at all."""
    side, _ = SMOKE_SIZE
    ramp = np.linspace(90, 200, side, dtype=np.uint8)
    background = Image.fromarray(np.repeat(np.tile(ramp, (side, 1))[..., None], 3, axis=2))
    words = engine.info.vocabulary or {}
    prompt = " ".join(values[0] for values in words.values()) or "a red ball"
    request = Request(background, (12, 12, 52, 52), prompt, SMOKE_SEED)
    with turn(engine):
        (drawn,) = engine.draw([request], Settings(steps=2), lambda done, total, preview: None, lambda: False)
    if drawn.layer.mode != "RGBA" or drawn.layer.size != background.size:
        raise RuntimeError(f"the smoke picture is {drawn.layer.mode} {drawn.layer.size}")
    if not np.asarray(drawn.layer.getchannel("A")).any():
        raise RuntimeError("the smoke picture is empty")
    return drawn.layer


def info_of(published: tuple[str, dict[str, Any]]) -> ModelInfo | None:
    """What callers see of a published model."""
    version, body = published
    return ModelInfo(**{**body["info"], "capabilities": tuple(body["info"]["capabilities"])}) if version else None
