"""Embeddings of prompts that were encoded before: of the empty one, which guidance asks for at every drawing, and of those that come again.

One belongs to one version of a model. What is kept is kept for a whole batch, as it was encoded: the same call gives the same bits,
a row of a larger batch need not.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor

from bfs_serve.telemetry.amounts import HIT, LOOKUPS, MISS, Tally

Encoded = tuple[Tensor, Tensor]
_KEPT_BYTES = 256 * 2**20  # sixty prompts of FLUX.1-Fill in bfloat16


class PromptCache:
    """Called as `encode`, a function of prompts alone. Those longest unused go first. For one thread."""

    def __init__(self, encode: Callable[[Sequence[str]], Encoded], max_bytes: int = _KEPT_BYTES) -> None:
        self._encode, self._max_bytes = encode, max_bytes
        self._kept: OrderedDict[tuple[str, ...], Encoded] = OrderedDict()
        self._num_bytes = 0
        self.tally = Tally()

    def __call__(self, prompts: Sequence[str]) -> Encoded:
        """What `encode` gives. It is the same tensors every time: nobody may write into them."""
        key = tuple(prompts)
        found = self._kept.get(key)
        self.tally.count(LOOKUPS, f"prompts {HIT if found else MISS}")
        if found is not None:
            self._kept.move_to_end(key)
            return found
        encoded = self._kept[key] = self._encode(prompts)
        self._num_bytes += _num_bytes(encoded)
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= _num_bytes(self._kept.popitem(last=False)[1])
        return encoded


def _num_bytes(encoded: Encoded) -> int:
    return sum(tensor.nbytes for tensor in encoded)
