"""A candidate on its way through a worker: tried, watched, taken back or promoted, and the registry told in the end."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from bfs_platform.registry.spec import CanarySpec
from bfs_platform.registry.store import Unreachable
from bfs_serve.job.engine import Pin
from bfs_serve.model.fake import FakeEngine
from bfs_serve.model.models import Models
from bfs_serve.model.trials import Candidate
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import NewJob, Outcome, Wanted

KIND = "layer"


class Numbered(FakeEngine):
    """Versions are numbers at the end of a URI."""

    @classmethod
    def locate(cls, name: str) -> Pin:
        return Pin(name, name.rpartition("/")[2])


@dataclass
class Registry:
    """The registry of one name: a champion, perhaps a candidate, and what was settled."""

    champion: str = "v1"
    candidate: str | None = None
    rules: CanarySpec = field(default_factory=lambda: CanarySpec(share=0.5, watch_s=0, min_jobs=3))
    settled: list[tuple[str, bool, str]] = field(default_factory=list)
    away: int = 0

    def find(self, name: str) -> Candidate | None:
        if self.candidate is None:
            return None
        return Candidate(f"fake/{self.candidate}", f"fake/{self.champion}", self.rules, {"number": self.candidate})

    def settle(self, key: dict[str, Any], good: bool, reason: str) -> str:
        if self.away:
            self.away -= 1
            raise Unreachable("registry", "http://mlflow", "cannot be reached", "check it")
        self.settled.append((key["number"], good, reason))
        self.candidate = None
        return f"{'promoted' if good else 'rolled back'}: {reason}"


@dataclass
class Scene:
    """One worker that follows a name, its store and its registry."""

    store: JobStore
    registry: Registry
    models: Models

    @property
    def name(self) -> str:
        return self.models.names[0]

    async def look(self) -> dict[str, Any]:
        """One look of the follower. Returns the trial as it stands then."""
        await self.models._trials.advance(self.name)
        return dict((await self.store.published())[self.name][1].get("canary") or {})

    async def ended(self, version: str, *outcomes: Outcome) -> list[str]:
        """Jobs of this version that end like this. Returns the versions that they are of afterwards."""
        after = []
        for outcome in outcomes:
            accepted: Any = await self.store.submit(NewJob("me", KIND, {}, self.name, version))
            (claim,) = await self.store.claim("w", Wanted((KIND,), (self.name,)), 1, 30)
            assert await self.store.finish(claim.id, claim.attempt, outcome)
            job: Any = await self.store.get("me", accepted.job.id)
            after.append(job.version)
            if not job.is_finished:
                await self.store.cancel("me", job.id)
        return after


DRAWN, FAILED = Outcome(True, {}, seconds=1.0), Outcome(False, {"slug": "internal"}, retryable=True)
Story = Callable[[Scene], Coroutine[Any, Any, None]]


def play(tmp_path: Path, story: Story) -> None:
    async def main() -> None:
        store, registry = JobStore(str(tmp_path / "jobs.db")), Registry()
        models = Models(["fake/v1"], Numbered, store, Blobs(str(tmp_path / "blobs")), "a", 0.05, candidates=registry)
        await models.start()
        try:
            await asyncio.wait_for(story(Scene(store, registry, models)), 60)
        finally:
            store.close()

    asyncio.run(main())


def test_a_candidate_is_not_blamed_for_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried at a later look; the registry hears nothing."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "v2"
        with monkeypatch.context() as away:
            away.setattr(scene.models, "_load", AsyncMock(side_effect=ConnectionError("reset")))
            with pytest.raises(ConnectionError):
                await scene.look()
        assert not scene.registry.settled
        assert (await scene.look())["version"] == "v2"

    play(tmp_path, story)


def test_a_good_candidate_is_promoted(tmp_path: Path) -> None:
    """Loaded and tried first, then watched until enough was drawn; the registry hears of it once."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "v2"
        trial = await scene.look()
        assert trial["version"] == "v2" and trial["share"] == 0.5 and len(trial["smoke"]) == 64
        await scene.ended("v1", DRAWN)
        await scene.ended("v2", DRAWN, DRAWN)
        assert not (await scene.look())["verdict"] and scene.registry.settled == []
        await scene.ended("v2", DRAWN)
        trial = await scene.look()
        assert trial["told"] and trial["verdict"]["good"]
        ((number, good, reason),) = scene.registry.settled
        assert (number, good) == ("v2", True) and "3 pictures, 0 failures" in reason
        assert (await scene.look()) == trial, "nothing goes on after the end"

    play(tmp_path, story)


