"""Following what a model's name means: published only after it was tried, remembered when it fails, one follower at a time."""

import asyncio
import contextlib
import errno
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from nodes import free_port

from bfs_model.errors import BadInput
from bfs_platform.registry.store import Unreachable
from bfs_serve.app import AppArgs
from bfs_serve.job.engine import Pin
from bfs_serve.model.fake import FakeEngine
from bfs_serve.model.models import Models, info_of
from bfs_serve.model.passing import Pauses, passes
from bfs_serve.model.sampler import load_engine
from bfs_serve.runtime import Address, check
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

from .followers import Counting, held_up, loads, play, version_of


def test_the_first_version_is_tried_and_published_once(tmp_path: Path) -> None:
    """The other worker loads what was published."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        version, body = await version_of(store)
        assert version == "v1" and loads == ["v1", "v1"] and len(body["smoke"]) == 64
        info = info_of((version, body))
        assert info is not None and info.capabilities == ("reference",)

    play(tmp_path, story)


def test_a_new_version_is_published_when_it_has_drawn(tmp_path: Path) -> None:
    """Orders of the old one can still be drawn: it stays loaded."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        following = [asyncio.create_task(models.run()) for models in (first, second)]
        file.write_text("v2")
        while (await version_of(store))[0] != "v2":
            await asyncio.sleep(0.02)
        while not all((models.names[0], "v2") in models._engines for models in (first, second)):  # begun is not loaded
            await asyncio.sleep(0.02)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        assert sorted(loads) == ["v1", "v1", "v2", "v2"]
        engines = [await models.engine(models.names[0], version) for models in (first, second) for version in ("v1", "v2")]
        assert [engine.info.version for engine in engines] == ["v1", "v2", "v1", "v2"] and len(loads) == 4

    play(tmp_path, story)


def test_followed_versions_do_not_pile_up(tmp_path: Path) -> None:
    """The follower keeps as many engines as it may, the newest; one that is needed again is loaded again."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        await second.close()
        following = asyncio.create_task(first.run())
        for number in range(2, 7):
            file.write_text(f"v{number}")
            while (await version_of(store))[0] != f"v{number}":
                await asyncio.sleep(0.02)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert [version for _, version in first._engines] == ["v4", "v5", "v6"]
        assert (await first.engine(first.names[0], "v1")).info.version == "v1" and len(first._engines) == 3

    play(tmp_path, story)


def test_what_is_loaded_waits_for_no_loading(tmp_path: Path) -> None:
    """Jobs of the version that is served go on while a new one is loaded and tried."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        begun, go_on = threading.Event(), threading.Event()
        first._engine_cls = held_up(begun, go_on)
        await second.close()
        file.write_text("v2")
        following = asyncio.create_task(first.run())
        try:
            await asyncio.to_thread(begun.wait)
            assert (await asyncio.wait_for(first.engine(first.names[0], "v1"), 30)).info.version == "v1"
        finally:
            go_on.set()
        while (await version_of(store))[0] != "v2":
            await asyncio.sleep(0.02)
        following.cancel()

    play(tmp_path, story)


def test_a_name_that_is_added_is_loaded_where_nothing_is_followed(tmp_path: Path) -> None:
    """With `follow_s=0` versions stay, but what is served may change while the service runs."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        await second.close()
        more = Models([*first.names, "fake"], Counting, store, Blobs(str(tmp_path / "blobs")), "a", follow_s=0)
        more.take_over(first)
        more._period_s = 0.05
        file.write_text("v2")
        running = asyncio.create_task(more.run())
        while "fake" not in await store.published():
            await asyncio.sleep(0.02)
        running.cancel()
        assert (await store.published())[first.names[0]][0] == "v1" and "v2" not in loads

    play(tmp_path, story)


def test_smoke_pictures_are_in_use(tmp_path: Path) -> None:
    """Those of published versions; what nobody names may be swept."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        smoke = (await version_of(store))[1]["smoke"]
        assert await store.used({smoke, "0" * 64}) == {smoke}

    play(tmp_path, story)


def test_a_version_that_fails_is_remembered_and_the_old_one_stays(tmp_path: Path) -> None:
    """It is loaded once, however often its name is looked at, and callers can see why it is not served."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        following = [asyncio.create_task(models.run()) for models in (first, second)]
        file.write_text("broken-v2")
        while "broken-v2" not in (await version_of(store))[1]["failed"]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        version, body = await version_of(store)
        assert version == "v1" and "made to fail" in body["failed"]["broken-v2"] and loads.count("broken-v2") == 1

    play(tmp_path, story)


def test_a_version_is_not_blamed_for_a_full_disk(tmp_path: Path) -> None:
    """It is tried again after a pause, and served once there is room; not at every look."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        full = True

        class Full(Counting):
            def __init__(self, name: str, pin: Pin) -> None:
                super().__init__(name, pin)
                if full:
                    raise OSError(errno.ENOSPC, "No space left on device")

        await second.close()
        first._engine_cls = Full
        file.write_text("v2")
        following = asyncio.create_task(first.run())
        while "v2" not in loads:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        version, body = await version_of(store)
        assert version == "v1" and not body["failed"] and loads.count("v2") == 1 and first._pauses.is_resting(first.names[0])
        full = False
        first._pauses = Pauses()  # the pause is over
        while (await version_of(store))[0] != "v2":
            await asyncio.sleep(0.02)
        following.cancel()

    play(tmp_path, story)


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """From ten seconds to forty, so that a rollback is heard of within a minute; what went well begins anew."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pauses, lengths = Pauses(), []
    for _ in range(7):
        lengths.append(pauses.failed("a"))
        assert pauses.is_resting("a") and not pauses.is_resting("b")
        now += lengths[-1]
        assert not pauses.is_resting("a")
    assert lengths == [10, 20, 40, 40, 40, 40, 40]
    pauses.went_well("a")
    assert pauses.failed("a") == 10


_KILLER = """
import asyncio, os, sys
from bfs_serve.model.fake import FakeEngine
from bfs_serve.model.models import Models
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

