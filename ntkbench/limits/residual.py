"""Limiting kernels of fully connected residual networks.

A hidden layer adds to what it sees a term that is independent of it given the activations, so that with the expectations of
`ntkbench.limits.recursion` over (u, u') ~ N(0, Sigma^(l))

    Sigma^(l+1) = Sigma^(l) + v E[sigma(u) sigma(u')] + b,
    Theta^(l+1) = Theta^(l) + v (E[sigma(u) sigma(u')] + Theta^(l) E[sigma'(u) sigma'(u')]) + b

for hidden layers, and a readout as that of fully connected networks (Huang et al. 2020, whose blocks have two layers: this is
their argument for one). The standard parametrization changes the gains of the weights as it does there.
"""

from typing import Any

from array_api_compat import array_namespace

from ntkbench.limits.arrays import inverse_root
from ntkbench.limits.expectations import EXPECTATIONS, Pairs, square
from ntkbench.limits.fully_connected import Layers, angles, readout
from ntkbench.limits.limit import Limit
from ntkbench.limits.limit import limit as limit_of
from ntkbench.limits.recursion import relu_layer
from ntkbench.networks import Network

Array = Any


def limit(net: Network, largest_variance: float) -> Limit:
    """As `ntkbench.limits.limit.limit`."""
    return limit_of(net, largest_variance, skips=True)


def _variances(xp: Any, limit: Limit, q: Array) -> list[Array]:
    """Of every hidden layer, each shaped as those of the first, q."""
    found = [q]
    for terms in limit.terms[:-1]:
        mean = square(limit.activation, xp, found[-1], terms)
        found.append(found[-1] + limit.weight_variance * mean + limit.bias_variance)
    return found


def smooth_tile(limit: Limit, u1: Array, u2: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """As `fully_connected.smooth_tile`."""
    xp, v = array_namespace(u1, u2), limit.weight_variance
    sides1, sides2 = (_variances(xp, limit, q) for q in (q1, q2.T))
    covariance = u1 @ u2.T
    tangent = limit.first * covariance
    for l, gain in enumerate(limit.gains):
        pairs = Pairs(sides1[l], sides2[l], covariance, limit.terms[l], limit.fold)
        product, derivative = EXPECTATIONS[limit.activation](xp, pairs)
        branch = gain * product + v * (tangent * derivative)
        covariance, tangent = covariance + (v * product + limit.bias_variance), tangent + (branch + limit.constant)
    return readout(limit, (v * product, branch))


def relu_tile(limit: Limit, u1: Array, u2: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """As `fully_connected.relu_tile`."""
    xp = array_namespace(u1, u2)
    haversine, root, near = angles(xp, u1, u2)
    return *_relu(xp, limit, q1, q2.T, haversine, root), near


def _relu(xp: Any, limit: Limit, q1: Array, q2: Array, haversine: Array, root: Array) -> tuple[Array, Array]:
    """By the haversines of `recursion.relu`."""
    v = limit.weight_variance
    sides1, sides2 = (_variances(xp, limit, q) for q in (q1, q2))
    half = 0.5 - haversine
    state = haversine, limit.first * half, half
    for l, gain in enumerate(limit.gains):
        if l > 0:
            root = xp.sqrt(xp.abs(state[0] - state[0] * state[0]))
        seen = 1 * state[0], 1 * state[1]  # copies, of what is overwritten
        state = relu_layer(xp, gain / v, state, root)
        if l < limit.depth - 1:
            state = _added(xp, limit, (sides1[l : l + 2], sides2[l : l + 2]), seen, state)
    spread = xp.sqrt(v * sides1[-1]) * xp.sqrt(v * sides2[-1])
    return readout(limit, (state[2] * spread, state[1] * spread))


def _added(
    xp: Any, limit: Limit, sides: tuple[list[Array], list[Array]], seen: tuple[Array, Array], state: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """The haversine law of `recursion.relu` for the vector of what a layer sees, what it adds, and its bias.

    Args:
        sides: variances of this layer and the next. seen: haversine and half NTK before the activation; state: after it.
    """
    v, b = limit.weight_variance, limit.bias_variance
    inverses = [inverse_root(xp, q_next) for _, q_next in sides]
    parts = [[xp.sqrt(q) * r, xp.sqrt(0.5 * v * q) * r, b**0.5 * r] for (q, _), r in zip(sides, inverses, strict=True)]
    skip, branch, _ = (w1 * w2 for w1, w2 in zip(*parts, strict=True))
    haversine = seen[0] * skip + state[0] * branch
    for w1, w2 in zip(*parts, strict=True):
        haversine = haversine + (0.5 * (w1 - w2)) ** 2
    tangent = seen[1] * skip + state[1] * branch + (0.5 * limit.constant * inverses[0]) * inverses[1]
    return haversine, tangent, 0.5 - haversine


LAYERS = Layers(limit, smooth_tile, relu_tile, _relu)
"""Of residual networks."""
