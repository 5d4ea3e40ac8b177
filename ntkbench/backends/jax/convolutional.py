"""One convolutional network at one image, forward and backward, as windows and matrix products.

An image is a matrix (positions, channels), positions in the order (row, column). `windows` lays the 3 x 3 surroundings of every
position side by side, (positions, 9 * channels), so that a convolution is `z = c windows(h) W^T + e b`. Its adjoint `fold` adds
every entry of a window back to the pixel that it came from, and

    delta_{l-1} = sigma'(z_{l-1}) * fold(c_l delta_l W_l),        d f / d W_l = c_l delta_l^T windows(h_{l-1}).

Both are gathers by fixed tables: the compiler's own gradients of convolutions, and of padded slices, are many times slower on a
CPU. Points and networks are batch axes that callers add.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.backends.jax.activations import DERIVATIVES
from ntkbench.backends.jax.network import affine_of_rows
from ntkbench.networks import KERNEL, Convolutional

WINDOW = KERNEL**2

ENTRY = 16
"""Multiply-adds of a matrix product that take as long as multiplying and adding one entry of two inner products."""


class Maps(NamedTuple):
    """What one forward pass leaves.

    Attributes:
        h: what the convolutions see: the image, then hidden maps but the last, (positions, channels) each.
        windows: of each of them, (positions, 9 * channels).
        slopes: of every hidden layer's activation, (positions, width).
        seen: what the readout sees, (fan_in,).
        output: (output_dim,).
    """

    h: list[Array]
    windows: list[Array]
    slopes: list[Array]
    seen: Array
    output: Array


@lru_cache
def _sources(net: Convolutional) -> np.ndarray:
    """The pixel at each place of each position's window, (positions, 9); `positions` where it lies outside the image."""
    height, width, _ = net.image
    row, column, place = np.indices((height, width, WINDOW))
    row, column = row + place // KERNEL - KERNEL // 2, column + place % KERNEL - KERNEL // 2
    source = row % height * width + column % width
    if net.padding == "zero":
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        source = np.where(outside, net.positions, source)
    found: np.ndarray = source.reshape(net.positions, WINDOW)
    return found


def surroundings(net: Convolutional, h: Array) -> Array:
    """Of every position, (positions, channels) to (positions, 9 * channels); for forward mode, which `windows` lacks."""
    padded = jnp.concatenate([h, jnp.zeros_like(h[:1])]) if net.padding == "zero" else h
    return _rows(padded, _sources(net).ravel()).reshape(net.positions, -1)


windows = jax.custom_vjp(surroundings, nondiff_argnums=(0,))
"""`surroundings`, with `fold` in reverse mode."""


def fold(net: Convolutional, entries: Array) -> Array:
    """The adjoint of `windows`, (positions, 9 * channels) to (positions, channels).

    A pixel lies at place s of the window around the position that lies at place 8 - s of the window around the pixel.
    """
    flat = entries.reshape(net.positions * WINDOW, -1)
    total = jnp.zeros_like(flat[: net.positions])
    for s, position in enumerate(_sources(net).T[::-1]):
        inside = position < net.positions
        part = _rows(flat, np.where(inside, position, 0) * WINDOW + s)
        total = total + (part if inside.all() else jnp.where(inside[:, None], part, 0))
    return total


def _rows(matrix: Array, rows: np.ndarray) -> Array:
    found: Array = matrix.at[rows].get(mode="promise_in_bounds")
    return found


windows.defvjp(lambda net, h: (windows(net, h), None), lambda net, _, cotangent: (fold(net, cotangent),))


def forward(net: Convolutional, theta: dict[str, Array], image: Array, see: Callable[..., Array] = windows) -> Maps:
    """One network at one image, (height * width * channels,); `see` is `windows`, or `surroundings` for forward mode."""
    *hidden, readout = net.layers
    h, seen, slopes = [image.reshape(net.positions, -1)], [], []
    for l, layer in enumerate(hidden, start=1):
        seen.append(see(net, h[-1]))
        value, slope, *_ = DERIVATIVES[net.activation](affine_of_rows(layer, theta, l, seen[-1]))
        h.append(value)
        slopes.append(slope)
    last = h.pop()
    read = last.mean(axis=0) if net.readout == "global_average" else last.ravel()
    return Maps(h, seen, slopes, read, affine_of_rows(readout, theta, len(net.layers), read))


def backward(net: Convolutional, theta: dict[str, Array], maps: Maps) -> list[Array]:
    """Signals `delta_l = d f_o / d z_l` of the convolutions for every output o, (output_dim, positions, width) each."""
    readout = theta[f"W{len(net.layers)}"].reshape(net.output_dim, -1, net.width)
    if net.readout == "global_average":
        readout = readout / net.positions
    delta = [net.layers[-1].weight_multiplier * readout * maps.slopes[-1]]
    for l in range(net.depth, 1, -1):
        entries = net.layers[l - 1].weight_multiplier * (delta[-1] @ theta[f"W{l}"])
        delta.append(jax.vmap(partial(fold, net))(entries) * maps.slopes[l - 2])
    return delta[::-1]


def image_entries(net: Convolutional) -> int:
    """Temporaries of one image at the largest layer, forward and backward."""
    return max(layer.fan_in + 3 * layer.fan_out for layer in net.layers[: net.depth]) * net.positions * net.output_dim


def images_per_pass(net: Convolutional, available: int, itemsize: int) -> int:
    """Images whose temporaries fit the bytes available (one at least)."""
    return max(1, available // (itemsize * image_entries(net)))


# The ways of `ntk`


def cheapest_way(net: Convolutional, l: int, n1: int, n2: int, out: int, signals: int) -> str:
    """The way of convolution l with the fewest multiply-adds; of the two that form gradients, the one that keeps less.

    `positions` takes every two positions of every two points: `n1 n2 p^2 (out^2 signals + fan_in)`, and as many entries to
    multiply and add. The others form gradients, `(n1 + n2) p out signals fan_in`, and multiply them,
    `n1 n2 out^2 signals fan_in`.
    """
    fan_in, p = net.layers[l - 1].fan_in, net.positions
    by_positions = n1 * n2 * p**2 * (out**2 * (signals + ENTRY) + fan_in)
    by_gradients = (n1 + n2) * p * out * signals * fan_in + n1 * n2 * out**2 * signals * fan_in
    if by_positions <= by_gradients:
        return "positions"
    return min("gradients", "channels", key=lambda way: kept(net, l, way, out, signals))


def kept(net: Convolutional, l: int, way: str, out: int, signals: int) -> int:
    """Entries that convolution l keeps of one point."""
    fan_in = net.layers[l - 1].fan_in
    match way:
        case "gradients":
            return out * signals * (fan_in + 1)
        case "channels":
            return net.positions * (out * signals + fan_in // WINDOW)
        case _:
            return net.positions * (out * signals + fan_in)
