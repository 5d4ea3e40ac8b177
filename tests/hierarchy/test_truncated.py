"""The truncated hierarchy against its definition, scipy's integrator and the matrix exponential, in three array types."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from ntkbench.hierarchy import right_hand_side, runge_kutta_step
from ntkbench.integrators import INTEGRATORS, tableau

S, N = 2, 3


def system(order: int, scale: float = 1.0) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """A random state (f, K2, ..., K_{p-1}), top kernel and targets; K2 positive definite, so that nothing explodes."""
    draw = np.random.default_rng(order)
    root = draw.standard_normal((S, N, N))
    kernels = [root @ root.swapaxes(1, 2) + np.eye(N)]
    kernels += [scale * draw.standard_normal((S, *[N] * r)) for r in range(3, order + 1)]
    return (draw.standard_normal((S, N)), *kernels[:-1]), kernels[-1], draw.standard_normal((S, N))


def slopes_by_loops(state: tuple[np.ndarray, ...], top: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """The definition, entry by entry: the last index of the next kernel is summed over with the residual."""
    slopes = []
    for value, above in zip(state, (*state[1:], top), strict=True):
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            slope[index] = -sum(above[(*index, b)] * (state[0][index[0], b] - y[index[0], b]) for b in range(N)) / N
        slopes.append(slope)
    return tuple(slopes)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_slopes_are_the_definition(order: int) -> None:
    state, top, y = system(order)
    for found, expected in zip(right_hand_side(state, top, y), slopes_by_loops(state, top, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def test_targets_may_be_shared_by_the_seeds() -> None:
    state, top, y = system(3)
    shared = right_hand_side(state, top, y[0])
    for found, expected in zip(shared, right_hand_side(state, top, np.stack([y[0], y[0]])), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda state, top, y: (state, top[0], y), "K4"),
        (lambda state, top, y: ((state[0], state[2], state[1]), top, y), "K2"),
        (lambda state, top, y: (state, top, y[:, :-1]), "y has shape"),
        (lambda state, top, y: (state, top, y[:, :, None]), "y has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(broken: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        right_hand_side(*broken(*system(4)))


def march(state: tuple[Any, ...], top: Any, y: Any, method: str, steps: int, time: float) -> tuple[Any, ...]:
    for _ in range(steps):
        state = runge_kutta_step(lambda s: right_hand_side(s, top, y), state, time / steps, tableau(method))
    return state


@pytest.mark.parametrize("order", [2, 3, 4])
def test_trajectory_agrees_with_scipy(order: int) -> None:
    state, top, y = system(order, scale=0.3)
    found = march(state, top, y, "dop853", 40, 1.0)
    for s in range(S):
        shapes = [value[s].shape for value in state]
        ends = np.cumsum([np.prod(shape) for shape in shapes])

        def flow(_: float, flat: np.ndarray, s: int = s, shapes: list[Any] = shapes, ends: np.ndarray = ends) -> np.ndarray:
            parts = [p.reshape(shape) for p, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]
            residual = parts[0] - y[s]
            return np.concatenate([(-above @ residual / N).ravel() for above in (*parts[1:], top[s])])

        start = np.concatenate([value[s].ravel() for value in state])
        end = solve_ivp(flow, (0, 1), start, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        np.testing.assert_allclose(np.concatenate([value[s].ravel() for value in found]), end, rtol=0, atol=1e-11)


def test_order_two_is_the_matrix_exponential() -> None:
    (f,), kernel, y = system(2)
    (found,) = march((f,), kernel, y, "dop853", 50, 2.0)
    for s in range(S):
        np.testing.assert_allclose(found[s], y[s] + expm(-2.0 * kernel[s] / N) @ (f[s] - y[s]), rtol=1e-12)


@pytest.mark.parametrize(("method", "coarse"), [("euler", 320), ("rk4", 16), ("dop853", 2)])
def test_error_falls_with_the_order_of_the_method(method: str, coarse: int) -> None:
    state, top, y = system(4, scale=0.3)
    exact = march(state, top, y, "dop853", 64, 1.0)[0]
    errors = [np.abs(march(state, top, y, method, steps, 1.0)[0] - exact).max() for steps in (coarse, 2 * coarse)]
    order = np.log2(errors[0] / errors[1])
    assert order == pytest.approx(tableau(method).order, abs=0.5)


@pytest.mark.parametrize("method", INTEGRATORS)
def test_three_array_types_agree(method: str) -> None:
    state, top, y = system(4, scale=0.3)
    expected = march(state, top, y, method, 2, 0.1)
    by_torch = march(tuple(torch.tensor(a) for a in state), torch.tensor(top), torch.tensor(y), method, 2, 0.1)
    for found, wanted in zip(by_torch, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-13, atol=1e-14)
    with jax.enable_x64(True):
        compiled = jax.jit(lambda state, top, y: march(state, top, y, method, 2, 0.1))
        by_jax = compiled(tuple(jnp.asarray(a) for a in state), jnp.asarray(top), jnp.asarray(y))
        for found, wanted in zip(by_jax, expected, strict=True):
            np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-13, atol=1e-14)


def test_the_start_is_left_as_it_was() -> None:
    state, top, y = system(4)
    before = [value.copy() for value in state]
    march(state, top, y, "rk4", 2, 0.5)
    for value, copy in zip(state, before, strict=True):
        np.testing.assert_array_equal(value, copy)
