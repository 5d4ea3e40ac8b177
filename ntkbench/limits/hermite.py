"""Gaussian expectations of analytic activations by Hermite series (Mehler's formula).

With `a_k(q) = E[sigma(sqrt(q) z) He_k(z)] / sqrt(k!)`, z standard normal, and correlation rho,

    E[sigma(u) sigma(v)] = sum_k a_k(q1) a_k(q2) rho^k,

and the same for sigma'. A pair costs one polynomial, where quadrature in two dimensions would cost thousands of
evaluations of the activation; the quadrature left is one-dimensional, per variance. An activation analytic in the strip
`|Im x| < s` has `a_k(q)` of size `exp(-sqrt(k) s / sqrt(q))`, which fixes the number of terms; on the real line the
trapezoidal rule converges exponentially for such integrands (Trefethen & Weideman 2014), which fixes the nodes.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Array = Any

DIGITS = 40.0
"""Series and quadrature are cut where the neglected terms are of size exp(-40), below float64's exp(-36.7)."""

MOST_TERMS = 4096
"""Terms of the longest series tried; it serves variances up to about 20 (tanh) or 90 (softplus)."""

_CACHED_ELEMENTS = 2**17
"""Pairs whose polynomials are evaluated together: few enough to stay in a processor's cache."""

_EXTENT = 13.5
"""Nodes cover |z| < 13.5, where the square root of the normal density is exp(-45)."""


def _softplus_slope(xp: Any, x: Array) -> Array:
    return 0.5 * (1 + xp.tanh(0.5 * x))


def _softplus(xp: Any, x: Array) -> Array:
    return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


_FUNCTIONS: dict[str, tuple[Callable[[Any, Array], Array], Callable[[Any, Array], Array]]] = {
    "tanh": (lambda xp, x: xp.tanh(x), lambda xp, x: 1 - xp.tanh(x) ** 2),
    "softplus": (_softplus, _softplus_slope),
}
_STRIPS = {"tanh": math.pi / 2, "softplus": math.pi}


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
    return needed


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
    """`sqrt(q) z` at every node, (number of variances, N), and the basis (N, count), as `q`'s kind of array."""
    nodes, basis = _basis(count)
    z = xp.asarray(nodes, dtype=q.dtype, device=q.device)
    return xp.sqrt(xp.reshape(q, (-1, 1))) * z, xp.asarray(basis, dtype=q.dtype, device=q.device)


def square_expectation(activation: str, xp: Any, q: Array) -> Array:
    """`E[sigma(u)^2]` for u of variance q, shaped as `q`; raises as `terms`."""
    x, basis = _scaled_nodes(xp, q, terms(activation, float(xp.max(q))))
    function, _ = _FUNCTIONS[activation]
    return xp.reshape(function(xp, x) ** 2 @ basis[:, 0], q.shape)


def pair_expectations(activation: str, xp: Any, q1: Array, q2: Array, c: Array) -> tuple[Array, Array]:
    """`E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]`, each (n1, n2), for variances (n1, 1), (1, n2), covariances (n1, n2).

    A variable of variance zero is constant; its correlation is taken as zero.

    Raises:
        ValueError: as `terms`.
    """
    count = terms(activation, max(float(xp.max(q1)), float(xp.max(q2))))
    norms = xp.sqrt(q1) * xp.sqrt(q2)
    positive = norms > 0
    correlation = xp.where(positive, c / xp.where(positive, norms, xp.ones_like(norms)), xp.zeros_like(norms))
    correlation = xp.clip(correlation, -1.0, 1.0)
    (x1, basis), (x2, _) = (_scaled_nodes(xp, q, count) for q in (q1, q2))
    sums = []
    for function in _FUNCTIONS[activation]:
        sums.append(_mehler(xp, function(xp, x1) @ basis, (function(xp, x2) @ basis).T, correlation))
    return sums[0], sums[1]


def _mehler(xp: Any, rows: Array, columns: Array, correlation: Array) -> Array:
    """`sum_k rows[i, k] columns[k, j] correlation[i, j]^k` by Horner's rule, for coefficients (n1, K) and (K, n2).

    Coefficients are taken at an index that is itself an array: jax would compile a slice at every constant index anew.
    """
    height = max(1, _CACHED_ELEMENTS // correlation.shape[1])
    indices = [xp.asarray([k], device=correlation.device) for k in range(rows.shape[1])]
    across = [xp.take(columns, k, axis=0) for k in indices]
    blocks = []
    for start in range(0, correlation.shape[0], height):
        rho, down = correlation[start : start + height, :], rows[start : start + height, :]
        total = xp.zeros_like(rho)
        for k, b in zip(reversed(indices), reversed(across), strict=True):
            total = total * rho + xp.take(down, k, axis=1) * b
        blocks.append(total)
    return xp.concat(blocks)
