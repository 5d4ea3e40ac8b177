"""Order conditions of the tableaux, and the counting of steps."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.hierarchy import runge_kutta_step
from ntkbench.integrators import INTEGRATORS, steps_between, tableau


@pytest.mark.parametrize("name", INTEGRATORS)
def test_linear_equation_is_integrated_to_the_taylor_polynomial_of_the_order(name: str) -> None:
    """On dy/dt = y a method of order k reproduces exp to the k-th power of the step: the tall-tree order conditions."""
    method = tableau(name)
    a = np.zeros((len(method.weights),) * 2)
    for i, row in enumerate(method.stages):
        a[i, :i] = row
    b = np.array(method.weights)
    for k in range(1, method.order + 1):
        coefficient = b @ np.linalg.matrix_power(a, k - 1) @ np.ones(len(b))
        assert coefficient == pytest.approx(1 / np.prod(np.arange(1.0, k + 1)), rel=1e-12)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_quadrature_conditions(name: str) -> None:
    """`sum_i b_i c_i^(k-1) = 1/k` for k up to the order."""
    method = tableau(name)
    c = np.array([sum(row) for row in method.stages])
    for k in range(1, method.order + 1):
        assert np.dot(method.weights, c ** (k - 1)) == pytest.approx(1 / k, rel=1e-12)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_nonlinear_equation_converges_at_the_order(name: str) -> None:
    """dy/dt = y^2 from y(0) = 1/2, y(t) = 1 / (2 - t): needs the bushy trees too."""
    coarse = {"euler": 400, "rk4": 8, "dop853": 2}[name]
    errors = []
    for steps in (coarse, 2 * coarse):
        state = (np.array([0.5]),)
        for _ in range(steps):
            state = runge_kutta_step(lambda s: (s[0] ** 2,), state, 1.0 / steps, tableau(name))
        errors.append(abs(state[0][0] - 1.0))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(tableau(name).order, abs=0.5)


def test_unknown_tableau_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="euler, rk4, dop853"):
        tableau("midpoint")
    assert tableau("rk4").order == 4


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.floats(1e-3, 10), st.booleans())
def test_counts_lead_from_time_to_time(counts: list[int], step: float, from_zero: bool) -> None:
    whole = list(itertools.accumulate(counts))
    counts, whole = ([0, *counts], [0, *whole]) if from_zero else (counts, whole)
    assert steps_between([k * step for k in whole], step) == counts


@pytest.mark.parametrize(
    ("times", "step", "message"),
    [
        ([0.15], 0.1, "no whole number"),
        ([0.2, 0.1], 0.1, "increase"),
        ([0.1, 0.1], 0.1, "increase"),
        ([-0.1], 0.1, "increase"),
        ([], 0.1, "increase"),
        ([0.1, math.nan], 0.1, "finite numbers, got nan"),
        ([math.inf], 0.1, "finite numbers, got inf"),
        ([True], 1.0, "finite numbers, got True"),
        (["0.1"], 0.1, "finite numbers, got '0.1'"),
        ([0.1 + 0j], 0.1, "finite numbers"),
        ([1.5e-10], 1e-10, "no whole number"),
        ([1.0], 5e-324, "no whole number"),
        ([1.0], math.inf, "positive and finite, got inf"),
        ([1.0], math.nan, "positive and finite, got nan"),
        ([1.0], "0.1", "positive and finite, got '0.1'"),
        ([1.0], True, "positive and finite, got True"),
        ([1.0], 0.0, "positive"),
        ([1.0], -1.0, "positive"),
    ],
)
def test_times_that_cannot_be_stepped_are_refused(times: list[Any], step: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps_between(times, step)


def test_times_and_steps_may_be_numbers_of_numpy() -> None:
    assert steps_between(np.array([0, 1, 3]), np.float64(0.5)) == [0, 2, 4]
