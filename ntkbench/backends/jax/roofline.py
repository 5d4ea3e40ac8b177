"""Bare matrix products, to hold the suite's quantities against."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import Array


@jax.jit
def _product(left: Array, right: Array) -> Array:
    """Returned whole, so that the compiler has to compute it."""
    return left @ right


def matrix_products(shapes: Sequence[tuple[int, int, int, int]], dtype: str, device: jax.Device) -> Callable[[], None]:
    """A function that runs `count` products (rows, inner) @ (inner, columns) per shape, one batched call each, and waits.

    Args:
        shapes: (count, rows, inner, columns). Factors are drawn now and stay on the device; each product is dropped before the
            next begins.
    """
    pairs = []
    for i, (count, rows, inner, columns) in enumerate(shapes):
        # By numpy: jax would compile a program for every shape that it draws.
        rng = np.random.default_rng(i)
        factors = (rng.standard_normal((count, *shape)) for shape in ((rows, inner), (inner, columns)))
        pairs.append([jax.device_put(factor.astype(dtype), device) for factor in factors])

    def run() -> None:
        for left, right in pairs:
            _product(left, right).block_until_ready()

    run()
    return run
