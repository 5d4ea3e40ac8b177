"""Training to first order in 1/width, against its own differential equations."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from ntkbench.hierarchy import first_order_outputs
from ntkbench.hierarchy.first_order import exponential_difference
from ntkbench.seeding import rng
from tests.hierarchy.made_up import ROOT

Made = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
TIMES = np.array([0.0, 0.3, 2.0, 7.0])


def made(n: int, others: int, name: str, eigenvalues: np.ndarray | None = None, seeds: int = 1) -> Made:
    """K2, K3, K4, f0, y of rows without any symmetry but that of K2 on the training points."""
    draw = rng(ROOT, "first_order", n, others, name)
    K2 = draw.standard_normal((seeds, n + others, n))
    for one in K2:
        turned = np.linalg.qr(draw.standard_normal((n, n)))[0]
        values = draw.uniform(0, 2 * n, n) if eigenvalues is None else eigenvalues
        one[:n] = (turned * values) @ turned.T
    K3, K4 = (draw.standard_normal((seeds, n + others) + (n,) * r) for r in (2, 3))
    return K2, K3, K4, draw.standard_normal((seeds, n + others)), draw.standard_normal(n)


def integrated(K2: np.ndarray, K3: np.ndarray, K4: np.ndarray, f0: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One network's f_0 and f_1 by scipy, from the equations of f_0, f_1, S_1 and S_2."""
    rows, n = K2.shape
    ends = np.cumsum([rows, rows, n])

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        frozen, correction, once, twice = np.split(state, ends)
        residual = frozen[:n] - y
        D = -(K3 @ once) / n + np.einsum("abcd,cd->ab", K4, twice.reshape(n, n)) / n**2
        slopes = (-K2 @ residual / n, -(K2 @ correction[:n] + D @ residual) / n, residual, np.outer(residual, once).ravel())
        return np.concatenate(slopes)

    start = np.concatenate([f0, np.zeros(rows + n + n**2)])
    found = solve_ivp(slope, (0, TIMES[-1]), start, method="DOP853", t_eval=TIMES, rtol=1e-13, atol=1e-14).y
    return found[:rows].T, found[rows : 2 * rows].T


@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 4), others=st.integers(0, 2), name=st.text("ab", max_size=3))
def test_the_closed_form_solves_its_equations(n: int, others: int, name: str) -> None:
    K2, K3, K4, f0, y = made(n, others, name, seeds=2)
    frozen, correction = first_order_outputs(K2, K3, K4, f0, y, TIMES)
    assert frozen.shape == correction.shape == (2, len(TIMES), n + others)
    for s in range(2):
        expected = integrated(K2[s], K3[s], K4[s], f0[s], y)
        for found, wanted in zip((frozen[s], correction[s]), expected, strict=True):
            assert_allclose(found, wanted, rtol=0, atol=1e-11 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("eigenvalues", [[2.0, 2.0, 2.0], [0.0, 0.0, 1.0], [1.0, 1.0 + 1e-9, 2.0], [0.0, 0.0, 0.0]], ids=str)
def test_rates_that_coincide_or_vanish(eigenvalues: list[float]) -> None:
    K2, K3, K4, f0, y = made(3, 1, "degenerate", np.array(eigenvalues))
    found = first_order_outputs(K2, K3, K4, f0, y, TIMES)
    for one, wanted in zip(found, integrated(K2[0], K3[0], K4[0], f0[0], y), strict=True):
        assert_allclose(one[0], wanted, rtol=0, atol=1e-11 * max(1, np.abs(wanted).max()))


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.1, 10), name=st.text("ab", max_size=3))
def test_units_of_time_and_of_outputs(factor: float, name: str) -> None:
    K2, K3, K4, f0, y = made(3, 1, name)
    plain = first_order_outputs(K2, K3, K4, f0, y, TIMES)
    faster = first_order_outputs(factor * K2, factor**2 * K3, factor**3 * K4, f0, y, TIMES / factor)
    for one, other in zip(faster, plain, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-11 * np.abs(other).max())
    larger = first_order_outputs(K2, K3 / factor, K4 / factor**2, factor * f0, factor * y, TIMES)
    for one, other in zip(larger, plain, strict=True):
        assert_allclose(one, factor * other, rtol=0, atol=1e-11 * np.abs(factor * other).max())


