"""What the HTTP side needs from the rest, and how it reaches it through Ray Serve handles."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol

from bfs_serve.coordinator import SamplerBusy, SamplerLost
from bfs_serve.orders import Drawing, Event, ModelInfo, Order, Sampled
from bfs_serve.problems import Problem

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


class Backend(Protocol):
    """A coordinator, here or behind a handle. See `bfs_serve.coordinator.Coordinator` for the meaning."""

    async def submit(self, owner: str, order: Order, key: str | None = None, explicit_seed: bool = True) -> dict[str, Any] | Problem: ...

    async def look(self, owner: str, job_id: str) -> dict[str, Any] | None: ...

    async def wait(self, owner: str, job_id: str, timeout_s: float) -> dict[str, Any] | None: ...

    def events(self, owner: str, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]: ...

    async def result(self, owner: str, job_id: str) -> tuple[dict[str, Any], Order, Drawing] | Problem: ...

    async def cancel(self, owner: str, job_id: str) -> dict[str, Any] | None: ...

    async def models(self) -> list[ModelInfo]: ...

    async def ready(self) -> Problem | None: ...

    async def metrics(self) -> bytes: ...


class ServeBackend:
    """The coordinator deployment behind its handle."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        self._handle = handle
        self._stream = handle.options(stream=True)

    async def submit(self, owner: str, order: Order, key: str | None = None, explicit_seed: bool = True) -> dict[str, Any] | Problem:
        return await self._handle.submit.remote(owner, order, key, explicit_seed)

    async def look(self, owner: str, job_id: str) -> dict[str, Any] | None:
        return await self._handle.look.remote(owner, job_id)

    async def wait(self, owner: str, job_id: str, timeout_s: float) -> dict[str, Any] | None:
        return await self._handle.wait.remote(owner, job_id, timeout_s)

    async def events(self, owner: str, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        response: Any = self._stream.events.remote(owner, job_id, after)
        try:
            async for event in response:
                yield event
        finally:
            response.cancel()

    async def result(self, owner: str, job_id: str) -> tuple[dict[str, Any], Order, Drawing] | Problem:
        return await self._handle.result.remote(owner, job_id)

    async def cancel(self, owner: str, job_id: str) -> dict[str, Any] | None:
        return await self._handle.cancel.remote(owner, job_id)

    async def models(self) -> list[ModelInfo]:
        return await self._handle.models.remote()

    async def ready(self) -> Problem | None:
        return await self._handle.ready.remote()

    async def metrics(self) -> bytes:
        return await self._handle.metrics.remote()


class ServeSampler:
    """The sampler deployment behind its handle; what Ray raises becomes what the coordinator knows."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        self._handle = handle
        self._stream = handle.options(stream=True)

    async def sample(self, order: Order) -> AsyncGenerator[Sampled, None]:
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

        response: Any = self._stream.sample.remote(order)
        try:
            async for item in response:
                yield item
        except BackPressureError as error:
            raise SamplerBusy(str(error)) from None
        except (RayActorError, DeploymentUnavailableError) as error:
            raise SamplerLost(str(error).splitlines()[0]) from None
        finally:
            response.cancel()

    async def info(self) -> ModelInfo:
        return await self._handle.info.remote()
