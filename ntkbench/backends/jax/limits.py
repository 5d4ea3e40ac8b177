"""Tiles of the limiting kernels, compiled once per network and shape."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jax
import numpy as np
from jax import Array

from ntkbench.limits import Limit, Run


def runner(put: Callable[[np.ndarray], Array], get: Callable[[Array], np.ndarray]) -> Run:
    """Runs functions of `ntkbench.limits` compiled, between a transfer to the device and one back."""

    def run(function: Callable[..., tuple[Array, ...]], limit: Limit, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        found = _compiled(function)(replace(limit, fold=_scan), *map(put, arrays))
        # Masks have no precision that `get` could check.
        return tuple(np.asarray(values) if values.dtype == bool else get(values) for values in found)

    return run


@cache
def _compiled(function: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
    return jax.jit(function, static_argnums=0)


def _scan(
    step: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]],
    state: tuple[Array, ...],
    along: tuple[Array, ...],
) -> tuple[Array, ...]:
    """`ntkbench.limits.hermite.fold` as one loop of XLA's: written out, hundreds of terms would compile for minutes."""
    found: tuple[Array, ...] = jax.lax.scan(lambda now, factors: (step(now, factors), None), state, along, unroll=4)[0]
    return found
