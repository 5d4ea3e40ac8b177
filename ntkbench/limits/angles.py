"""Areas of parallelograms spanned by pairs of vectors, accurate where the vectors nearly align."""

import math
from typing import Any

Array = Any

_NEARLY_PARALLEL = 0.1
"""Pairs whose squared sine is below it are computed from differences of vectors; above it `1 - cos^2` loses half a digit."""


def parallelogram_areas(xp: Any, u1: Array, u2: Array, products: Array, memory_bytes: int) -> Array:
    """`sqrt(|u|^2 |v|^2 - (u.v)^2)` for all pairs of rows, (n1, n2), with an error of a few roundings of `|u| |v|`.

    From inner products alone the error at small angles is the square root of a rounding, 1e-8. For unit vectors the sine is
    `|u - v| |u + v| / 2`, which has none of that (Kahan's angle formula); it is applied to nearly parallel pairs only, since
    it is no matrix product.

    Args:
        u1, u2: (n1, k) and (n2, k); products: `u1 @ u2.T`, (n1, n2).
        memory_bytes: budget for the differences of vectors.
    """
    (unit1, norm1), (unit2, norm2) = _normalize(xp, u1), _normalize(xp, u2)
    norms = norm1 * norm2.T
    cosine = products / xp.where(norms > 0, norms, xp.ones_like(norms))
    squared_sine = 1 - cosine**2
    near = (squared_sine < _NEARLY_PARALLEL) & (norms > 0)
    sine = xp.sqrt(xp.where(near, xp.zeros_like(cosine), squared_sine))
    count = int(xp.sum(xp.astype(near, xp.int32)))
    if count > 0:
        chunk = max(1, memory_bytes // (4 * u1.shape[1] * xp.finfo(u1.dtype).bits // 8))
        ranks = _ranks(xp, near)
        rows, columns = _positions(xp, ranks, near.shape[1], count)
        pieces = []
        for start in range(0, rows.shape[0], chunk):
            u = xp.take(unit1, rows[start : start + chunk], axis=0)
            v = xp.take(unit2, columns[start : start + chunk], axis=0)
            pieces.append(xp.sqrt(xp.sum((u - v) ** 2, axis=1)) * xp.sqrt(xp.sum((u + v) ** 2, axis=1)) / 2)
        spread = xp.take(xp.concat(pieces), xp.clip(ranks - 1, 0, None), axis=0)
        sine = xp.where(near, xp.reshape(spread, near.shape), sine)
    return norms * sine


def _normalize(xp: Any, u: Array) -> tuple[Array, Array]:
    """Rows over their norms, zero rows left zero, and the norms, (n, 1)."""
    norm = xp.sqrt(xp.sum(u**2, axis=1, keepdims=True))
    return u / xp.where(norm > 0, norm, xp.ones_like(norm)), norm


def _ranks(xp: Any, mask: Array) -> Array:
    """How many entries are true up to and including each, in row-major order."""
    return xp.cumulative_sum(xp.astype(xp.reshape(mask, (-1,)), xp.int32), dtype=xp.int32)


def _positions(xp: Any, ranks: Array, width: int, count: int) -> tuple[Array, Array]:
    """Rows and columns of the true entries, repeated at the end up to a power of two of them.

    jax compiles every operation for every length anew, and the number of nearly parallel pairs differs from data to data.
    """
    padded = 2 ** math.ceil(math.log2(count))
    wanted = xp.clip(xp.arange(1, padded + 1, dtype=xp.int32, device=ranks.device), None, count)
    flat = xp.searchsorted(ranks, wanted)
    return flat // width, flat % width
