"""One fully connected network, forward and backward; and how one network's functions become those of all seeds and copies.

Inside fully connected networks points are columns: activations are (fan, n), so that a layer is `W h` as on paper, and the
small right factor is what the compiler packs. Everything here is traced: parameters are arguments, never constants.
"""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.activations import DERIVATIVES, Derivatives
from ntkbench.networks import FullyConnected, Layer, Network

Theta = dict[str, Array]
"""Parameters by the names of `ntkbench.networks.Parameters`; without the leading axes (seeds, copies) for one network."""


def undivided(net: Network) -> tuple[Network, float]:
    """The NTK parametrization's network of the same parameters, and c with `f = f_ntk / c`: one program serves every c.

    A mean-field network divides its output by `c = feature_strength * sqrt(width)` and moves c^2 times as fast. Its kernels are
    `K_r = c^(r-2) K_r^ntk`, and its parameters move as those of the other network with targets `c y`.
    """
    if net.parametrization != "mean_field":
        return net, 1.0
    return replace(cast(Any, net), parametrization="ntk", feature_strength=1.0), net.feature_strength * math.sqrt(net.width)


class Activations(NamedTuple):
    """What one forward pass leaves.

    Attributes:
        h: `h_0 = x` to `h_depth`, (fan_in, n) each.
        derivatives: of every hidden layer at its preactivation, (width, n) each; `derivatives[l - 1]` belongs to layer l.
        output: (output_dim, n).
    """

    h: tuple[Array, ...]
    derivatives: tuple[Derivatives, ...]
    output: Array


class Signals(NamedTuple):
    """What one backward pass leaves: `u_l` of hidden layers and `delta_l` of all, (fan_out, n) each, layer l at `[l - 1]`."""

    u: tuple[Array, ...]
    delta: tuple[Array, ...]


def affine(layer: Layer, theta: Theta, l: int, h: Array) -> Array:
    """`z_l = weight_multiplier * W_l h + bias_multiplier * b_l`."""
    z = layer.weight_multiplier * (theta[f"W{l}"] @ h)
    if f"b{l}" in theta:
        z = z + layer.bias_multiplier * theta[f"b{l}"][:, None]
    return z


def affine_of_rows(layer: Layer, theta: Theta, l: int, rows: Array) -> Array:
    """The same of rows: `c_l rows W_l^T + e_l b_l`."""
    z = layer.weight_multiplier * (rows @ theta[f"W{l}"].T)
    return z + layer.bias_multiplier * theta[f"b{l}"] if f"b{l}" in theta else z


def forward(net: FullyConnected, theta: Theta, x: Array) -> Activations:
    """One network at `x`, (n, d)."""
    h = [x.T]
    derivatives = []
    *hidden, readout = net.layers
    for l, layer in enumerate(hidden, start=1):
        derivatives.append(DERIVATIVES[net.activation](affine(layer, theta, l, h[-1])))
        h.append(derivatives[-1][0])
    return Activations(tuple(h), tuple(derivatives), affine(readout, theta, len(net.layers), h[-1]))


def backward(net: FullyConnected, theta: Theta, activations: Activations, cotangent: Array) -> Signals:
    """Signals `delta_l = d/dz_l` of the function whose gradient with respect to the output is `cotangent`, (output_dim, n)."""
    u: list[Array] = []
    delta = [cotangent]
    for l in range(net.depth, 0, -1):
        u.append(net.layers[l].weight_multiplier * (theta[f"W{l + 1}"].T @ delta[-1]))
        delta.append(activations.derivatives[l - 1][1] * u[-1])
    return Signals(tuple(reversed(u)), tuple(reversed(delta)))


def linearize(net: FullyConnected, theta: Theta, x: Array) -> tuple[Activations, Signals]:
    """Activations and the signals of the output itself, for a network of one output."""
    activations = forward(net, theta, x)
    return activations, backward(net, theta, activations, jnp.ones_like(activations.output))


def over_networks(function: Callable[..., Any], theta: Theta, *inputs: Array) -> Any:
    """`function(theta of one network, *inputs)` for every seed and copy; results have leading axes (seeds, copies).

    Inputs of three axes carry a seed axis, those of two are shared.
    """
    axes = tuple(0 if x.ndim == 3 else None for x in inputs)
    over_copies = jax.vmap(function, in_axes=(0, *[None] * len(inputs)))
    return jax.vmap(over_copies, in_axes=(0, *axes))(theta, *inputs)


def add(terms: Iterable[Array]) -> Array:
    """Their sum, in their own dtype: a zero to start from would have one as well."""
    return reduce(operator.add, terms)


def combine(net: Network, kernels: Array, order: int) -> Array:
    """`K_order` of the network from those of its copies, axis 1: `mobility^(order-1) sum_c copy_weights[c]^order K_order^(c)`.

    Order 1 is the output itself.
    """
    factors = [net.mobility ** (order - 1) * weight**order for weight in net.copy_weights]
    return add(factor * kernels[:, c] for c, factor in enumerate(factors))
