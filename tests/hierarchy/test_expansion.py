"""The expansion in iterated integrals, against the hierarchy's own equations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from ntkbench.hierarchy import right_hand_side
from ntkbench.hierarchy.expansion import Expansion, left_out, principal_vectors, snapshots
from ntkbench.seeding import rng
from tests.hierarchy.made_up import ROOT, made_up

TIMES = np.array([0.5, 2.0, 5.0])


def whole_state(f0: np.ndarray, kernels: dict[int, np.ndarray], y: np.ndarray) -> np.ndarray:
    """Outputs by the hierarchy's own equations, with every kernel in the state."""
    order, n = max(kernels), len(f0)
    shapes = [(n,) * r for r in range(1, order)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        state = tuple(part.reshape(1, *shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True))
        return np.concatenate([part.ravel() for part in right_hand_side(state, kernels[order][None], y)])

    start = np.concatenate([f0, *(kernels[r].ravel() for r in range(2, order))])
    return solve_ivp(slope, (0, TIMES[-1]), start, method="DOP853", t_eval=TIMES, rtol=1e-12, atol=1e-13).y[:n].T


@pytest.mark.parametrize(("n", "order"), [(4, 2), (4, 3), (4, 4), (3, 5), (3, 6)])
def test_the_expansion_is_the_hierarchy(n: int, order: int) -> None:
    f0, kernels, y = made_up(n, order, "plain")
    found = Expansion(f0, kernels[2], tuple(kernels[r] for r in range(3, order + 1))).integrate(y, TIMES, 1e-13)
    assert_allclose(found, whole_state(f0, kernels, y), rtol=0, atol=1e-10)
    wrong = Expansion(f0, kernels[2], tuple(kernels[r].swapaxes(1, -1) * 1.001 for r in range(3, order + 1)))
    if order > 2:
        assert np.abs(wrong.integrate(y, TIMES, 1e-13) - found).max() > 1e-6


@settings(max_examples=10, deadline=None)
@given(n=st.integers(2, 5), name=st.text("ab", max_size=3))
def test_a_complete_basis_changes_nothing(n: int, name: str) -> None:
    f0, kernels, y = made_up(n, 4, name)
    turned = np.linalg.qr(rng(ROOT, "turn", n, name).standard_normal((n, n)))[0]
    K3 = np.einsum("abc,bi,cj->aij", kernels[3], turned, turned)
    K4 = np.einsum("abcd,bi,cj,dk->aijk", kernels[4], turned, turned, turned)
    found = Expansion(f0, kernels[2], (K3, K4), turned).integrate(y, TIMES, 1e-12)
    plain = Expansion(f0, kernels[2], (kernels[3], kernels[4])).integrate(y, TIMES, 1e-12)
    assert_allclose(found, plain, rtol=0, atol=1e-9, equal_nan=True)


def frozen_path(K2: np.ndarray, residual0: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.stack([expm(-K2 * t / len(K2)) @ residual0 for t in times], axis=1)


def test_without_corrections_the_path_is_that_of_the_frozen_kernel() -> None:
    f0, kernels, y = made_up(5, 2, "frozen")
    found = Expansion(f0, kernels[2]).integrate(y, TIMES, 1e-6)
    assert_allclose(found - y, frozen_path(kernels[2], f0 - y, TIMES).T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [6, 3], ids=["regular", "singular"])
def test_further_rows_follow_the_frozen_path(rank: int) -> None:
    n, draw = 6, rng(ROOT, "rows", rank)
    factor, factor_test = draw.standard_normal((n, rank)), draw.standard_normal((2, rank))
    f0, y, K2 = draw.standard_normal(n + 2), draw.standard_normal(n), np.concatenate([factor, factor_test]) @ factor.T
    times = np.array([0.0, 0.5, 3.0, 1e6])
    found = Expansion(f0, K2).integrate(y, times, 1e-6)
    assert_allclose(found[0], f0, rtol=0, atol=0)
    weights = np.linalg.pinv(factor)  # K^+ r of the path's change gives K2 times the integral of the residual
    for t, outputs in zip(times, found, strict=True):
        change = weights @ (expm(-K2[:n] * t / n) @ (f0[:n] - y) - (f0[:n] - y))
        expected = f0 + np.concatenate([factor, factor_test]) @ change
        assert_allclose(outputs, expected, rtol=0, atol=1e-12 if t < 1e3 else 1e-8)  # eigenvalues of rounding size move by then


def test_directions_without_a_kernel_stay_and_drive_others_evenly() -> None:
    K2 = np.array([[1.0, 0.0], [0.0, -1e-16], [0.0, 1.0]])  # negative by rounding
    found = Expansion(np.ones(3), K2).integrate(np.zeros(2), np.array([4.0, 1e18]), 1e-6)
    assert_allclose(found, [[math.exp(-2), 1, -1], [0, 1, 1 - 5e17]], rtol=1e-14)


def test_a_truncation_that_blows_up_says_so_by_nan() -> None:
    f0, y = np.ones(1), np.zeros(1)
    growing = Expansion(f0, np.ones((1, 1)), (np.full((1, 1, 1), 3.0),))  # dK2/dt = -3 r drives K2 below zero
    found = growing.integrate(y, np.array([0.1, 100.0]), 1e-8)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_a_blow_up_before_the_first_time_leaves_nothing() -> None:
    growing = Expansion(np.ones(2), np.ones((2, 1)), (np.full((2, 1, 1), 3.0),))
    found = growing.integrate(np.zeros(1), np.array([100.0]), 1e-8)
    assert found.shape == (1, 2)
    assert np.isnan(found).all()


def test_a_coarser_integration_takes_other_steps_even_at_rounding() -> None:
    f0, kernels, y = made_up(4, 3, "plain")
    expansion = Expansion(f0, kernels[2], (kernels[3],))
    fine, coarser = (expansion.integrate(y, TIMES, 1e-16, coarsening) for coarsening in (1, 10))
    assert 1e-14 < np.abs(fine - coarser).max() < 1e-11


def test_looks_at_a_path_that_stands_still() -> None:
    looks = snapshots(np.zeros((3, 3)), 5.0)
    assert (np.diff(looks) > 0).all()
    assert looks[-1] == pytest.approx(5.0)


def test_principal_vectors_are_orthonormal_and_lead() -> None:
    f0, kernels, y = made_up(6, 2, "vectors")
    looks = snapshots(kernels[2], 5.0)
    assert looks[0] == 0
    assert looks[-1] == pytest.approx(5.0)
    path = frozen_path(kernels[2], f0 - y, looks)
    basis = principal_vectors(path, 3)
    assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    outside = [np.linalg.norm(path - basis[:, :k] @ basis[:, :k].T @ path) for k in (1, 2, 3)]
    assert outside[0] > outside[1] > outside[2]


def test_what_a_basis_leaves_out_of_a_path_is_known_for_every_size() -> None:
    f0, kernels, y = made_up(6, 2, "left out")
    path = frozen_path(kernels[2], f0 - y, snapshots(kernels[2], 5.0))
    shares = left_out(path)
    assert shares.shape == (6,)
    for k, share in enumerate(shares):
        basis = principal_vectors(path, k)
        outside = np.linalg.norm(path - basis @ basis.T @ path, axis=0) / np.linalg.norm(path, axis=0)
        assert share == pytest.approx(outside.max(), rel=1e-6, abs=1e-10)
