"""One step of an explicit Runge-Kutta method on a tuple of arrays."""

from collections.abc import Callable, Sequence
from typing import Any

from ntkbench.integrators import Tableau

Array = Any
State = tuple[Array, ...]


def runge_kutta_step(slope: Callable[[State], State], state: State, step: float, tableau: Tableau) -> State:
    """The state one step later, for an autonomous equation `d state / dt = slope(state)`.

    Args:
        slope: maps a state to the slopes of its arrays, of equal shapes.
        state: any number of arrays.
        step: in the units of time of `slope`.
        tableau: the method, from `ntkbench.integrators`.

    Returns:
        New arrays, shaped as `state`.
    """
    slopes: list[State] = []
    for coefficients in tableau.stages:
        slopes.append(slope(_advance(state, step, coefficients, slopes)))
    return _advance(state, step, tableau.weights, slopes)


def _advance(state: State, step: float, coefficients: Sequence[float], slopes: Sequence[State]) -> State:
    """`state + step * sum_j coefficients[j] * slopes[j]`, term by term of the state."""
    used = [(c, s) for c, s in zip(coefficients, slopes, strict=True) if c != 0]
    if not used:
        return state
    advanced = []
    for i, value in enumerate(state):
        (first, slope), *rest = used
        increment = first * slope[i]
        for c, later in rest:
            increment = increment + c * later[i]
        advanced.append(value + step * increment)
    return tuple(advanced)
