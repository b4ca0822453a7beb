"""Batches on their way to the device of a run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Transfer:
    """Begins to copy a batch as soon as it is prepared, and hands it over without the host waiting for it.

    On CUDA the copy runs from pinned memory on a stream of its own, beside the step before; whoever takes the batch has the device wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, arguments: Any) -> tuple[Any, Any]:
        """The tensors of `arguments` on the device, soon, and what says when. May be called on any thread."""
        if self._stream is None:
            return place(arguments, self._device), None
        with torch.cuda.stream(self._stream):
            moved = place(_mapped(arguments, _pinned), self._device)
            return moved, self._stream.record_event()

    def end(self, begun: tuple[Any, Any]) -> Any:
        """What `begin` has copied, for use on the current stream."""
        moved, arrived = begun
        if arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(arrived)
            _mapped(moved, lambda tensor: _used_on(tensor, stream))
        return moved


def place(arguments: Any, device: torch.device) -> Any:
    """The tensors of (nested) tuples and dataclasses on `device`; everything else as it is."""
    return _mapped(arguments, lambda tensor: tensor.to(device, non_blocking=True))


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor


def _used_on(tensor: Tensor, stream: Any) -> Tensor:
    """Keeps the memory of a tensor from being given away before `stream` is done with it."""
    tensor.record_stream(stream)
    return tensor


def _mapped(arguments: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(arguments, Tensor):
        return function(arguments)
    if isinstance(arguments, tuple):
        return tuple(_mapped(item, function) for item in arguments)
    if dataclasses.is_dataclass(arguments) and not isinstance(arguments, type):
        values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}
        return dataclasses.replace(arguments, **{name: function(v) for name, v in values.items() if isinstance(v, Tensor)})
    return arguments
