"""The sampler with the fake engine: events, cancellation within a step, swapping models in flight, health."""

import asyncio
import dataclasses
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_serve.fake import FakeEngine
from bfs_serve.orders import Canceled, Drawing, Generation, ModelInfo, Order, Sampled
from bfs_serve.problems import Problem
from bfs_serve.sampler import Sampler, load_engine


async def sampler_of(engine: type = FakeEngine, model: str = "fake", **options: Any) -> Sampler:
    sampler = Sampler(engine, **options)
    await sampler.reconfigure({"model": model, "follow_s": 0})
    return sampler


async def all_of(sampler: Sampler, order: Order) -> list[Sampled]:
    return [item async for item in sampler.sample(order)]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_an_order_is_drawn_step_by_step(order: Order) -> None:
    """started, one (step, steps) per step, the drawing: a full-size layer, clear outside the box."""

    async def main() -> None:
        items = await all_of(await sampler_of(), order)
        assert items[:-1] == ["started", (1, 3), (2, 3), (3, 3)]
        drawing = items[-1]
        assert isinstance(drawing, Drawing) and drawing.seed == 7 and drawing.warnings == ()
        layer = pixels(drawing.layer_png)
        assert layer.shape == (32, 48, 4) and layer[:4, :, 3].max() == 0 and layer[16, 24, 3] == 255

    asyncio.run(main())


def test_the_same_order_gives_the_same_bytes(order: Order) -> None:
    """A worker that is lost can be replaced by any other."""

    async def main() -> tuple[bytes, bytes]:
        first, second = [(await all_of(await sampler_of(), order))[-1] for _ in range(2)]
        assert isinstance(first, Drawing) and isinstance(second, Drawing)
        return first.layer_png, second.layer_png

    first, second = asyncio.run(main())
    assert first == second


@pytest.mark.parametrize(
    ("changes", "status", "slug"),
    [
        ({"prompt": "fail"}, 500, "internal"),
        ({"prompt": "refuse"}, 422, "invalid"),
        ({"background": b"no picture"}, 422, "invalid"),
        ({"reference": b"picture"}, 422, "unsupported-by-model"),
    ],
    ids=["bug", "bad input", "bad image", "unsupported"],
)
def test_what_goes_wrong_becomes_a_problem(order: Order, changes: dict[str, Any], status: int, slug: str) -> None:
    """The thread survives and draws the next order."""

    async def main() -> None:
        sampler = await sampler_of()
        problem = (await all_of(sampler, dataclasses.replace(order, **changes)))[-1]
        assert isinstance(problem, Problem) and (problem.status, problem.slug) == (status, slug)
        assert "told to fail" not in problem.detail
        assert isinstance((await all_of(sampler, order))[-1], Drawing)

    asyncio.run(main())


class BlankEngine(FakeEngine):
    """Draws nothing, in the wrong size when asked for `wrong`."""

    def generate(self, background: Image.Image, *arguments: Any) -> Generation:
        size = (1, 1) if arguments[1] == "wrong" else background.size
        return Generation(Image.new("RGBA", size), 7)


def test_an_empty_layer_is_marked_and_a_wrong_one_not_delivered(order: Order) -> None:
    """A layer without a visible pixel carries a warning; one of another size is an engine's bug."""

    async def main() -> None:
        sampler = await sampler_of(BlankEngine)
        drawing = (await all_of(sampler, order))[-1]
        assert isinstance(drawing, Drawing) and "empty" in drawing.warnings[0]
        problem = (await all_of(sampler, dataclasses.replace(order, prompt="wrong")))[-1]
        assert isinstance(problem, Problem) and problem.status == 500

    asyncio.run(main())


def test_closing_the_stream_stops_the_thread_within_a_step(order: Order) -> None:
    """Of 100 steps of 0.05 s only the current one is finished; the next order starts right after."""
    stopped: list[float] = []

    class Watched(FakeEngine):
        def generate(self, *arguments: Any) -> Generation:
            try:
                return super().generate(*arguments)
            except Canceled:
                stopped.append(time.monotonic())
                raise

    async def main() -> None:
        sampler = await sampler_of(Watched, "fake?step_s=0.05")
        stream = sampler.sample(dataclasses.replace(order, steps=100))
        async for item in stream:
            if item == (2, 100):
                break
        begin = time.monotonic()
        await stream.aclose()
        assert isinstance((await all_of(sampler, dataclasses.replace(order, steps=1)))[-1], Drawing)
        assert len(stopped) == 1 and stopped[0] - begin < 0.5

    asyncio.run(main())


class SlowToLoad(FakeEngine):
    """Takes 0.3 s to load, except the first; its version is whatever `current` says; `bad` cannot be loaded."""

    current = "1"

    def __init__(self, model: str) -> None:
        if model != "first":
            time.sleep(0.3)
        if model == "bad":
            raise BadInput("model", model, "is broken", "restore it")
        super().__init__(model)
        self.info = ModelInfo(model, self.locate(model))

    @classmethod
    def locate(cls, model: str) -> str:
        return f"{model}-{cls.current}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_new_model_is_loaded_in_the_background_and_swapped_in(order: Order) -> None:
    """reconfigure returns at once, orders go on with the old model meanwhile, and none fails."""

    async def main() -> None:
        sampler = await sampler_of(SlowToLoad, "first")
        begin = time.monotonic()
        await sampler.reconfigure({"model": "second", "follow_s": 0})
        assert time.monotonic() - begin < 0.2
        names = []
        while "second" not in names:
            drawing = (await all_of(sampler, order))[-1]
            assert isinstance(drawing, Drawing)
            names.append(drawing.model.name)
        assert names[0] == "first" and len(names) > 2

    asyncio.run(main())


def test_a_name_that_moves_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias that points to another version is noticed within `follow_s`."""

    async def main() -> None:
        sampler = Sampler(SlowToLoad)
        await sampler.reconfigure({"model": "first", "follow_s": 0.02})
        assert (await sampler.info()).version == "first-1"
        monkeypatch.setattr(SlowToLoad, "current", "2")
        async with asyncio.timeout(5):
            while (await sampler.info()).version != "first-2":
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(order: Order, caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged; serving goes on."""

    async def main() -> None:
        sampler = await sampler_of(SlowToLoad, "first")
        await sampler.reconfigure({"model": "bad", "follow_s": 0})
        await until(lambda: "is broken" in caplog.text)
        assert (await sampler.info()).name == "first"

    asyncio.run(main())


def test_health_fails_only_when_a_drawing_stalls(order: Order) -> None:
    """An idle sampler is healthy however long it idles; one without a step for too long is replaced."""

    async def main() -> None:
        sampler = await sampler_of(model="fake?step_s=0.4", stall_s=0.1)
        sampler.check_health()
        stream = sampler.sample(order)
        assert await anext(stream) == "started"
        await asyncio.sleep(0.2)
        with pytest.raises(RuntimeError, match="no step"):
            sampler.check_health()
        await stream.aclose()
        await until(lambda: sampler._last_beat is None)
        sampler.check_health()

    asyncio.run(main())


@pytest.mark.parametrize("path", ["nothing", "no.such.module:Engine", "bfs_serve.fake:NoSuchEngine", ":"])
def test_an_engine_that_is_not_there_is_bad_input(path: str) -> None:
    """One line, not an ImportError."""
    with pytest.raises(BadInput, match="engine="):
        load_engine(path)