class Killer(FakeEngine):
    def __init__(self, name, pin):
        if pin.version == "killer":
            os.kill(os.getpid(), 9)
        super().__init__(name, pin)

async def main(store, blobs, name):
    models = Models([name], Killer, JobStore(store), Blobs(blobs), str(os.getpid()), follow_s=0.05)
    models._lease_s = 0.01  # its death is noticed at once
    await models.start()
    await models.run()

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_version_that_ends_its_process_is_loaded_twice_at_most(tmp_path: Path) -> None:
    """Two processes die of it; the third one remembers it as failed, and serves the old version."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        for worker in (first, second):
            await worker.close()  # whoever of them followed
        file.write_text("killer")
        (name,) = first.names
        for _ in range(2):
            places = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLER, *places, name)
            assert await child.wait() == -signal.SIGKILL
        loads.clear()
        following = asyncio.create_task(second.run())
        while "killer" not in (await version_of(store))[1]["failed"]:
            await asyncio.sleep(0.02)
        following.cancel()
        version, body = await version_of(store)
        assert version == "v1" and "2 processes ended" in body["failed"]["killer"] and "killer" not in loads

    play(tmp_path, story)


def test_a_worker_that_is_stopped_while_it_loads_is_no_failure(tmp_path: Path) -> None:
    """What it had begun is taken back."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        begun, go_on = threading.Event(), threading.Event()
        first._engine_cls = held_up(begun, go_on)
        for worker in (first, second):
            await worker.close()  # whoever of them followed
        file.write_text("v2")
        following = asyncio.create_task(first.run())
        await asyncio.to_thread(begun.wait)
        assert (await version_of(store))[1]["tried"] == {"v2": 1}
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        go_on.set()
        assert "tried" not in (await version_of(store))[1]

    play(tmp_path, story)


class Away(FakeEngine):
    """An engine whose registry does not answer."""

    @classmethod
    def locate(cls, name: str) -> Pin:
        raise Unreachable("registry", "http://mlflow", "cannot be reached", "check it")


def test_a_worker_starts_while_the_registry_is_away(tmp_path: Path) -> None:
    """With the version that is published: its weights lie in the node's cache. It goes on without following."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        third = Models(first.names, Away, store, Blobs(str(tmp_path / "blobs")), "c", follow_s=0.05)
        await third.start()
        following = asyncio.create_task(third.run())
        await asyncio.sleep(0.3)
        assert (await third.engine(third.names[0], "v1")).info.version == "v1" and not following.done()
        following.cancel()

    play(tmp_path, story)


def test_a_service_starts_again_while_the_registry_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it served before; a model that it never had is refused."""
    monkeypatch.delenv("BFS_API_KEYS_FILE", raising=False)
    places = {"store": str(tmp_path / "jobs.db"), "blobs": str(tmp_path / "blobs"), "engine": f"{Away.__module__}:Away"}
    monkeypatch.setattr("bfs_serve.model.sampler.load_engine", lambda path: Away)
    with contextlib.closing(JobStore(places["store"])) as store:
        asyncio.run(store.publish("models:/bfs@champion", "v1", {}))
    check(AppArgs(model="models:/bfs@champion", **places), Address(port=free_port()))
    with pytest.raises(Unreachable):
        check(AppArgs(model="models:/bfs@other", **places), Address(port=free_port()))


def test_a_rollback_reaches_the_service_within_a_minute(tmp_path: Path) -> None:
    """As it is configured by itself: what a name means is looked for twice a minute at least, and a follower that died is replaced by
    another one within that time."""
    with contextlib.closing(JobStore(str(tmp_path / "jobs.db"))) as store:
        models = Models(["fake"], FakeEngine, store, Blobs(str(tmp_path / "blobs")), "a", AppArgs().follow_s)
        assert models._period_s + models._lease_s < 60 and models._period_s <= 30


@pytest.mark.parametrize("path", ["bfs_serve.model.fake:Nothing", "no_such_module:Engine", "nonsense", ":"])
def test_an_engine_that_cannot_be_imported_is_bad_input(path: str) -> None:
    """In one line."""
    with pytest.raises(BadInput, match="engine"):
        load_engine(path)


class Hungry(Counting):
    """An engine that finds no memory while two others are there, as on an accelerator that holds two."""

    def __init__(self, name: str, pin: Pin) -> None:
        super().__init__(name, pin)
        if len(alive) >= 2:
            raise OutOfMemoryError("no memory")
        alive.add(self)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


alive: WeakSet[Any] = WeakSet()


def test_versions_make_room_where_memory_is_short(tmp_path: Path) -> None:
    """The third one loads when those unused are let go, and is not remembered as broken; where it is alone, it may be tried again."""

    async def main() -> None:
        store, file = JobStore(str(tmp_path / "jobs.db")), tmp_path / "version"
        alive.clear()
        file.write_text("v1")
        models = Models([f"fake?version_file={file}"], Hungry, store, Blobs(str(tmp_path / "blobs")), "a", follow_s=0.02)
        await models.start()
        following = asyncio.create_task(models.run())
        for version in ("v2", "v3", "v4"):
            file.write_text(version)
            while (await version_of(store))[0] != version:
                await asyncio.sleep(0.02)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        _, body = await version_of(store)
        assert body["failed"] == {} and len(alive) <= 2
        store.close()

    asyncio.run(asyncio.wait_for(main(), 120))
    assert passes(OutOfMemoryError()) and passes(MemoryError()) and not passes(RuntimeError("broken"))
