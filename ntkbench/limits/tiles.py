"""Kernel matrices in equal tiles under a memory budget; of a symmetric matrix one triangle is computed, and mirrored."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from ntkbench.limits.limit import Limit

CACHE_BYTES = 2**24
"""Temporaries of one tile on a CPU that stay in its cache."""

Run = Callable[..., Any]
"""Called with a function, its `Limit`, and numpy arrays; returns a tuple of numpy arrays, as `in_numpy` does."""


def in_numpy(function: Callable[..., tuple[Any, ...]], limit: Limit, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """`function(limit, *arrays)` on numpy arrays; the frameworks put the arrays on their device and bring the results back."""
    return function(limit, *arrays)


class Pairs(Protocol):
    """Kernels between two sets of points, tile by tile."""

    def bytes_per_tile(self, rows: int, columns: int) -> int:
        """Temporaries of one tile."""

    def tile(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """NNGP and NTK of the points in `rows` with those in `columns`."""


def assemble(
    pairs: Pairs, shape: tuple[int, int], dtype: np.dtype, symmetric: bool, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both kernels, of the given shape.

    All tiles have one shape, so that they share one compilation; the last of a row or column overlaps the one before.

    Raises:
        ValueError: if one pair of points exceeds the budget.
    """
    size = _largest(pairs, shape, budget)
    nngp, ntk = np.empty(shape, dtype), np.empty(shape, dtype)
    for rows in _stretches(shape[0], size):
        for columns in _stretches(shape[1], size):
            if symmetric and columns.start < rows.start:
                continue
            for found, tile in zip((nngp, ntk), pairs.tile(rows, columns), strict=True):
                found[rows, columns] = tile
                if symmetric:
                    found[columns, rows] = tile.T
    return nngp, ntk


def _largest(pairs: Pairs, shape: tuple[int, int], budget: int) -> int:
    """Side of the largest tiles under the budget that cover the longer side evenly."""
    longest = max(shape)
    for parts in range(1, longest + 1):
        size = -(-longest // parts)
        if pairs.bytes_per_tile(min(size, shape[0]), min(size, shape[1])) <= budget:
            return size
    needed = pairs.bytes_per_tile(1, 1)
    raise ValueError(f"the kernels of one pair of points need {needed} bytes, memory_bytes is {budget}: raise it")


def _stretches(total: int, size: int) -> Iterator[slice]:
    size = min(size, total)
    for start in range(0, total, size):
        start = min(start, total - size)
        yield slice(start, start + size)
