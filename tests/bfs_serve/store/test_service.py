"""The job store, on SQLite and on a real PostgreSQL: what else its processes share, and its schema."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from bfs_model.errors import BadInput
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Outcome, Refusal
from bfs_serve.store.tables import metadata

from .stories import ANY, DONE, NEW, Clock, play, submitted


def test_leases_have_one_holder(url: str) -> None:
    """Until it runs out or is given back."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        held = await asyncio.gather(*(store.hold("follow", f"h{n}", 10) for n, store in enumerate([first, second] * 3)))
        assert sum(held) == 1
        holder = f"h{held.index(True)}"
        clock.now += 9
        assert await first.hold("follow", holder, 10) and not await second.hold("follow", "other", 10)
        assert await second.holders("fol") == 1 and await second.holders("fo%") == 0
        clock.now += 11
        assert await second.hold("follow", "other", 10)
        await second.let_go("follow", "other")
        assert await first.hold("follow", holder, 10)

    play(url, story)


def test_rates_are_counted_together(url: str) -> None:
    """Whichever replica a request meets, and anew when the time is over."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        waits = [await store.rates.hit("ann") for store in (first, second, first, second)]
        assert waits == [None, None, None, 60]
        assert await first.rates.hit("bob") is None and await second.rates.hit("ann", "9/second") is None
        clock.now += 60
        assert await second.rates.hit("ann") is None

    play(url, story, Limits(rate="3/minute"))


def test_a_note_beside_what_is_published(url: str) -> None:
    """It changes nothing else, whoever publishes meanwhile, and needs nothing to be published yet."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        await first.note("tiny", "tried", {"v1": 1}, {"history": {}})
        assert await second.published() == {"tiny": ("", {"history": {}, "tried": {"v1": 1}})}
        await second.publish("tiny", "v1", {"info": 1})
        notes = [store.note("tiny", f"note{n}", n, {}) for n, store in enumerate([first, second] * 4)]
        await asyncio.gather(*notes)
        assert await first.published() == {"tiny": ("v1", {"info": 1} | {f"note{n}": n for n in range(8)})}
        await first.note("tiny", "note0", None, {})
        assert "note0" not in (await second.published())["tiny"][1]

    play(url, story)


def test_published_models(url: str) -> None:
    """What one process publishes, all see; a later version takes its place."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        await first.publish("tiny", "v1", {"info": 1})
        await second.publish("tiny", "v2", {"info": 2})
        assert await first.published() == {"tiny": ("v2", {"info": 2})}

    play(url, story)


def test_totals_are_those_of_the_whole_service(url: str) -> None:
    """What one process did, another tells; each job counts once, and durations fall into their buckets."""

    async def story(ingress: JobStore, worker: JobStore, clock: Clock) -> None:
        for _ in range(3):
            await submitted(ingress)
        clock.now += 2
        first, second, third = [claim for _ in range(3) for claim in await worker.claim("w", ANY, 1, 30)]
        assert await worker.finish(first.id, 1, replace(DONE, seconds=0.1)) and not await worker.finish(first.id, 1, DONE)
        assert await worker.finish(second.id, 1, Outcome(False, {"slug": "internal", "detail": "no"}))
        clock.now += 31
        assert await worker.recover() == 1 and await ingress.cancel("ann", third.id) and not await ingress.cancel("ann", third.id)
        for _ in range(2):
            await ingress.count({("refused", "quota"): 2})
        assert await ingress.totals() == {
            "accepted": {"layer": 3},
            "finished": {"succeeded": 1, "failed": 1, "canceled": 1},
            "generation_seconds": {"0.1": 1, "sum": 0.1},
            "queue_seconds": {"2.5": 3, "sum": 6},
            "refused": {"quota": 4},
            "retried": {"": 1},
            "version_jobs": {"v1 succeeded": 1, "v1 refused": 1, "v1 failed": 1},
            "version_seconds": {"v1": 0.1},
            "version_squares": {"v1": pytest.approx(0.01)},
        }

    play(url, story)


def test_the_migrations_make_what_the_tables_say(url: str) -> None:
    """Columns, keys and indices; opening a store again changes nothing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from bfs_serve.store.database import Database

    Database(url).close()
    database = Database(url)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
    database.close()
    assert [change for change in found if "schema_version" not in str(change)] == []


def test_a_store_of_something_else_or_of_a_newer_version_is_refused(url: str) -> None:
    """And nothing in it is touched."""
    from bfs_serve.store.database import Database

    database = Database(url)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version_num = '999'"))
    database.close()
    with pytest.raises(BadInput, match="newer version"):
        Database(url)


def test_a_place_without_room_for_a_file_is_refused(tmp_path: Path) -> None:
    """A folder where the file should be, and a file where the folder should be."""
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "jobs.db"):
        with pytest.raises(BadInput, match="cannot be opened"):
            JobStore(str(place))


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "postgresql://u:secret@127.0.0.1:1/x", "nonsense://"])
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    """In one line."""
    with pytest.raises(BadInput) as refused:
        JobStore(url)
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_full_queue_is_known_before_a_job_is_sent(url: str) -> None:
    """For everybody, and for one caller; what runs or has ended does not wait."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        assert await first.full("ann") is None
        await submitted(first)
        mine = await second.full("ann")
        assert mine is not None and mine.reason == Refusal.OWNER_QUEUE_FULL and await second.full("bob") is None
        await submitted(first, replace(NEW, owner="bob"))
        everybody = await second.full("cyd")
        assert everybody is not None and everybody.reason == Refusal.QUEUE_FULL
        assert len(await first.claim("w", ANY, 1, 30)) == 1
        assert await second.full("ann") is None

    play(url, story, Limits(max_queued=2, owner_max_queued=1))
