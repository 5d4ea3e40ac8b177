"""Steps in a loop over stages are those that are written out."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends.jax import stepping
from ntkbench.hierarchy import runge_kutta_step
from ntkbench.integrators import INTEGRATORS, tableau


def slope(state: stepping.State) -> stepping.State:
    """No stage's slope is that of another, and the arrays act on each other."""
    f, K = state
    return -K @ f, K @ K - 2 * K


def start() -> stepping.State:
    draw = np.random.default_rng(0)
    return jax.numpy.asarray(draw.standard_normal((2, 3, 1))), jax.numpy.asarray(draw.standard_normal((2, 3, 3)) / 4)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_a_step_by_stages_is_a_step(name: str) -> None:
    method = tableau(name)
    with jax.enable_x64(True):
        found = stepping.step_by_stages(slope, start(), 0.1, method)
        for one, expected, before in zip(found, runge_kutta_step(slope, start(), 0.1, method), start(), strict=True):
            assert_allclose(one, expected, rtol=0, atol=1e-14)
            assert np.abs(np.asarray(one) - np.asarray(before)).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "large", "copies"), [("euler", False, 1), ("rk4", False, 4), ("dop853", False, 1), ("dop853", True, 12)]
)
def test_the_slope_is_compiled_once_where_that_pays(
    name: str, large: bool, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "LARGE_STATE", 1 if large else 2**20)
    traced = []

    def counted(state: stepping.State) -> stepping.State:
        traced.append(None)
        return slope(state)

    with jax.enable_x64(True):
        found = jax.jit(lambda state: stepping.steps(counted, state, 0.1, 3, tableau(name)))(start())
        expected = start()
        for _ in range(3):
            expected = runge_kutta_step(slope, expected, 0.1, tableau(name))
    assert len(traced) == copies
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-14)
