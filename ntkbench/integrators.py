"""Explicit Runge-Kutta tableaux with a fixed step, shared by the training loops and the truncated hierarchy.

Gradient descent is the first of them: explicit Euler on the gradient flow, its step being the learning rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ntkbench import names
from ntkbench.scalars import is_finite


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of an explicit Runge-Kutta method of the given order, for an autonomous equation.

    `stages[i]` are the coefficients of the earlier slopes at stage i, shape (i,); `weights` those of the step, (stages,).
    """

    order: int
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


INTEGRATORS = ("euler", "rk4", "dop853")
"""`euler` (gradient descent), `rk4` (classical), `dop853` (Dormand & Prince's 8th order, from scipy)."""


def tableau(name: str) -> Tableau:
    """The tableau called `name`; ValueError names the known ones."""
    names.check("integrator", name, INTEGRATORS)
    if name == "dop853":
        return _dop853()
    if name == "rk4":
        return Tableau(order=4, stages=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6))
    return Tableau(order=1, stages=((),), weights=(1.0,))


@cache
def _dop853() -> Tableau:
    # scipy.integrate takes longer to import than all else that a command needs, and most need no tableau.
    from scipy.integrate import DOP853

    weights = tuple(DOP853.B.tolist())
    return Tableau(order=8, stages=tuple(tuple(DOP853.A[i, :i].tolist()) for i in range(len(weights))), weights=weights)


def steps_between(times: Sequence[float], step: float) -> list[int]:
    """Steps from each recorded time to the next, the first counted from t = 0.

    Args:
        times: increasing, the first may be 0; units of gradient-flow time.
        step: the fixed step, same units.

    Returns:
        One count per time; their sum is the whole number of steps.

    Raises:
        ValueError: if the step is not positive and finite, the times are not finite or do not increase, or one is no whole
            number of steps.
    """
    if not (is_finite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, got {step!r}")
    if not isinstance(times, Sequence | np.ndarray):
        raise ValueError(f"times must be a sequence of numbers, got {times!r}")
    whole = [_whole_steps(time, step) for time in times]
    counts = [b - a for a, b in zip([0, *whole], whole, strict=False)]
    if not counts or counts[0] < 0 or any(k <= 0 for k in counts[1:]):
        raise ValueError(f"recorded times must increase from 0 on, got {list(times)}")
    return counts


def _whole_steps(time: float, step: float) -> int:
    if not is_finite(time):
        raise ValueError(f"recorded times must be finite numbers, got {time!r}")
    steps = float(time) / float(step)
    if not math.isfinite(steps) or abs(round(steps) - steps) > 1e-9 * max(1.0, abs(steps)):
        raise ValueError(f"time {time} is no whole number of steps of {step}: choose a step that divides every recorded time")
    return round(steps)
