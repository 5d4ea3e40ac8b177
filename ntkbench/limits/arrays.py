"""Small helpers of array arithmetic."""

from typing import Any

import numpy as np

Array = Any


def inverse_root(xp: Any, q: Array) -> Array:
    """`1 / sqrt(q)`, and 0 where q is 0."""
    positive = q > 0
    return xp.where(positive, 1 / xp.sqrt(xp.where(positive, q, xp.ones_like(q))), xp.zeros_like(q))


def constant(xp: Any, values: np.ndarray, like: Array) -> Array:
    """`values` with the dtype of `like`, and on its device; arrays that jax is tracing have none."""
    return xp.asarray(values, dtype=like.dtype, device=getattr(like, "device", None))
