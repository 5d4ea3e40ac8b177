"""Many steps of an explicit Runge-Kutta method in one compiled loop.

XLA compiles what it is given: a step that is written out holds the slope once per stage, and for small networks compiling
twelve copies of it takes longer than all steps. With many stages a loop over them holds it once; each then sums over the slopes
of all stages, those to come being zero, instead of over the few with coefficients, which tells once slopes leave the cache.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.hierarchy import runge_kutta_step
from ntkbench.integrators import Tableau

FEW_STAGES = 4
"""Stages up to which a step is written out: as many copies of the slope compile soon."""

LARGE_STATE = 2**16
"""Entries of a state from which on a step is written out: sums over all stages would take as long as the slopes."""

State = tuple[Array, ...]


def steps(slope: Callable[[State], State], state: State, step: float, count: int, method: Tableau) -> State:
    """The state `count` steps of an autonomous equation later; to be called within `jax.jit`.

    Args:
        slope: maps a state to the slopes of its arrays.
        state: arrays of one floating-point type.
    """
    written_out = len(method.weights) <= FEW_STAGES or sum(array.size for array in state) >= LARGE_STATE
    one_step = runge_kutta_step if written_out else step_by_stages
    found: State = jax.lax.fori_loop(0, count, lambda _, at: one_step(slope, at, step, method), state)
    return found


def step_by_stages(slope: Callable[[State], State], state: State, step: float, method: Tableau) -> State:
    """As `runge_kutta_step`, the stages in a loop."""
    stages = len(method.weights)
    coefficients = np.zeros((stages, stages))
    for i, row in enumerate(method.stages):
        coefficients[i, :i] = row
    rows = jnp.asarray(coefficients, state[0].dtype)

    def stage(i: Array, slopes: State) -> State:
        new = slope(_advanced(state, step, rows[i], slopes))
        return tuple(jax.lax.dynamic_update_index_in_dim(all_, one, i, 0) for all_, one in zip(slopes, new, strict=True))

    slopes = jax.lax.fori_loop(0, stages, stage, tuple(jnp.zeros((stages, *array.shape), array.dtype) for array in state))
    return _advanced(state, step, jnp.asarray(method.weights, state[0].dtype), slopes)


def _advanced(state: State, step: float, coefficients: Array, slopes: State) -> State:
    return tuple(
        value + step * jnp.tensordot(coefficients, of_all, axes=1) for value, of_all in zip(state, slopes, strict=True)
    )
