"""Responses of activations and signals to a few dense directions of the parameters, to first and second order.

Directions have the shapes of the parameters behind axes of their own. A response of first order is that to `theta + s v_i`, one
of second order the coefficient of `s t` along `theta + s v_j + t v_k + s t z_jk`; both solve the same linear recursions with
sources of their own. All outputs have signals of their own, on an axis between units and points, and share the activations.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import Activations, Theta, forward
from ntkbench.networks import FullyConnected

T = TypeVar("T")


class Responses(NamedTuple):
    """Of hidden layers l = 1..depth at `[l - 1]`, behind an axis k for all directions.

    Attributes:
        z, h: (width, points).
        u, delta: (width, outputs, points).
    """

    z: list[Array]
    h: list[Array]
    u: list[Array]
    delta: list[Array]


class Points(NamedTuple):
    """A block of points of one network.

    Attributes:
        activations: one forward pass.
        u: of hidden layers, (width, outputs, points).
        delta: of all layers, (fan_out, outputs, points); unit vectors at the last.
    """

    activations: Activations
    u: list[Array]
    delta: list[Array]

    def derivatives(self, order: int) -> list[Array]:
        """Of the activation, per hidden layer."""
        return [found[order] for found in self.activations.derivatives]


def each(function: Callable[[T], Any], stacked: T, count: Array) -> Any:
    """`function` of the first `count` entries of arrays stacked on axis 0, stacked alike; zeros for the others.

    One program serves all counts, which `jax.lax.map` does not.
    """

    def at(i: Array | int) -> T:
        found: T = jax.tree.map(lambda values: values[i], stacked)
        return found

    def filled(i: Array, found: Any) -> Any:
        return jax.tree.map(lambda whole, one: whole.at[i].set(one), found, function(at(i)))

    size = jax.tree.leaves(stacked)[0].shape[0]
    one = jax.eval_shape(function, at(0))
    return jax.lax.fori_loop(
        jnp.int32(0), count, filled, jax.tree.map(lambda like: jnp.zeros((size, *like.shape), like.dtype), one)
    )


def linearized(net: FullyConnected, theta: Theta, x: Array, span: Array | None) -> Points:
    """One network at `x`, (n, d): activations, and the signals of each output alone.

    Args:
        span: orthonormal columns, (d, q), within whose span all directions move `W1`: inputs are their coordinates, and `W1` of
            directions has q columns. None for all of the space.
    """
    activations, o = forward(net, theta, x), net.output_dim
    if span is not None:
        activations = activations._replace(h=(span.T @ activations.h[0], *activations.h[1:]))
    u: list[Array] = []
    delta = [jnp.broadcast_to(jnp.eye(o, dtype=x.dtype)[:, :, None], (o, o, len(x)))]
    for l in range(net.depth, 0, -1):
        u.append(net.layers[l].weight_multiplier * _through(theta[f"W{l + 1}"].T, delta[-1]))
        delta.append(of_each_output(activations.derivatives[l - 1][1]) * u[-1])
    return Points(activations, u[::-1], delta[::-1])


def of_each_output(values: Array) -> Array:
    """(.., units, points) with an axis for the outputs, which share them."""
    return values[..., None, :]


def _through(weights: Array, signals: Array) -> Array:
    """(v, u) and (u, outputs, points) to (v, outputs, points)."""
    return jnp.tensordot(weights, signals, axes=1)


def sources(net: FullyConnected, at: Points, along: Theta) -> tuple[list[Array], list[Array]]:
    """What a movement of the parameters adds to `z_l` and to `u_l` at still activations and signals, l = 1..depth."""
    into_z, into_u = [], []
    for l in range(1, net.depth + 1):
        layer, above = net.layers[l - 1], net.layers[l]
        source = layer.weight_multiplier * (along[f"W{l}"] @ at.activations.h[l - 1])
        if f"b{l}" in along:
            source = source + layer.bias_multiplier * along[f"b{l}"][:, None]
        into_z.append(source)
        into_u.append(above.weight_multiplier * _through(along[f"W{l + 1}"].T, at.delta[l]))
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
        * (_through(v[f"W{l}"][j].T, first.delta[l - 1][k]) + _through(v[f"W{l}"][k].T, first.delta[l - 1][j]))
        for l in range(2, net.depth + 1)
    ]


def first_order(net: FullyConnected, theta: Theta, at: Points, v: Theta, count: Array) -> Responses:
    """Along the first `count` of the `v_i`, on an axis in front."""
    still_h, still_delta = [jnp.zeros_like(h) for h in at.activations.h[1:]], [jnp.zeros_like(u) for u in at.u]

    def along_one(along: Theta) -> Responses:
        return _propagate(net, theta, at, *sources(net, at, along), still_h, still_delta)

    found: Responses = each(along_one, v, count)
    return found


def second_order(
    net: FullyConnected, theta: Theta, at: Points, v: Theta, first: Responses, j: Array, k: Array, along: Theta
) -> Responses:
    """Of `theta + s v_j + t v_k + s t z_jk` in s t; `along` is `z_jk`."""
    into_z, into_u = sources(net, at, along)
    into_z[1:] = map(operator.add, into_z[1:], forward_cross(net, v, first, j, k))
    into_u[:-1] = map(operator.add, into_u[:-1], _backward_cross(net, v, first, j, k))
    into_h, into_delta = [], []
    for cubic, quadratic, u, dz, du in zip(at.derivatives(3), at.derivatives(2), at.u, first.z, first.u, strict=True):
        into_h.append(quadratic * dz[j] * dz[k])
        moved = of_each_output(dz[j]) * du[k] + of_each_output(dz[k]) * du[j]
        into_delta.append(of_each_output(cubic * dz[j] * dz[k]) * u + of_each_output(quadratic) * moved)
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
            du[l - 1] = du[l - 1] + net.layers[l].weight_multiplier * _through(theta[f"W{l + 1}"].T, ddelta[l])
        bent = of_each_output(curvatures[l - 1] * dz[l - 1]) * at.u[l - 1]
        ddelta[l - 1] = ddelta[l - 1] + bent + of_each_output(slopes[l - 1]) * du[l - 1]
    return Responses(dz, dh, du, ddelta)
