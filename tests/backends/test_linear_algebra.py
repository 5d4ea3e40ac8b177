"""Solves and kernel descent."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend, load
from ntkbench.seeding import rng
from tests.cases import ROOT


def positive(batch: int, n: int, rank: int | None = None) -> np.ndarray:
    """Random positive semi-definite matrices (batch, n, n) of the given rank, full by default."""
    factor = rng(ROOT, "factor", batch, n).standard_normal((batch, n, rank or n))
    return factor @ factor.swapaxes(1, 2)


def test_solve_against_numpy(backend: Backend) -> None:
    kernel, rhs = positive(3, 6), rng(ROOT, "rhs").standard_normal((3, 6, 2))
    for ridge in (0.0, 0.5):
        expected = np.linalg.solve(kernel + ridge * np.eye(6), rhs)
        assert_allclose(backend.solve(kernel, rhs, ridge), expected, rtol=1e-9)
        assert_allclose(backend.solve(kernel[1], rhs[1], ridge), expected[1], rtol=1e-9)


def test_solve_in_blocks(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    kernel, rhs = positive(40, 50) + np.eye(50), rng(ROOT, "rhs").standard_normal((40, 50, 1))
    assert_allclose(tiny.solve(kernel, rhs), np.linalg.solve(kernel, rhs), rtol=1e-8)


def test_a_matrix_that_is_not_positive_definite_is_named(backend: Backend) -> None:
    kernel = np.stack([np.eye(3), np.diag([1.0, -0.25, 2.0])])
    with pytest.raises(np.linalg.LinAlgError, match=r"-0\.25"):
        backend.solve(kernel, np.ones((2, 3, 1)))
    with pytest.raises(np.linalg.LinAlgError, match=r"-0\.25"):
        backend.solve(kernel[1], np.ones((3, 1)))
    with pytest.raises(np.linalg.LinAlgError, match=r"-0\.125"):
        backend.solve(kernel[1], np.ones((3, 1)), ridge=0.125)
    assert_allclose(backend.solve(kernel[1], np.ones((3, 1)), ridge=1.0)[:, 0], [1 / 2, 1 / 0.75, 1 / 3], rtol=1e-14)


def test_the_refusal_is_worded_alike_and_counts_over_blocks(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    kernel = np.tile(np.eye(50), (40, 1, 1))
    kernel[33, 7, 7] = -0.5
    with pytest.raises(
        np.linalg.LinAlgError, match="^kernel 33 of 40 is not positive definite: its smallest eigenvalue is -0.5; raise"
    ):
        tiny.solve(kernel, np.ones((40, 50, 1)))
    with pytest.raises(np.linalg.LinAlgError, match="^the kernel plus 0.25 times the identity is not positive .* is -0.25;"):
        tiny.solve(kernel[33], np.ones((50, 1)), ridge=0.25)


@pytest.mark.parametrize(
    ("kernel", "rhs"),
    [
        (np.eye(3), np.ones((2, 1))),
        (np.ones((3, 2)), np.ones((3, 1))),
        (np.eye(3), np.ones(3)),
        (np.eye(3)[None], np.ones((2, 3, 1))),
        (np.full((3, 3), np.nan), np.ones((3, 1))),
        (np.eye(3), np.full((3, 1), np.inf)),
    ],
)
def test_systems_that_do_not_fit_are_refused(backend: Backend, kernel: np.ndarray, rhs: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shape|finite"):
        backend.solve(kernel, rhs)


@pytest.mark.parametrize("rank", [None, 2], ids=["full", "singular"])
def test_kernel_descent_is_the_explicit_iteration(backend: Backend, rank: int | None) -> None:
    kernel, draw = positive(2, 5, rank), rng(ROOT, "descent")
    residual0, kernel_test = draw.standard_normal((2, 5, 3)), draw.standard_normal((2, 4, 5))
    step, counts = 0.4, [0, 1, 2, 50]
    train, test = backend.kernel_descent(kernel, residual0, step=step, counts=counts, kernel_test=kernel_test)
    assert (train.shape, test.shape) == ((2, 4, 5, 3), (2, 4, 4, 3))
    residual, moved = residual0.copy(), np.zeros((2, 4, 3))
    for k in range(max(counts) + 1):
        if k in counts:
            assert_allclose(train[:, counts.index(k)], residual - residual0, rtol=0, atol=1e-12)
            assert_allclose(test[:, counts.index(k)], moved, rtol=0, atol=1e-12)
        moved = moved - step / 5 * kernel_test @ residual
        residual = residual - step / 5 * kernel @ residual


def test_kernel_descent_in_blocks(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    kernel, draw = positive(40, 30), rng(ROOT, "blocks")
    arguments = {
        "kernel": kernel,
        "residual0": draw.standard_normal((40, 30, 2)),
        "kernel_test": draw.standard_normal((40, 20, 30)),
        "step": 0.1,
        "counts": [1, 5],
    }
    for found, expected in zip(tiny.kernel_descent(**arguments), backend.kernel_descent(**arguments), strict=True):
        assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_kernel_descent_ends_at_kernel_regression(backend: Backend) -> None:
    kernel, draw = positive(1, 5) + np.eye(5), rng(ROOT, "descent")
    residual0, kernel_test = draw.standard_normal((1, 5, 1)), draw.standard_normal((1, 4, 5))
    step = 5.0 / np.linalg.eigvalsh(kernel).max()
    train, test = backend.kernel_descent(kernel, residual0, step=step, counts=[10**6], kernel_test=kernel_test)
    assert_allclose(train[:, 0], -residual0, rtol=1e-10)
    assert_allclose(test[:, 0], -kernel_test @ np.linalg.solve(kernel, residual0), rtol=0, atol=1e-10)


def test_kernel_descent_above_the_stable_step_grows(backend: Backend) -> None:
    """Rates above 1 alternate in sign and above 2 diverge; the closed form must follow them there."""
    kernel, residual0 = np.diag([1.0, 3.0, 5.0])[None], np.ones((1, 3, 1))
    train, _ = backend.kernel_descent(kernel, residual0, step=1.5, counts=[1, 2, 7], kernel_test=np.zeros((1, 1, 3)))
    factors = 1 - np.array([0.5, 1.5, 2.5])
    assert_allclose(train[0, :, :, 0], [factors**k - 1 for k in (1, 2, 7)], rtol=1e-13)


@pytest.mark.parametrize("eigenvalue", [0.0, 1e-13])
def test_kernel_descent_of_null_modes_is_linear_in_the_count(backend: Backend, eigenvalue: float) -> None:
    """A mode of eigenvalue 1e-13 moves test points by `-count * step / n`, which a difference of powers would lose."""
    _, test = backend.kernel_descent(
        np.array([[[eigenvalue]]]), np.ones((1, 1, 1)), step=1.0, counts=[1000], kernel_test=np.ones((1, 1, 1))
    )
    assert_allclose(test.item(), -1000.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("kernel", "residual0", "kernel_test", "counts"),
    [
        (np.eye(3)[None], np.ones((1, 2, 1)), np.ones((1, 1, 3)), [1]),
        (np.eye(3)[None], np.ones((1, 3, 1)), np.ones((1, 1, 2)), [1]),
        (np.eye(3)[None], np.ones((1, 3)), np.ones((1, 1, 3)), [1]),
        (np.eye(3), np.ones((3, 1)), np.ones((1, 3)), [1]),
        (np.full((1, 3, 3), np.nan), np.ones((1, 3, 1)), np.ones((1, 1, 3)), [1]),
        (np.eye(3)[None], np.ones((1, 3, 1)), np.ones((1, 1, 3)), [-1]),
    ],
)
def test_descents_that_do_not_fit_are_refused(
    backend: Backend, kernel: np.ndarray, residual0: np.ndarray, kernel_test: np.ndarray, counts: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"shape|finite|counts"):
        backend.kernel_descent(kernel, residual0, step=0.1, counts=counts, kernel_test=kernel_test)
