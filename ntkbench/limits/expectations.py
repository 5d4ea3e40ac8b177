"""Gaussian expectations of activations: `E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]` for jointly Gaussian u, v.

Closed forms for the identity, erf and GELU; Hermite series for tanh and softplus (`ntkbench.limits.hermite`). ReLU has
a recursion of its own in the angle between u and v (`ntkbench.limits.recursion`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ntkbench.limits import hermite

Array = Any


class Pairs(NamedTuple):
    """Centred Gaussian pairs (u_i, v_j); positions may come as leading axes.

    Attributes:
        q1, q2: variances of u and v, (.., n1, 1) and (.., 1, n2).
        c: covariances, (.., n1, n2).
        terms: length of the Hermite series, where there is one; fold: how it is summed.
    """

    q1: Array
    q2: Array
    c: Array
    terms: int = 0
    fold: hermite.Fold = hermite.fold


Expectations = tuple[Array, Array]
"""`E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]`, each shaped as the covariances."""


def _identity(xp: Any, p: Pairs) -> Expectations:
    return 1 * p.c, xp.ones_like(p.c)


def _erf(xp: Any, p: Pairs) -> Expectations:
    """Williams (1997), for `erf(u)` without a factor inside; with `1 + 2q` taken into the covariance row by row."""
    root1, root2 = 1 / xp.sqrt(1 + 2 * p.q1), 1 / xp.sqrt(1 + 2 * p.q2)
    correlation = p.c * (2 * root1)
    correlation *= root2
    derivative = correlation * correlation
    derivative *= -1
    derivative += 1
    derivative = 1 / xp.sqrt(derivative)
    derivative *= (4 / math.pi) * root1
    derivative *= root2
    product = xp.asin(correlation)
    product *= 2 / math.pi
    return product, derivative


def _gelu(xp: Any, p: Pairs) -> Expectations:
    """GELU `u Phi(u)` with the normal distribution function Phi, by Gaussian integration by parts.

    With `D = (1 + q1)(1 + q2) - c^2` and `P = E[Phi(u) Phi(v)] = 1/4 + asin(c / sqrt((1 + q1)(1 + q2))) / 2 pi`:
    `E[sigma sigma] = c P + (q1 q2 + c^2 s) / (2 pi sqrt(D))`, `s = 1/(1 + q1) + 1/(1 + q2) - 1`, and
    `E[sigma' sigma'] = P + c (1/(1 + q1) + 1/(1 + q2) + 1/D) / (2 pi sqrt(D))`.
    """
    scale = (1 + p.q1) * (1 + p.q2)
    inverses = 1 / (1 + p.q1) + 1 / (1 + p.q2)
    square = p.c * p.c
    determinant = scale - square
    density = (0.5 / math.pi) / xp.sqrt(determinant)
    both = xp.asin(p.c / xp.sqrt(scale))
    both *= 0.5 / math.pi
    both += 0.25
    square *= inverses - 1
    square += p.q1 * p.q2
    square *= density
    square += p.c * both
    density *= p.c
    density *= inverses + 1 / determinant
    both += density
    return square, both


def _tanh(xp: Any, p: Pairs) -> Expectations:
    return hermite.pair_expectations("tanh", xp, p.q1, p.q2, p.c, p.terms, p.fold)


def _softplus(xp: Any, p: Pairs) -> Expectations:
    return hermite.pair_expectations("softplus", xp, p.q1, p.q2, p.c, p.terms, p.fold)


EXPECTATIONS: Mapping[str, Callable[[Any, Pairs], Expectations]] = {
    "identity": _identity,
    "erf": _erf,
    "gelu": _gelu,
    "tanh": _tanh,
    "softplus": _softplus,
}
"""(xp, pairs) -> `Expectations`, for every activation of `ntkbench.networks` but ReLU."""


def square(activation: str, xp: Any, q: Array, terms: int = 0) -> Array:
    """`E[sigma(u)^2]` for u of variance q, shaped as q; `terms` as in `Pairs`."""
    match activation:
        case "identity":
            return q
        case "relu":
            return q / 2
        case "erf":
            return xp.asin(2 * q / (1 + 2 * q)) * (2 / math.pi)
        case "gelu":
            root = xp.sqrt(1 + 2 * q)
            both = 0.25 + xp.asin(q / (1 + q)) * (0.5 / math.pi)
            return q * both + q**2 * (2 / (1 + q)) * (0.5 / math.pi) / root
        case _:
            return hermite.square_expectation(activation, xp, q, terms)
