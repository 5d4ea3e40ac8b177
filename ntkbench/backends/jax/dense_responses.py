"""Responses of activations and signals to a few dense directions of the parameters, to first and second order.

Directions have the shapes of the parameters behind axes of their own. A response of first order is that to `theta + s v_i`, one
of second order the coefficient of `s t` along `theta + s v_j + t v_k + s t z_jk`; both solve the same linear recursions with
sources of their own.
"""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import Activations, Signals, Theta
from ntkbench.networks import FullyConnected


class Responses(NamedTuple):
    """Of hidden layers l = 1..depth at `[l - 1]`: (width, points) each, or (k, width, points) for all directions."""

    z: list[Array]
    h: list[Array]
    u: list[Array]
    delta: list[Array]


class Points(NamedTuple):
    """A block of points of one network."""

    activations: Activations
    signals: Signals

    def derivatives(self, order: int) -> list[Array]:
        """Of the activation, per hidden layer."""
        return [found[order] for found in self.activations.derivatives]


def sources(net: FullyConnected, at: Points, along: Theta) -> tuple[list[Array], list[Array]]:
    """What a movement of the parameters adds to `z_l` and to `u_l` at still activations and signals, l = 1..depth."""
    into_z, into_u = [], []
    for l in range(1, net.depth + 1):
        layer, above = net.layers[l - 1], net.layers[l]
        source = layer.weight_multiplier * (along[f"W{l}"] @ at.activations.h[l - 1])
        if f"b{l}" in along:
            source = source + layer.bias_multiplier * along[f"b{l}"][:, None]
        into_z.append(source)
        into_u.append(above.weight_multiplier * (along[f"W{l + 1}"].T @ at.signals.delta[l]))
    return into_z, into_u


def forward_cross(net: FullyConnected, v: Theta, first: Responses, j: Array, k: Array) -> list[Array]:
    """`c_l (V_l^j dh_{l-1}^k + V_l^k dh_{l-1}^j)`, l = 2..depth."""
    return [
        net.layers[l - 1].weight_multiplier * (v[f"W{l}"][j] @ first.h[l - 2][k] + v[f"W{l}"][k] @ first.h[l - 2][j])
        for l in range(2, net.depth + 1)
    ]


def _backward_cross(net: FullyConnected, v: Theta, first: Responses, j: Array, k: Array) -> list[Array]:
    """`c_l (V_l^j^T ddelta_l^k + V_l^k^T ddelta_l^j)`, l = 2..depth, which move `u_{l-1}`."""
    return [
        net.layers[l - 1].weight_multiplier
        * (v[f"W{l}"][j].T @ first.delta[l - 1][k] + v[f"W{l}"][k].T @ first.delta[l - 1][j])
        for l in range(2, net.depth + 1)
    ]


def first_order(net: FullyConnected, theta: Theta, at: Points, v: Theta) -> Responses:
    """Along every `v_i`, (k, width, points)."""
    still = [jnp.zeros_like(u) for u in at.signals.u]
    found: Responses = jax.lax.map(lambda along: _propagate(net, theta, at, *sources(net, at, along), still, still), v)
    return found


def second_order(
    net: FullyConnected, theta: Theta, at: Points, v: Theta, first: Responses, j: Array, k: Array, along: Theta
) -> Responses:
    """Of `theta + s v_j + t v_k + s t z_jk` in s t; `along` is `z_jk`."""
    into_z, into_u = sources(net, at, along)
    into_z[1:] = map(operator.add, into_z[1:], forward_cross(net, v, first, j, k))
    into_u[:-1] = map(operator.add, into_u[:-1], _backward_cross(net, v, first, j, k))
    into_h, into_delta = [], []
    for cubic, quadratic, u, dz, du in zip(at.derivatives(3), at.derivatives(2), at.signals.u, first.z, first.u, strict=True):
        into_h.append(quadratic * dz[j] * dz[k])
        into_delta.append(cubic * u * dz[j] * dz[k] + quadratic * (dz[j] * du[k] + dz[k] * du[j]))
    return _propagate(net, theta, at, into_z, into_u, into_h, into_delta)


def _propagate(
    net: FullyConnected,
    theta: Theta,
    at: Points,
    into_z: list[Array],
    into_u: list[Array],
    into_h: list[Array],
    into_delta: list[Array],
) -> Responses:
    """The linear passes, forward and backward, that all orders share: `dz_l = c_l W_l dh_{l-1} + source` and so on."""
    slopes, curvatures = at.derivatives(1), at.derivatives(2)
    dz, dh = list(into_z), list(into_h)
    for l in range(1, net.depth + 1):
        if l > 1:
            dz[l - 1] = dz[l - 1] + net.layers[l - 1].weight_multiplier * (theta[f"W{l}"] @ dh[l - 2])
        dh[l - 1] = dh[l - 1] + slopes[l - 1] * dz[l - 1]
    du, ddelta = list(into_u), list(into_delta)
    for l in range(net.depth, 0, -1):
        if l < net.depth:
            du[l - 1] = du[l - 1] + net.layers[l].weight_multiplier * (theta[f"W{l + 1}"].T @ ddelta[l])
        ddelta[l - 1] = ddelta[l - 1] + curvatures[l - 1] * at.signals.u[l - 1] * dz[l - 1] + slopes[l - 1] * du[l - 1]
    return Responses(dz, dh, du, ddelta)
