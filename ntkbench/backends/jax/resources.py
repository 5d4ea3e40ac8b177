"""What one backend's computations may take, and how arrays come to its device."""

from typing import NamedTuple

from ntkbench.backends.jax.blocks import CACHE_BYTES, IMAGE_BYTES, Block, blocks
from ntkbench.backends.jax.transfers import Transfers


class Sizes(NamedTuple):
    """Bytes of temporaries: of one pass over images, and of the gradients formed at a time by the way `channels`."""

    images: int
    gradients: int


class Resources:
    """Of one backend.

    Args:
        budget: bytes for the temporaries of one call.
        cores: of a CPU, among which its cache is shared out; None for a GPU.

    Attributes:
        sizes: what passes over images and their gradients may take, a part of the budget.
    """

    def __init__(self, transfers: Transfers, budget: int, cores: int | None):
        self.transfers, self.budget, self._cores = transfers, budget, cores
        # Passes over images stay in a CPU's cache; the gradients formed at a time need no such care.
        images = budget // 8 if cores is None else min(budget // 8, IMAGE_BYTES * cores)
        self.sizes = Sizes(images, budget // 4)

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.transfers.dtype.itemsize

    def left(self, passes: bool) -> int:
        """Bytes for all but what `sizes` allows, if there are passes over images."""
        return self.budget - (sum(self.sizes) if passes else 0)

    def blocks(self, total: int, bytes_each: int, budget: int | None = None) -> list[Block]:
        """Equal blocks of a batch axis under the budget, that of the backend unless given, and on a CPU within its cache."""
        largest = self.budget if budget is None else budget
        if self._cores is not None:
            largest = min(largest, CACHE_BYTES * self._cores)
        return blocks(total, largest // max(1, bytes_each))
