"""A version that is replaced, rolled back or withdrawn while something else goes on: starting, loading, waiting for the next look."""

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.registry.spec import CanarySpec
from bfs_serve.job.engine import Pin
from bfs_serve.model.models import Models
from bfs_serve.model.trials import Candidate
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

from .followers import Counting, held_up, loads, play, version_of


class Checking(Counting):
    """Loads what its name means now, as a folder does, and nothing else."""

    def __init__(self, name: str, pin: Pin) -> None:
        if self.locate(name) != pin:
            raise BadInput("model", name, "has changed while it was being loaded", "it is looked for again shortly")
        super().__init__(name, pin)


def test_a_model_that_changed_while_no_service_ran_is_served(tmp_path: Path) -> None:
    """A newer release brings another `tiny`, a folder is trained again: what was published is no more."""

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        for models in (first, second):
            await models.close()
        file.write_text("v2")
        again = [Models(first.names, Checking, store, Blobs(str(tmp_path / "blobs")), worker, follow_s=0) for worker in ("c", "d")]
        await asyncio.gather(*(models.start() for models in again))
        assert (await version_of(store))[0] == "v2"
        engines = [await models.engine(first.names[0], "v2") for models in again]
        assert [engine.info.version for engine in engines] == ["v2", "v2"]

    play(tmp_path, story)


def test_a_published_version_that_cannot_be_loaded_is_no_other_one(tmp_path: Path) -> None:
    """Its name means it still: a start says what is wrong with it. A candidate that cannot be loaded keeps nobody from starting."""

    class Broken(Counting):
        def __init__(self, name: str, pin: Pin) -> None:
            if pin.version in ("v1", "v2"):
                raise RuntimeError("no driver")
            super().__init__(name, pin)

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        def models(engine: type[Counting]) -> Models:
            return Models(first.names, engine, store, Blobs(str(tmp_path / "blobs")), "c", follow_s=0)

        with pytest.raises(RuntimeError, match="no driver"):
            await models(Broken).start()
        version, body = await version_of(store)
        await store.publish(first.names[0], "v0", body | {"canary": {"version": "v2", "told": "", "verdict": None}})
        await models(Broken).start()
        assert version == "v1"

    play(tmp_path, story)


@dataclass
class OneCandidate:
    """Tried beside whatever the name means, once `uri` is set."""

    name: str
    uri: str | None = None

    def find(self, name: str) -> Candidate | None:
        return None if self.uri is None else Candidate(self.uri, self.name, CanarySpec(share=0.5), {})

    def settle(self, key: dict[str, Any], good: bool, reason: str) -> str:
        raise AssertionError(f"nothing was watched: {reason}")


async def alone(first: Models, second: Models, store: JobStore, engine: type[Counting], tmp_path: Path) -> tuple[Models, OneCandidate]:
    """One worker in the place of two, and where its candidates come from."""
    for models in (first, second):
        await models.close()
    source = OneCandidate(first.names[0])
    one = Models(first.names, engine, store, Blobs(str(tmp_path / "blobs")), "c", follow_s=0.05, candidates=source)
    await one.start()
    return one, source


def test_a_rollback_waits_for_no_candidate(tmp_path: Path) -> None:
    """However long one takes to load: what was served before is served again at once, and the candidate is tried beside that."""
    begun, go_on = threading.Event(), threading.Event()

    class Large(Counting):
        def __init__(self, name: str, pin: Pin) -> None:
            if pin.version == "fake-large":
                begun.set()
                go_on.wait()
            super().__init__(name, pin)

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        models, source = await alone(first, second, store, Large, tmp_path)
        following = asyncio.create_task(models.run())

        async def until(version: str) -> dict[str, Any]:
            while (found := await version_of(store))[0] != version:
                await asyncio.sleep(0.02)
            return found[1]

        try:
            file.write_text("v2")
            await until("v2")
            source.uri = "large"
            await asyncio.to_thread(begun.wait)
            file.write_text("v1")
            body = await asyncio.wait_for(until("v1"), 60)
            assert "canary" not in body and not go_on.is_set()
        finally:
            go_on.set()
        while "canary" not in (body := await until("v1")):
            await asyncio.sleep(0.02)
        assert body["canary"]["version"] == "fake-large" and "tried" not in body and loads.count("fake-large") == 1
        following.cancel()
        await models.close()

    play(tmp_path, story)


def test_a_candidate_that_is_withdrawn_while_it_loads(tmp_path: Path) -> None:
    """Is not tried; who stops meanwhile takes back that it was begun, so that it counts as no crash."""
    begun, go_on = threading.Event(), threading.Event()

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        models, source = await alone(first, second, store, Counting, tmp_path)
        models._engine_cls = held_up(begun, go_on)
        source.uri = "large"
        following = asyncio.create_task(models.run())
        try:
            await asyncio.to_thread(begun.wait)
            assert (await version_of(store))[1]["tried"] == {"fake-large": 1}
            source.uri = None
            following.cancel()
            await models.close()
        finally:
            go_on.set()
        _, body = await version_of(store)
        assert "tried" not in body and "canary" not in body

    play(tmp_path, story)


def test_a_name_is_looked_up_as_often_as_it_says(tmp_path: Path) -> None:
    """And no more often, however short the rounds of the worker are in between."""
    looks: list[str] = []

    class Located(Counting):
        @classmethod
        def locate(cls, name: str) -> Pin:
            looks.append(name)
            return super().locate(name)

    async def story(first: Models, second: Models, store: JobStore, file: Path) -> None:
        for models in (first, second):
            await models.close()
        seldom = Models(first.names, Located, store, Blobs(str(tmp_path / "blobs")), "c", follow_s=0.5)
        seldom._period_s = 0.02
        await seldom.start()
        following = asyncio.create_task(seldom.run())
        await asyncio.sleep(1.3)
        following.cancel()
        assert 1 <= len(looks) <= 4

    play(tmp_path, story)
