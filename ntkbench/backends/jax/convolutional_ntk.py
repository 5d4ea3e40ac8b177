"""The NTK of convolutional networks, layer by layer.

`convolutional.cheapest_way` chooses among the ways of `layerwise`: only convolutions on maps of few pixels take `positions`
(Novak et al. 2022).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax import convolutional, layerwise
from ntkbench.backends.jax.layerwise import Gradients, Pairs, Positions, over_points
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.resources import Sizes
from ntkbench.networks import Convolutional, Layer


class Channels(NamedTuple):
    """For the way `channels`: delta (n, O, positions, fan_out) and the maps that the layer sees, (n, positions, channels)."""

    delta: Array
    maps: Array


Factors = Positions | Gradients | Channels


def kernel(net: Convolutional, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
    """Of one network without its mobility."""
    ways = _ways(net, points[0].shape[0], points[-1].shape[0], outputs)

    def factors(x: Array) -> list[Factors]:
        at_once = convolutional.images_per_pass(net, sizes.images, x.dtype.itemsize)
        found: list[Factors] = over_points(lambda image: _factors_of_image(net, theta, image, ways, outputs), x, at_once)
        return found

    def contract(layer: Layer, one: Factors, two: Factors, pairs: Pairs) -> list[Array]:
        if isinstance(one, Gradients) and isinstance(two, Gradients):
            return layerwise.by_gradients(one, two, pairs)
        if isinstance(one, Positions) and isinstance(two, Positions):
            return layerwise.by_positions(layer, one, two, pairs, sizes.images)
        return _contract_channels(net, layer, cast(Channels, one), cast(Channels, two), pairs, sizes)

    return layerwise.kernel(net, [factors(x) for x in points], points, contract, outputs)


def _ways(net: Convolutional, n1: int, n2: int, outputs: str) -> list[str]:
    """Of every layer, readout last."""
    hidden = [convolutional.cheapest_way(net, l, n1, n2, *layerwise.signals(net, l, outputs)) for l in range(1, net.depth + 1)]
    return [*hidden, "positions"]


def _factors_of_image(net: Convolutional, theta: Theta, image: Array, ways: list[str], outputs: str) -> list[Factors]:
    maps = convolutional.forward(net, theta, image, convolutional.surroundings)
    found: list[Factors] = []
    for l, delta in enumerate(convolutional.backward(net, theta, maps), start=1):
        signals, window = layerwise.trace(delta, outputs), maps.windows[l - 1]
        match ways[l - 1]:
            case "gradients":
                found.append(Gradients(_gradient(net.layers[l - 1], signals, window)))
            case "channels":
                found.append(Channels(signals, maps.h[l - 1]))
            case _:
                found.append(Positions(signals, window))
    readout = jnp.eye(net.output_dim, dtype=image.dtype)[:, None, :]
    return [*found, Positions(layerwise.trace(readout, outputs), maps.seen[None])]


def _gradient(layer: Layer, delta: Array, window: Array) -> Array:
    """The gradients c d/dW and e d/db at one image for every output, (O, parameters)."""
    weights = layer.weight_multiplier * jnp.einsum("opm,pk->omk", delta, window)
    parts = [weights.reshape(len(delta), -1)]
    if layer.bias_multiplier:
        parts.append(layer.bias_multiplier * delta.sum(axis=1))
    return jnp.concatenate(parts, axis=1)


def _contract_channels(
    net: Convolutional, layer: Layer, one: Channels, two: Channels, pairs: Pairs, sizes: Sizes
) -> list[Array]:
    """Sums over blocks of output channels, as many at a time as `sizes.gradients` holds for all points."""
    fan_out, points = one.delta.shape[-1], len(one.delta) + (0 if two is one else len(two.delta))
    each = points * one.delta.shape[1] * (layer.fan_in + 1) * one.delta.dtype.itemsize
    size = max(k for k in range(1, fan_out + 1) if fan_out % k == 0 and (k == 1 or k * each <= sizes.gradients))
    images = convolutional.images_per_pass(net, sizes.images, one.delta.dtype.itemsize)

    def gradients(factors: Channels, start: Array) -> Array:
        delta = jax.lax.dynamic_slice_in_dim(factors.delta, start, size, axis=3)
        found: Array = over_points(
            lambda image: _gradient(layer, image.delta, convolutional.surroundings(net, image.maps)),
            Channels(delta, factors.maps),
            images,
        )
        return found

    def step(total: list[Array], start: Array) -> tuple[list[Array], None]:
        first = gradients(one, start)
        second = first if two is one else gradients(two, start)
        return [
            t + layerwise.product(first[rows], second[columns]) for t, (rows, columns) in zip(total, pairs, strict=True)
        ], None

    out, dtype = one.delta.shape[1], one.delta.dtype
    zero = [jnp.zeros((r.stop - r.start, out, c.stop - c.start, out), dtype) for r, c in pairs]
    found: list[Array] = jax.lax.scan(step, zero, jnp.arange(0, fan_out, size))[0]
    return found


def entries(net: Convolutional, n1: int, n2: int, outputs: str) -> int:
    """Numbers held besides parameters and kernels, `Sizes` apart: what is kept of every point, and one image."""
    out = 1 if outputs == "one" else net.output_dim
    ways = _ways(net, n1, max(1, n2), outputs)
    each = (n1 + n2) * (out**2 + net.layers[-1].fan_in) + convolutional.image_entries(net)
    for l, way in enumerate(ways[:-1], start=1):
        each += (n1 + n2) * convolutional.kept(net, l, way, *layerwise.signals(net, l, outputs))
    return each + (2 * n2 * (out * net.positions) ** 2 if "positions" in ways[:-1] else 0)


def direction(net: Convolutional, theta: Theta, x: Array, weights: Array, available: int) -> Theta:
    """`sum_b weights_b grad f_b`, in parts whose maps fit the bytes available; points that fill up a part have weight 0."""
    parts = -(-len(x) // convolutional.images_per_pass(net, available // net.depth, x.dtype.itemsize))
    if parts == 1:
        return _weighted_gradient(net, theta, x, weights)
    size = -(-len(x) // parts)
    padded = [jnp.pad(array, [(0, parts * size - len(x)), *[(0, 0)] * (array.ndim - 1)]) for array in (x, weights)]

    def add_part(total: Theta, part: list[Array]) -> tuple[Theta, None]:
        return jax.tree.map(jnp.add, total, _weighted_gradient(net, theta, *part)), None

    cut = [array.reshape(parts, size, *array.shape[1:]) for array in padded]
    found: Theta = jax.lax.scan(add_part, jax.tree.map(jnp.zeros_like, theta), cut)[0]
    return found


def _weighted_gradient(net: Convolutional, theta: Theta, images: Array, weights: Array) -> Theta:
    def passes(image: Array) -> tuple[list[Array], list[Array]]:
        maps = convolutional.forward(net, theta, image, convolutional.surroundings)
        signals = [delta[0] for delta in convolutional.backward(net, theta, maps)]
        return [*signals, jnp.ones((1, 1), image.dtype)], [*maps.windows, maps.seen[None]]

    found = {}
    for l, (delta, seen) in enumerate(zip(*jax.vmap(passes)(images), strict=True), start=1):
        layer, weighted = net.layers[l - 1], delta * weights[:, None, None]
        found[f"W{l}"] = layer.weight_multiplier * jnp.tensordot(weighted, seen, axes=((0, 1), (0, 1)))
        if f"b{l}" in theta:
            found[f"b{l}"] = layer.bias_multiplier * weighted.sum(axis=(0, 1))
    return found
