"""torch against jax, elementwise: two implementations that have only the contract in common, on the networks of all tests."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from jax.numpy import asarray
from torch import from_numpy

from ntkbench.backends import Backend, load
from ntkbench.backends.base import PRECISIONS
from ntkbench.backends.jax.activations import DERIVATIVES
from ntkbench.backends.torch.activations import derivatives
from ntkbench.integrators import INTEGRATORS
from ntkbench.networks import ACTIVATIONS, SMOOTH_ACTIVATIONS, FullyConnected
from ntkbench.seeding import rng
from tests.cases import CASES, ONE_OUTPUT, ROOT, SMOOTH, Case

ROUNDINGS = 1e-12 / np.finfo(np.float64).eps
"""Allowed difference in units of the precision's rounding error: 1e-12 in float64."""

SINGLE = ("tanh-3-biases-antisymmetric", "relu-1-outputs-standard")
"""Cases that are run in float32 too; compiling all of them twice would double the time."""


@cache
def pair(precision: str) -> tuple[Backend, Backend]:
    torch, jax = (load(name, device="cpu", precision=precision, threads=1) for name in ("torch", "jax"))
    return torch, jax


def runs(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Every case in float64, those of `SINGLE` in float32."""
    chosen = [("float64", case) for case in cases] + [("float32", case) for case in cases if case.name in SINGLE]
    return pytest.mark.parametrize(("precision", "case"), chosen, ids=str)


def agree(first: np.ndarray, second: np.ndarray, dtype: str) -> None:
    """Same dtype, same shape, and entries equal relative to the largest of their seed (first axis)."""
    assert first.dtype == second.dtype == np.dtype(dtype)
    assert first.shape == second.shape
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    scale = np.abs(first).max(axis=tuple(range(1, first.ndim)), keepdims=True)
    difference = np.abs(first.astype(np.float64) - second) / np.where(scale > 0, scale, 1)
    assert difference.max() <= ROUNDINGS * np.finfo(dtype).eps


def test_a_small_difference_in_one_seed_is_seen() -> None:
    first = np.stack([np.ones(3), 1e-6 * np.ones(3)])
    agree(first, first.copy(), "float64")
    second = first.copy()
    second[1, 2] *= 1 + 1e-11
    with pytest.raises(AssertionError):
        agree(first, second, "float64")


@runs(CASES)
def test_outputs(precision: str, case: Case) -> None:
    torch, jax = (b.forward(case.net, case.theta, case.x) for b in pair(precision))
    agree(torch, jax, precision)


@runs(ONE_OUTPUT)
def test_ntk(precision: str, case: Case) -> None:
    for other in (None, case.x[..., :2, :] + 0.5):
        torch, jax = (b.ntk(case.net, case.theta, case.x, other) for b in pair(precision))
        agree(torch, jax, precision)


@runs(SMOOTH)
def test_hierarchy(precision: str, case: Case) -> None:
    torch, jax = (b.hierarchy(case.net, case.theta, case.x, 4) for b in pair(precision))
    assert set(torch) == set(jax) == {2, 3, 4}
    for r in torch:
        agree(torch[r], jax[r], precision)


def test_the_highest_orders_of_the_hierarchy() -> None:
    """On one small network, depth 1: compiling them takes long."""
    case = SMOOTH[0]
    torch, jax = (b.hierarchy(case.net, case.theta, case.x, 6) for b in pair("float64"))
    assert set(torch) == set(jax) == set(range(2, 7))
    for r in torch:
        agree(torch[r], jax[r], "float64")


@pytest.mark.parametrize("activation", SMOOTH_ACTIVATIONS)
def test_derivatives_of_activations(activation: str) -> None:
    """Those of torch to the fifth, which its highest kernels need, against central differences; jax's as far as it has them."""
    pair("float64")
    z, h = rng(ROOT, "activations").standard_normal(7), 1e-5
    before, at, after = (derivatives(activation, from_numpy(z + step), 5) for step in (-h, 0.0, h))
    for k in range(1, 6):
        difference = (after[k - 1] - before[k - 1]).numpy() / (2 * h)
        np.testing.assert_allclose(at[k], difference, rtol=0, atol=1e-8 * max(1.0, np.abs(difference).max()))
    for first, second in zip(at, DERIVATIVES[activation](asarray(z)), strict=False):
        agree(first.numpy()[np.newaxis], np.asarray(second)[np.newaxis], "float64")


@pytest.mark.parametrize("integrator", ["euler", "rk4"])
@runs(CASES)
def test_training(precision: str, case: Case, integrator: str) -> None:
    several = case.net.output_dim > 1
    observe = ("f", "f_test", "movement") if several else ("f", "f_test", "movement", "K2")
    torch, jax = (
        b.train(
            case.net,
            case.theta,
            case.x,
            case.y,
            times=[0.0, 0.1, 0.3],
            step=0.05,
            integrator=integrator,
            observe=observe,
            x_test=case.x[..., :2, :] + 0.5,
        )
        for b in pair(precision)
    )
    np.testing.assert_array_equal(torch.times, jax.times)
    for name in observe:
        agree(getattr(torch, name), getattr(jax, name), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_with_many_stages(precision: str) -> None:
    case = SMOOTH[0]
    torch, jax = (
        b.train(case.net, case.theta, case.x, case.y, times=[0.5, 2.0], step=0.25, integrator="dop853").f
        for b in pair(precision)
    )
    agree(torch, jax, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_truncated_hierarchy(precision: str, order: int, integrator: str) -> None:
    draw, n = rng(ROOT, "agreement", order), 4
    root = draw.standard_normal((3, n, n))
    kernels = {2: root @ root.swapaxes(1, 2), **{r: 0.1 * draw.standard_normal((3,) + (n,) * r) for r in range(3, order + 1)}}
    f0, y = draw.standard_normal((3, n)), draw.standard_normal((3, n))
    torch, jax = (
        b.integrate_hierarchy(kernels, f0, y, times=[0.1, 0.5], step=0.05, integrator=integrator) for b in pair(precision)
    )
    agree(torch.f, jax.f, precision)
    agree(torch.K2, jax.K2, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_solve(precision: str) -> None:
    factor = rng(ROOT, "solve").standard_normal((3, 6, 6))
    kernel, rhs = factor @ factor.swapaxes(1, 2) + np.eye(6), rng(ROOT, "rhs").standard_normal((3, 6, 2))
    for ridge in (0.0, 0.3):
        torch, jax = (b.solve(kernel, rhs, ridge) for b in pair(precision))
        agree(torch, jax, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rank", [2, 5], ids=["singular", "full"])
def test_kernel_descent(precision: str, rank: int) -> None:
    draw = rng(ROOT, "descent", rank)
    factor = draw.standard_normal((2, 5, rank))
    settings = {
        "kernel": factor @ factor.swapaxes(1, 2),
        "residual0": draw.standard_normal((2, 5, 3)),
        "kernel_test": draw.standard_normal((2, 4, rank)) @ factor.swapaxes(1, 2),
    }
    torch, jax = (b.kernel_descent(**settings, step=0.4, counts=[0, 1, 2, 50]) for b in pair(precision))
    for first, second in zip(torch, jax, strict=True):
        agree(first, second, precision)


@pytest.mark.parametrize(
    ("precision", "activation", "parametrization"),
    [
        *(("float64", activation, "ntk") for activation in ACTIVATIONS),
        ("float32", "relu", "ntk"),
        ("float32", "erf", "standard"),
    ],
)
def test_limiting_kernels(precision: str, activation: str, parametrization: str) -> None:
    net = FullyConnected(5, 8, 2, activation, parametrization=parametrization, weight_variance=1.3, bias_variance=0.1)
    x = rng(ROOT, "limits").standard_normal((4, 5))
    for other in (None, x[1:] + 0.2):
        torch, jax = (b.limiting_kernels(net, x, other) for b in pair(precision))
        for first, second in zip(torch, jax, strict=True):
            agree(first, second, precision)
