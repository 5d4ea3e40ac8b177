"""Gaussian expectations of activations: `E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]` for jointly Gaussian u, v.

Closed forms for the identity, ReLU, erf and GELU; Hermite series for tanh and softplus (`ntkbench.limits.hermite`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ntkbench.limits import hermite

Array = Any


@dataclass(frozen=True)
class Pairs:
    """Centred Gaussian pairs (u_i, v_j).

    Attributes:
        q1, q2: variances of u and v, (n1, 1) and (1, n2).
        c: covariances, (n1, n2).
        area: `sqrt(q1 q2 - c^2)`, (n1, n2), known without cancellation; None for activations that do not ask for it.
    """

    q1: Array
    q2: Array
    c: Array
    area: Array | None = None


@dataclass(frozen=True)
class Expectation:
    """Expectations over `Pairs`.

    Attributes:
        product, derivative: `E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]`, (n1, n2).
        defect: `sqrt(E[sigma(u)^2] E[sigma(v)^2]) - product`, (n1, n2), known without cancellation; None where `area` is.
    """

    product: Array
    derivative: Array
    defect: Array | None = None


@dataclass(frozen=True)
class Activation:
    """What the recursion asks of an activation.

    Attributes:
        pairs: (xp, pairs) -> `Expectation`.
        square: (xp, q) -> `E[sigma(u)^2]` for u of variance q, shaped as q.
        needs_area: whether `pairs` reads `Pairs.area`.
    """

    pairs: Callable[[Any, Pairs], Expectation]
    square: Callable[[Any, Array], Array]
    needs_area: bool = False


def _identity(xp: Any, p: Pairs) -> Expectation:
    return Expectation(p.c, xp.ones_like(p.c))


def _erf(xp: Any, p: Pairs) -> Expectation:
    """Williams (1997), for `erf(u)` without a factor inside."""
    scale = (1 + 2 * p.q1) * (1 + 2 * p.q2)
    product = xp.asin(2 * p.c / xp.sqrt(scale)) * (2 / math.pi)
    return Expectation(product, (4 / math.pi) / xp.sqrt(scale - 4 * p.c**2))


def _gelu(xp: Any, p: Pairs) -> Expectation:
    """GELU `u Phi(u)` with the normal distribution function Phi, by Gaussian integration by parts.

    With `D = (1 + q1)(1 + q2) - c^2` and `P = E[Phi(u) Phi(v)] = 1/4 + asin(c / sqrt((1 + q1)(1 + q2))) / 2 pi`:
    `E[sigma sigma] = c P + (q1 q2 + c^2 s) / (2 pi sqrt(D))`, `s = 1/(1 + q1) + 1/(1 + q2) - 1`, and
    `E[sigma' sigma'] = P + c (1/(1 + q1) + 1/(1 + q2) + 1/D) / (2 pi sqrt(D))`.
    """
    scale = (1 + p.q1) * (1 + p.q2)
    inverses = 1 / (1 + p.q1) + 1 / (1 + p.q2)
    determinant = scale - p.c**2
    density = (0.5 / math.pi) / xp.sqrt(determinant)
    both = 0.25 + xp.asin(p.c / xp.sqrt(scale)) * (0.5 / math.pi)
    product = p.c * both + (p.q1 * p.q2 + p.c**2 * (inverses - 1)) * density
    return Expectation(product, both + p.c * (inverses + 1 / determinant) * density)


def _relu(xp: Any, p: Pairs) -> Expectation:
    """Cho & Saul (2009), degrees 1 and 0, from the angle `theta = atan2(area, c)`.

    arccos of a correlation would lose half the digits at angles 0 and pi, and so would `1 - kappa` by subtraction.
    """
    norms = xp.sqrt(p.q1) * xp.sqrt(p.q2)
    safe = xp.where(norms > 0, norms, xp.ones_like(norms))
    theta = xp.atan2(p.area, p.c)
    cosine, sine = p.c / safe, p.area / safe
    one_minus_cosine = xp.where(p.c > 0, sine**2 / (1 + abs(cosine)), 1 - cosine)
    kappa = (sine + (math.pi - theta) * cosine) / math.pi
    one_minus_kappa = one_minus_cosine - (sine - theta * cosine) / math.pi
    one_minus_kappa = xp.where(one_minus_kappa > 0, one_minus_kappa, xp.zeros_like(theta))
    return Expectation(norms * kappa / 2, 0.5 - theta * (0.5 / math.pi), norms * one_minus_kappa / 2)


def _series(activation: str, xp: Any, p: Pairs) -> Expectation:
    return Expectation(*hermite.pair_expectations(activation, xp, p.q1, p.q2, p.c))


def _erf_square(xp: Any, q: Array) -> Array:
    return xp.asin(2 * q / (1 + 2 * q)) * (2 / math.pi)


def _gelu_square(xp: Any, q: Array) -> Array:
    root = xp.sqrt(1 + 2 * q)
    return q * (0.25 + xp.asin(q / (1 + q)) * (0.5 / math.pi)) + q**2 * (2 / (1 + q)) * (0.5 / math.pi) / root


EXPECTATIONS: Mapping[str, Activation] = {
    "identity": Activation(_identity, lambda xp, q: q),
    "relu": Activation(_relu, lambda xp, q: q / 2, needs_area=True),
    "erf": Activation(_erf, _erf_square),
    "gelu": Activation(_gelu, _gelu_square),
    "tanh": Activation(partial(_series, "tanh"), partial(hermite.square_expectation, "tanh")),
    "softplus": Activation(partial(_series, "softplus"), partial(hermite.square_expectation, "softplus")),
}
"""By the names of `ntkbench.networks.ACTIVATIONS`."""
