"""What must be true when a storm is over, by the callers' stories, by the job store, and by what the sampler wrote down."""

import asyncio
from collections import Counter
from pathlib import Path

import sqlalchemy as sa
from storm_callers import Story

from bfs_serve.store.database import Database
from bfs_serve.store.records import CANCELED, FAILED, FINAL, SUCCEEDED
from bfs_serve.store.tables import jobs


def faults_of(stories: list[Story], store: str, drawn: Path) -> list[str]:
    """All that is wrong, one line each."""
    found = [f"{story.wish} {story.manner}: {fault}" for story in stories for fault in story.faults]
    found += [fault for story in stories for fault in _of_story(story)]
    return found + _of_store(stories, store, Counter(drawn.read_text().split()))


def _of_story(story: Story) -> list[str]:
    """A wish is met, unless it was canceled; of a caller that left for good nothing is known."""
    shown = f"{story.wish} {story.manner} {story.ids}"
    if story.manner == "hang up":
        return []
    allowed = (SUCCEEDED, CANCELED) if story.manner == "cancel" else (SUCCEEDED,)
    if story.view.get("status") not in allowed:
        return [f"{shown} ended as {story.view}"]
    if story.view["status"] == SUCCEEDED and (story.result is None or not story.wish.is_met_by(story.result)):
        return [f"{shown} got another picture than its seed gives"]
    return []


def _of_store(stories: list[Story], store: str, drawn: Counter[str]) -> list[str]:
    """Every job is in a final state; a key has one job that did not fail; a layer was drawn once for each attempt at most."""
    database = Database(store)
    try:
        with database.reading() as connection:
            rows = connection.execute(sa.select(jobs)).all()
    finally:
        database.close()
    found = [f"job {row.id} is {row.status}" for row in rows if row.status not in FINAL]
    known = {row.id for row in rows}
    found += [f"job {told} of {story.wish} is gone" for story in stories for told in story.ids if told not in known]
    attempts: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for row in rows:
        seed = str(row.order["layers"][0]["seed"] if "layers" in row.order else row.order.get("seed"))
        attempts[seed] += row.attempt
        good[seed] += row.status != FAILED
    for story in stories:
        seed = str(story.wish.seed)
        if drawn[seed] > attempts[seed]:
            found.append(f"{story.wish} was drawn {drawn[seed]} times in {attempts[seed]} attempts")
        num_good = good[seed]
        if story.manner != "hang up" and story.wish.kind != "export" and num_good != 1:
            found.append(f"{story.wish} {story.manner} has {num_good} jobs")
    return found


async def settled(store: str, within_s: float = 120) -> None:
    """Wait until no job of callers that left is under way any more, or the time is over."""
    database = Database(store)
    try:
        for _ in range(round(within_s / 0.5)):
            with database.reading() as connection:
                waiting = connection.execute(sa.select(sa.func.count()).where(jobs.c.status.not_in(FINAL))).scalar_one()
            if not waiting:
                return
            await asyncio.sleep(0.5)
    finally:
        database.close()