def test_a_training_point_again_as_a_further_row_does_the_same() -> None:
    K2, K3, K4, f0, y = made(3, 0, "again", seeds=2)
    doubled = [np.concatenate([k, k[:, 1:2]], axis=1) for k in (K2, K3, K4, f0)]
    for found in first_order_outputs(*doubled, y, TIMES):
        assert_allclose(found[..., 3], found[..., 1], rtol=0, atol=1e-12 * np.abs(found).max())


def by_recursion(nodes: list[float]) -> float:
    """Differences of differences, with 200 digits, where equal nodes are 1e-30 apart."""
    with localcontext(prec=200):
        x = [Decimal(node) + k * Decimal("1e-30") for k, node in enumerate(nodes)]
        table = [node.exp() for node in x]
        for width in range(1, len(x)):
            table = [(table[k + 1] - table[k]) / (x[k + width] - x[k]) for k in range(len(table) - 1)]
        return float(table[0])


@settings(max_examples=20, deadline=None)
@given(
    nodes=st.lists(st.floats(-30, 0), min_size=2, max_size=5),
    close=st.sampled_from([0.0, 1e-12, 1e-4]),
)
def test_divided_differences(nodes: list[float], close: float) -> None:
    nodes = [nodes[0], nodes[0] + close, *nodes[1:]]
    found = exponential_difference(*(np.array([x]) for x in nodes))
    assert_allclose(found[0], by_recursion(nodes), rtol=1e-12)


def test_divided_differences_have_every_digit() -> None:
    assert_allclose(exponential_difference(*np.zeros((4, 1))), [1 / 6], rtol=1e-15)
    x = np.array([-1e-9, -1.0, -1e3, -1e6])
    assert_allclose(exponential_difference(np.zeros(1), x), np.expm1(x) / x, rtol=1e-9)
    assert_allclose(exponential_difference(np.zeros(1), x[:3]), np.expm1(x[:3]) / x[:3], rtol=1e-12)
    many = np.linspace(-3, 0, 20_000)
    assert_allclose(exponential_difference(many, np.full(1, -3.0))[[0, -1]], [math.exp(-3), (1 - math.exp(-3)) / 3], rtol=1e-14)


def test_kernels_of_single_precision_are_taken_with_their_rounding_and_no_more() -> None:
    exact = made(3, 1, "single")
    single = [array.astype(np.float32) for array in exact[:4]]
    single[0][0, 0, 1] *= 1 + 2**-20
    for found, expected in zip(first_order_outputs(*single, exact[4], TIMES), first_order_outputs(*exact, TIMES), strict=True):
        assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    single[0][0, 0, 1] *= 1.01
    with pytest.raises(ValueError, match="symmetric"):
        first_order_outputs(*single, exact[4], TIMES)


def test_what_is_refused() -> None:
    K2, K3, K4, f0, y = made(3, 1, "refused")
    with pytest.raises(ValueError, match="first rows"):
        first_order_outputs(K2[:, :2], K3, K4, f0, y, TIMES)
    with pytest.raises(ValueError, match="K4 has shape"):
        first_order_outputs(K2, K3, K4[..., :2], f0, y, TIMES)
    with pytest.raises(ValueError, match="y has shape"):
        first_order_outputs(K2, K3, K4, f0, y[:, None], TIMES)
    with pytest.raises(ValueError, match="none negative"):
        first_order_outputs(K2, K3, K4, f0, y, [-1.0])
    skew = K2.copy()
    skew[0, 0, 1] += 1e-3
    with pytest.raises(ValueError, match="symmetric"):
        first_order_outputs(skew, K3, K4, f0, y, TIMES)
    with pytest.raises(ValueError, match="an eigenvalue -"):
        first_order_outputs(K2 - 9 * np.eye(4, 3), K3, K4, f0, y, TIMES)
