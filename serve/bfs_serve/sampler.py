"""The sampler: one model, one denoising thread, step by step events, cancellation within a step, models swapped in flight."""

import asyncio
import contextlib
import importlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, NonNegativeFloat

from bfs_model.errors import BadInput
from bfs_model.images import png_bytes, read_image
from bfs_serve import problems
from bfs_serve.orders import Canceled, Drawing, Engine, ModelInfo, Order, Sampled, unsupported
from bfs_serve.problems import Problem

logger = logging.getLogger("bfs_serve")

STALL_S = 300.0


class SamplerConfig(BaseModel):
    """What Serve hands to `reconfigure`: the model, and how often to look whether its name means another version (0: never)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    follow_s: NonNegativeFloat = 30.0


class Sampler:
    """Draws orders with an engine. `engine` is a class with the `Engine` protocol, or where to import it: `module:Class`."""

    def __init__(self, engine: type[Engine] | str, stall_s: float = STALL_S) -> None:
        self._engine_cls: type[Engine] = load_engine(engine) if isinstance(engine, str) else engine
        self._stall_s = stall_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="denoise")
        self._engine: Engine | None = None
        self._location = ""
        self._follower: asyncio.Task[None] | None = None
        self._last_beat: float | None = None  # time of the last step while drawing, None while idle

    # Models

    async def reconfigure(self, user_config: dict[str, object]) -> None:
        """Serve the configured model. The first is loaded before this returns; a later one in the background, then swapped in."""
        config = SamplerConfig.model_validate(user_config)
        if self._follower is not None:
            self._follower.cancel()
        if self._engine is None:
            await self._load(config.model)
        self._follower = asyncio.create_task(self._follow(config))

    async def _follow(self, config: SamplerConfig) -> None:
        """Keep to what `config.model` means. A version that cannot be loaded is reported; the old one stays."""
        while True:
            try:
                if await asyncio.to_thread(self._engine_cls.locate, config.model) != self._location:
                    await self._load(config.model)
            except Exception as error:
                logger.error("model %s is not followed for now, %s stays: %s", config.model, self._location, error)
            if not config.follow_s:
                return
            await asyncio.sleep(config.follow_s)

    async def _load(self, model: str) -> None:
        location = await asyncio.to_thread(self._engine_cls.locate, model)
        engine = await asyncio.to_thread(self._engine_cls, model)
        # Drawings under way keep the engine they started with.
        self._engine, self._location = engine, location
        logger.info("serving %s", engine.info.label)

    async def info(self) -> ModelInfo:
        """The model being served."""
        return self._loaded().info

    def _loaded(self) -> Engine:
        assert self._engine is not None, "reconfigure was not called"
        return self._engine

    def check_health(self) -> None:
        """Called by Serve. Raises when a drawing has made no step for `stall_s`, so that the replica is replaced."""
        beat = self._last_beat
        if beat is not None and time.monotonic() - beat > self._stall_s:
            raise RuntimeError(f"no step for {self._stall_s:g} s")

    # Drawing

    async def sample(self, order: Order) -> AsyncGenerator[Sampled, None]:
        """Draw one order: "started", then (step, steps) after each step, then the drawing, or the problem that prevents it.

        Closing the iterator cancels: the thread stops within one step.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Sampled] = asyncio.Queue()
        canceled = threading.Event()

        def tell(item: Sampled) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the replica is going away
                loop.call_soon_threadsafe(items.put_nowait, item)

        loop.run_in_executor(self._thread, self._work, self._loaded(), order, tell, canceled)
        try:
            while True:
                item = await items.get()
                yield item
                if isinstance(item, Drawing | Problem):
                    return
        finally:
            canceled.set()

    def _work(self, engine: Engine, order: Order, tell: Callable[[Sampled], None], canceled: threading.Event) -> None:
        """Runs on the denoising thread. Ends by telling a drawing or a problem, whatever happens."""
        if canceled.is_set():
            return

        def on_step(step: int, steps: int) -> None:
            self._last_beat = time.monotonic()
            tell((step, steps))

        self._last_beat = time.monotonic()
        tell("started")
        try:
            tell(draw(engine, order, on_step, canceled.is_set))
        except Canceled:
            tell(Problem("canceled", "The job was canceled."))
        except BadInput as error:
            tell(problems.of_bad_input(error))
        except Exception:
            logger.exception("an order of %dx%d pixels could not be drawn", order.width, order.height)
            tell(Problem("internal", "The layer could not be drawn; the service's log names the cause."))
        finally:
            self._last_beat = None


def draw(engine: Engine, order: Order, on_step: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Drawing | Problem:
    """One order, from bytes to bytes."""
    missing = [need for need in order.needs if need not in engine.info.capabilities]
    if missing:
        return unsupported(missing, engine.info)
    begin = time.perf_counter()
    background = read_image(order.background, key="background").pil()
    asked = (background, order.box, order.prompt, order.seed, order.steps, on_step, cancelled)
    if order.reference is None:
        generation = engine.generate(*asked)
    else:
        generation = engine.generate(*asked, reference=read_image(order.reference, key="reference").pil())
    layer = generation.layer
    assert (layer.mode, layer.size) == ("RGBA", background.size), f"layer is {layer.mode} {layer.size}, not RGBA {background.size}"
    return Drawing(png_bytes(layer), generation.seed, engine.info, time.perf_counter() - begin, _warnings(layer))


def _warnings(layer: Image.Image) -> tuple[str, ...]:
    alpha = np.asarray(layer.getchannel("A"))
    if not alpha.any():
        return ("the layer is empty: alpha is 0 everywhere; try another seed or a larger box",)
    return ("the layer is opaque everywhere",) if alpha.min() == 255 else ()


def load_engine(path: str) -> type[Engine]:
    """Import an engine class given as `module:Class`. Raises `BadInput` when there is none."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput("engine", path, f"cannot be imported ({error})", "name a class as module:Class") from None
