"""Inner products of the gradients of single examples, contracted parameter by parameter."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.any_model.function import Jacobian

STRIPS = 8
"""Strips of a symmetric kernel, each computed from its diagonal on: 9/16 of the work of the full square."""


@partial(jax.jit, static_argnums=2)
def products(first: Jacobian, second: Jacobian | None, together: bool) -> Array:
    """Inner products of gradients, (n1, B, n2, B), or (n1, 1, n2, 1) of the outputs together; None means `first`."""
    one = [_rows(g, together) for g in first]
    two = one if second is None else [_rows(g, together) for g in second]
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    n1, n2 = first[0].shape[0], (first if second is None else second)[0].shape[0]
    b1, b2 = len(one[0]) // n1, len(two[0]) // n2
    if second is not None:
        found = sum(product(a, b.T) for a, b in zip(one, two, strict=True))
    else:
        height = -(-len(one[0]) // STRIPS)
        strips = []
        for start in range(0, len(one[0]), height):
            strip = sum(product(a[start : start + height], a[start:].T) for a in one)
            strips.append(jnp.pad(strip, ((0, 0), (start, 0))))
        upper = jnp.triu(jnp.concatenate(strips))
        found = upper + jnp.triu(upper, 1).T
    return jnp.reshape(found, (n1, b1, n2, b2))


def _rows(gradients: Array, together: bool) -> Array:
    """(n * B, P), or (n, B * P) where the outputs are only wanted summed."""
    n, count, entries = gradients.shape
    return gradients.reshape((n, count * entries) if together else (n * count, entries))


@partial(jax.jit, donate_argnums=0)
def added(kernel: Array, tile: Array, place: tuple[int, ...]) -> Array:
    """The kernel with the tile added at that place."""
    before = jax.lax.dynamic_slice(kernel, place, tile.shape)
    return jax.lax.dynamic_update_slice(kernel, before + tile, place)
