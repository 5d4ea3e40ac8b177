"""The layerwise recursions of the NNGP kernel and the limiting NTK, up to the readout.

With `v`, `b` the weight and bias variance, `M` the mean over what a layer sums besides its units (nothing, or a patch), and
expectations over (u, u') ~ N(0, Sigma^(l)):

    Sigma^(l+1) = v M E[sigma(u) sigma(u')] + b,    Theta^(l+1) = Sigma^(l+1) + v M (Theta^(l) E[sigma'(u) sigma'(u')]).

Arrays are (.., n1, n2) with positions, if any, in front. Statements work in place, so that few arrays are alive and each is
in the processor's cache; array types that cannot be changed make new ones.
"""

import math
from typing import Any

from ntkbench.limits.arrays import inverse_root
from ntkbench.limits.expectations import EXPECTATIONS, Pairs
from ntkbench.limits.limit import Limit, Window

Array = Any


def smooth(xp: Any, limit: Limit, q1: list[Array], q2: list[Array], c: Array, window: Window) -> tuple[Array, Array]:
    """`v E[sigma sigma]` and `gain E[sigma sigma] + v Theta E[sigma' sigma']` of the last hidden layer.

    Args:
        q1, q2: variances of every hidden layer, (.., n1, 1) and (.., 1, n2).
        c: covariances of the first hidden layer's preactivations, (.., n1, n2).
        window: what the layers after the first average over.
    """
    v, b = limit.weight_variance, limit.bias_variance
    tangent = limit.first * c
    for l, gain in enumerate(limit.gains):
        product, derivative = EXPECTATIONS[limit.activation](xp, Pairs(q1[l], q2[l], c, limit.terms[l], limit.fold))
        tangent *= derivative
        tangent *= v
        tangent += gain * product
        product *= v
        product, tangent = window.keep(product), window.keep(tangent)
        if l < limit.depth - 1:
            c = window.keep(window.average(xp, product) + b)
            tangent = window.average(xp, tangent) + limit.constant
    return product, tangent


def relu(
    xp: Any, limit: Limit, q1: list[Array], q2: list[Array], haversine: Array, root: Array, window: Window
) -> tuple[Array, Array]:
    """As `smooth`, for ReLU, by the angle `theta` between preactivations (Cho & Saul 2009, degrees 0 and 1).

    From covariances alone small angles would be lost to rounding, since `arccos(1 - x)` is near `sqrt(2 x)`. The recursion
    therefore keeps `h = sin^2(theta/2)`, the haversine, and half the NTK over `sqrt(q1 q2)`, `t`. The activations' correlation
    `(sin + (pi - theta) cos) / pi` has the haversine `h - (sin - theta cos) / 2 pi`, and `E[sigma' sigma']` is
    `(1 - theta/pi) / 2`. An affine layer turns the activations of one point into a vector of standard deviations over the
    window (`neighbours`), with `sqrt(b)` for the bias, of norm `sqrt(q')`; with unit vectors w1, w2 along them,

        h' = sum_o w1_o w2_o h_o + |w1 - w2|^2 / 4,

    the haversine law: a sum of terms that are not negative. All angles after the first layer are at most pi/2.

    Args:
        haversine, root: `h` and `sqrt(h (1 - h))` of the first layer, (.., n1, n2); they are overwritten.
    """
    v = limit.weight_variance
    half = 0.5 - haversine
    tangent = limit.first * half
    for l, gain in enumerate(limit.gains):
        if l > 0:
            root = haversine * haversine
            root = haversine - root
            root = xp.sqrt(xp.abs(root))
        haversine, tangent, half = relu_layer(xp, gain / v, (haversine, tangent, half), root)
        if l < limit.depth - 1:
            haversine, tangent, half = _affine(xp, limit, (q1[l : l + 2], q2[l : l + 2]), (haversine, tangent, half), window)
    for q in (q1, q2):
        spread = xp.sqrt(v * q[-1])
        half *= spread
        tangent *= spread
    return half, tangent


def relu_layer(xp: Any, ratio: float, state: tuple[Array, Array, Array], root: Array) -> tuple[Array, Array, Array]:
    """Haversine, half NTK and half cosine of a layer's activations, from those of its preactivations, which are overwritten.

    Args:
        ratio: the layer's gain over the weight variance. root: `sqrt(h (1 - h))` of the haversine h.
    """
    haversine, tangent, half = state
    turn = xp.atan2(root, half)
    turn *= 1 / math.pi
    half *= turn
    root *= 1 / math.pi
    haversine -= root
    haversine += half
    turn *= tangent
    tangent -= turn
    half = 0.5 - haversine
    tangent += half if ratio == 1 else half * ratio
    return haversine, tangent, half


def _affine(
    xp: Any, limit: Limit, sides: tuple[list[Array], list[Array]], state: tuple[Array, Array, Array], window: Window
) -> tuple[Array, Array, Array]:
    """The haversine law: haversine, half NTK and half cosine of the next layer, from variances of this layer and the next."""
    if limit.bias_variance == 0 and window.single:
        return state
    haversine, tangent, _ = state
    deviations = [xp.sqrt((0.5 * limit.weight_variance) * q) for q, _ in sides]
    inverses = [inverse_root(xp, q_next) for _, q_next in sides]

    def carry(f: Array) -> Array:
        f *= deviations[0]
        f *= deviations[1]
        f = window.average(xp, f)
        f *= inverses[0]
        f *= inverses[1]
        return f

    haversine, tangent = carry(haversine), carry(tangent)
    for s1, s2 in zip(*([*window.neighbours(xp, s), math.sqrt(limit.bias_variance)] for s in deviations), strict=True):
        gap = s1 * (0.5 * inverses[0]) - s2 * (0.5 * inverses[1])
        gap *= gap
        haversine += gap
    tangent += (0.5 * limit.constant * inverses[0]) * inverses[1]
    return haversine, tangent, 0.5 - haversine
