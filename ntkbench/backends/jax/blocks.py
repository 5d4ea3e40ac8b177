"""Blocks of seeds and of points, all of one size so that they share one compilation; and stretches of steps."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ntkbench.backends.base import Progress

CACHE_BYTES = 2**22
"""Temporaries of one block on a CPU, per thread: blocks that stay in the processor's cache ran up to three times faster."""

IMAGE_BYTES = 2**21
"""Temporaries of one pass of a convolutional network over images on a CPU, per thread: windows that have to leave the cache
take several times longer to lay out."""

CALLS = 100
"""Calls of the compiled loop in a training that reports progress, about."""


class Block(NamedTuple):
    """A slice of an axis, computed at `size` entries: the last block of an axis may keep fewer than it computes."""

    kept: slice
    size: int

    def __len__(self) -> int:
        """Entries kept."""
        return int(self.kept.stop - self.kept.start)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The block's entries of the first axis; the last one is repeated up to `size`."""
        part = array[self.kept]
        short = self.size - len(part)
        return part if short == 0 else np.concatenate([part, np.repeat(part[-1:], short, axis=0)])

    def cut_seeds(self, x: np.ndarray) -> np.ndarray:
        """As `cut` for points or targets with a seed axis, (S, n, ..); those that all seeds share, (n, ..), stay."""
        return self.cut(x) if x.ndim == 3 else x

    def cut_points(self, x: np.ndarray) -> np.ndarray:
        """As `cut`, on the axis of the points, the last but one."""
        return np.moveaxis(self.cut(np.moveaxis(x, -2, 0)), 0, -2)


def blocks(total: int, largest: int) -> list[Block]:
    """As few blocks of at most `largest` entries as cover an axis of `total`, of equal sizes."""
    size = -(-total // max(1, -(-total // max(1, largest))))
    return [Block(slice(start, min(total, start + size)), size) for start in range(0, total, max(1, size))]


class Stretches:
    """Cuts stretches of steps into calls, and reports each.

    Args:
        progress: told (steps done, `total`) after each call; None for silence, and one call per stretch.
    """

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._total, self._done = progress, total, 0
        self._longest = max(1, total // CALLS) if progress else max(1, total)

    def calls(self, count: int) -> Iterator[int]:
        """Steps of each call in a stretch of `count` steps."""
        for start in range(0, count, self._longest):
            yield min(self._longest, count - start)

    def report(self, steps: int) -> None:
        """These steps are done."""
        self._done += steps
        if self._progress:
            self._progress(self._done, self._total)