def test_a_bad_candidate_is_taken_back_and_loses_no_job(tmp_path: Path) -> None:
    """What it failed is queued for the champion at once, and what waits for it when it is taken back."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "v2"
        await scene.look()
        await scene.ended("v1", *[DRAWN] * 9)
        assert await scene.ended("v2", *[FAILED] * 4) == ["v1"] * 4
        waiting: Any = await scene.store.submit(NewJob("me", KIND, {}, scene.name, "v2", batch="b"))
        trial = await scene.look()
        assert trial["told"] and not trial["verdict"]["good"] and scene.registry.settled[0][:2] == ("v2", False)
        passed_on: Any = await scene.store.get("me", waiting.job.id)
        assert (passed_on.version, passed_on.status) == ("v1", "queued")
        assert (await scene.store.totals())["version_jobs"] == {"v1 succeeded": 9, "v2 failed": 4}

    play(tmp_path, story)


def test_a_candidate_that_cannot_be_served_draws_nothing(tmp_path: Path) -> None:
    """It raises when it is loaded: it gets no share, and its reason is told."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "broken-v2"
        trial = await scene.look()
        assert trial["told"] and "made to fail" in trial["verdict"]["reason"] and trial["info"] is None
        assert trial["verdict"]["taken_back_at"] > trial["since"]

    play(tmp_path, story)


def test_a_verdict_waits_for_the_registry(tmp_path: Path) -> None:
    """It holds for new jobs at once; the registry is told when it is back."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate, scene.registry.away = "v2", 1
        await scene.look()
        await scene.ended("v1", *[DRAWN] * 9)
        await scene.ended("v2", *[FAILED] * 4)
        try:
            await scene.look()
            raise AssertionError("the registry was away")
        except Unreachable:
            pass
        (_, body) = (await scene.store.published())[scene.name]
        assert not body["canary"]["verdict"]["good"] and not body["canary"]["told"]
        assert (await scene.look())["told"] and len(scene.registry.settled) == 1

    play(tmp_path, story)


def test_a_champion_that_is_not_served_yet_is_waited_for(tmp_path: Path) -> None:
    """A candidate is watched beside the champion that the registry means, or not at all."""

    async def story(scene: Scene) -> None:
        scene.registry.champion, scene.registry.candidate = "v0", "v2"
        assert await scene.look() == {}

    play(tmp_path, story)


def test_a_candidate_that_is_withdrawn_gets_no_more(tmp_path: Path) -> None:
    """Its alias is gone: the trial ends, and another one of the same version may begin."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "v2"
        await scene.look()
        scene.registry.candidate = None
        verdict = (await scene.look())["verdict"]
        assert "withdrawn" in verdict["reason"] and "taken_back_at" not in verdict, "that was somebody's wish, and no alert"
        scene.registry.candidate = "v2"
        assert (await scene.look())["verdict"] is None

    play(tmp_path, story)


def test_a_worker_that_dies_over_a_candidate(tmp_path: Path) -> None:
    """The job is the champion's then, and counts as one that the candidate failed."""

    async def story(scene: Scene) -> None:
        scene.registry.candidate = "v2"
        await scene.look()
        accepted: Any = await scene.store.submit(NewJob("me", KIND, {}, scene.name, "v2"))
        await scene.store.claim("w", Wanted((KIND,), (scene.name,)), 1, -1.0)
        await scene.store.recover()
        job: Any = await scene.store.get("me", accepted.job.id)
        assert (job.status, job.version) == ("queued", "v1")
        assert (await scene.store.seen(["v2"]))["v2"].failed == 1

    play(tmp_path, story)
