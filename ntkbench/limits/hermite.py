"""Gaussian expectations of analytic activations by Hermite series (Mehler's formula).

With `b_k(q) = E[sigma'(sqrt(q) z) He_k(z)] / sqrt(k!)`, z standard normal, covariance c and correlation rho,

    E[sigma'(u) sigma'(v)] = sum_k b_k(q1) b_k(q2) rho^k,
    E[sigma(u) sigma(v)] = E[sigma(u)] E[sigma(v)] + c sum_k b_k(q1) b_k(q2) rho^k / (k + 1),

the second being the integral of the first over c (Price's theorem). A pair costs one polynomial, where quadrature in two
dimensions would cost thousands of evaluations of the activation; the quadrature left is one-dimensional, per variance.
tanh' is even and softplus' - 1/2 is odd (`b_0 = 1/2`), so that every second term vanishes. An activation analytic in the strip
`|Im x| < s` has `b_k(q)` of size `exp(-sqrt(k) s / sqrt(q))`, which fixes the number of terms; on the real line the
trapezoidal rule converges exponentially for such integrands (Trefethen & Weideman 2014), which fixes the nodes.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ntkbench.limits.arrays import constant, inverse_root

Array = Any

Step = Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
Fold = Callable[[Step, tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
"""Called with a step, the state it starts from, and arrays whose first axis the steps go along."""


def fold(step: Step, state: tuple[Array, ...], along: tuple[Array, ...]) -> tuple[Array, ...]:
    """`state = step(state, (a[k] for a in along))` for every k in turn; frameworks that compile have a loop of their own."""
    for k in range(along[0].shape[0]):
        state = step(state, tuple(array[k, ...] for array in along))
    return state


ACTIVATIONS = ("tanh", "softplus")

DIGITS = 40.0
"""Series and quadrature are cut where the neglected terms are of size exp(-40), below float64's exp(-36.7)."""

MOST_TERMS = 4096
"""Terms of the longest series tried; it serves variances up to about 20 (tanh) or 90 (softplus)."""

_STEP = 32
"""Lengths are multiples of it, so that data of like variances share a compilation."""

_EXTENT = 13.5
"""Nodes cover |z| < 13.5, where the square root of the normal density is exp(-45)."""

_STRIPS = {"tanh": math.pi / 2, "softplus": math.pi}


def _function(activation: str, xp: Any, x: Array) -> Array:
    if activation == "tanh":
        return xp.tanh(x)
    return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def _slope(activation: str, xp: Any, x: Array) -> Array:
    if activation == "tanh":
        return 1 - xp.tanh(x) ** 2
    return 0.5 * (1 + xp.tanh(0.5 * x))


def terms(activation: str, variance: float) -> int:
    """Terms of the series for variances up to `variance`.

    Raises:
        ValueError: if more than `MOST_TERMS` would be needed.
    """
    needed = 48 + math.ceil((DIGITS / (2 * _STRIPS[activation])) ** 2 * variance)
    if needed > MOST_TERMS:
        raise ValueError(
            f"{activation}'s limiting kernel asks for a series of {needed} terms at preactivation variance {variance:.4g}, "
            f"more than {MOST_TERMS}: lower weight_variance or bias_variance, or scale the inputs to norm sqrt(d)"
        )
    return _STEP * math.ceil(needed / _STEP)


@cache
def _basis(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (N,) and, for `count` terms, the matrix (N, count) of `step * density(z) * He_k(z) / sqrt(k!)`.

    The three-term recurrence runs on `sqrt(density) He_k / sqrt(k!)`, which is bounded: He_k alone overflows.
    """
    bandwidth = math.sqrt(count) + math.sqrt(2 * DIGITS) + 2 * math.sqrt(count)
    half = math.ceil(_EXTENT * bandwidth / (2 * math.pi))
    step = _EXTENT / half
    nodes = step * np.arange(-half, half + 1)
    root = np.exp(-(nodes**2) / 4) / (2 * math.pi) ** 0.25
    columns = [root, nodes * root]
    for k in range(1, count - 1):
        columns.append((nodes * columns[k] - math.sqrt(k) * columns[k - 1]) / math.sqrt(k + 1))
    return nodes, np.stack(columns, axis=1) * root[:, None] * step


def _scaled_nodes(xp: Any, q: Array, count: int) -> tuple[Array, Array]:
    """`sqrt(q) z` at every node, q's shape + (N,), and the basis (N, count), as q's kind of array."""
    nodes, basis = _basis(count)
    return xp.sqrt(q)[..., None] * constant(xp, nodes, q), constant(xp, basis, q)


def square_expectation(activation: str, xp: Any, q: Array, count: int) -> Array:
    """`E[sigma(u)^2]` for u of variance q, shaped as `q`, with the quadrature of a series of `count` terms."""
    x, basis = _scaled_nodes(xp, q, count)
    return _function(activation, xp, x) ** 2 @ basis[:, 0]


def mean_square(activation: str, variance: float, count: int) -> float:
    """`square_expectation` of one number."""
    return float(square_expectation(activation, np, np.asarray([variance]), count)[0])


def pair_expectations(
    activation: str, xp: Any, q1: Array, q2: Array, c: Array, count: int, fold: Fold = fold
) -> tuple[Array, Array]:
    """`E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]`, shaped as the covariances c, (.., n1, n2).

    A variable of variance zero is constant; its correlation is taken as zero.

    Args:
        q1, q2: variances, (.., n1, 1) and (.., 1, n2).
        count: `terms` for the largest of them.
        fold: how the sum over terms is run.
    """
    rho = c * inverse_root(xp, q1)
    rho *= inverse_root(xp, q2)
    squared = rho * rho
    even = activation == "tanh"
    ks = np.arange(0 if even else 1, count, 2)[::-1]
    (mean1, slopes1), (mean2, slopes2) = (_coefficients(activation, xp, q, count, ks) for q in (q1, q2))
    reciprocals = constant(xp, 1 / (1.0 + ks), c)

    def horner(series: tuple[Array, ...], factors: tuple[Array, ...]) -> tuple[Array, ...]:
        integral, derivative = series
        slope1, slope2, reciprocal = factors
        term = slope1 * slope2
        derivative *= squared
        derivative += term
        term *= reciprocal
        integral *= squared
        integral += term
        return integral, derivative

    integral, derivative = fold(horner, (xp.zeros_like(c), xp.zeros_like(c)), (slopes1, slopes2, reciprocals))
    if not even:
        derivative *= rho
        derivative += 0.25
        integral *= rho
        integral += 0.25
    integral *= c
    integral += mean1 * mean2
    return integral, derivative


def _coefficients(activation: str, xp: Any, q: Array, count: int, ks: np.ndarray) -> tuple[Array, Array]:
    """`E[sigma]`, shaped as q, and `b_k(q)` for k in `ks`, (len(ks),) + q's shape."""
    x, basis = _scaled_nodes(xp, q, count)
    slopes = _slope(activation, xp, x) @ constant(xp, _basis(count)[1][:, ks], q)
    return _function(activation, xp, x) @ basis[:, 0], xp.moveaxis(slopes, -1, 0)
