"""The empirical NTK, layer by layer.

With `delta(p)` the signals of an output at position p of a layer and `h(p)` what the layer sees there (its window, for a
convolution), the gradient with respect to its weights at one point is `c sum_p delta(p) h(p)^T`. A dense layer is the
case of one position. Inner products of such gradients at two points a, b are contracted in one of three ways:

- `positions`: `sum_pq (delta_a(p) . delta_b(q)) (c^2 h_a(p) . h_b(q) + e^2)`, e the multiplier of biases: without gradients;
- `gradients`: each point's gradient once, then one matrix product of all points with all;
- `channels`: the same, where all gradients of a layer would take more memory than what they are made of: gradients of a few
  output channels at a time.

`convolutional.cheapest_way` chooses. Dense layers always take the first (Jacot et al. 2018, section 4); among convolutions only
those on maps of few pixels do (Novak et al. 2022). A kernel of points with themselves is computed in strips from the diagonal
on and mirrored.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax import convolutional
from ntkbench.backends.jax.activations import DERIVATIVES
from ntkbench.backends.jax.network import Theta, add, combine, over_networks
from ntkbench.networks import Convolutional, Layer, Network

STRIP_ROWS = 128
"""Fewest rows of a strip: with fewer the matrix products lose more than the half that is not computed gains."""

STRIPS = 8
"""Most strips: what is computed falls towards one half as (1 + 1 / strips) / 2."""


class Sizes(NamedTuple):
    """Bytes of temporaries: of one pass over images, and of the gradients formed at a time by the way `channels`."""

    images: int
    gradients: int


class Positions(NamedTuple):
    """For the way `positions`: delta (n, O, positions, fan_out) and h (n, positions, fan_in)."""

    delta: Array
    h: Array


class Gradients(NamedTuple):
    """For the way `gradients`: c d/dW and e d/db of every point and output, (n, O, parameters of the layer)."""

    rows: Array


class Channels(NamedTuple):
    """For the way `channels`: delta (n, O, positions, fan_out) and the maps that the layer sees, (n, positions, channels)."""

    delta: Array
    maps: Array


Factors = Positions | Gradients | Channels
Pairs = list[tuple[slice, slice]]
"""Blocks of a kernel as rows and columns."""


@partial(jax.jit, static_argnums=(0, 4, 5))
def ntk(net: Network, theta: Theta, x1: Array, x2: Array | None, outputs: str, sizes: Sizes) -> Array:
    """`K2 = mobility * <grad f(x1), grad f(x2)>` of all seeds, (S, n1, n2) or (S, n1, n2, O, O); `x2` None means `x1`."""
    networks = theta["W1"].shape[0] * net.copies
    each = Sizes(sizes.images // networks, sizes.gradients // networks)
    points = [x1] if x2 is None else [x1, x2]
    kernels = over_networks(lambda one, *x: kernel(net, one, x, outputs, each), theta, *points)
    return combine(net, kernels, 2)


def kernel(net: Network, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
    """Of one network without its mobility, (n1, n2) or (n1, n2, O, O), for one or two arrays of points; has a forward mode."""
    n1, n2 = points[0].shape[0], points[-1].shape[0]
    ways = _ways(net, n1, n2, outputs)
    factors = [_factors(net, theta, x, ways, outputs, sizes) for x in points]
    pairs = _strips(n1) if len(points) == 1 else [(slice(0, n1), slice(0, n2))]
    layers = [
        _contract(net, layer, one, two, pairs, sizes)
        for layer, one, two in zip(net.layers, factors[0], factors[-1], strict=True)
    ]
    found = _assemble([add(blocks) for blocks in zip(*layers, strict=True)], pairs)
    return found if outputs == "full" else found[..., 0, 0]


def _strips(n: int) -> Pairs:
    """Rows of equal height, each with the columns from its first row on."""
    height = -(-n // max(1, min(STRIPS, n // STRIP_ROWS)))
    return [(slice(start, min(n, start + height)), slice(start, n)) for start in range(0, n, height)]


def _assemble(blocks: list[Array], pairs: Pairs) -> Array:
    """The kernel (n1, n2, O, O) from its blocks (rows, O, columns, O); what lies left of a strip is mirrored."""
    blocks = [block.transpose(0, 2, 1, 3) for block in blocks]
    strips = []
    for i, (rows, _) in enumerate(pairs):
        left = [
            block[:, rows.start - above.start : rows.stop - above.start].transpose(1, 0, 3, 2)
            for block, (above, _) in zip(blocks[:i], pairs[:i], strict=True)
        ]
        strips.append(jnp.concatenate([*left, blocks[i]], axis=1))
    return jnp.concatenate(strips)


def _signals(net: Network, l: int, outputs: str) -> tuple[int, int]:
    """Outputs and signals per position of layer l: the trace sums over outputs as if they were further signals."""
    fan_out = net.layers[l - 1].fan_out
    return (1, net.output_dim * fan_out) if outputs == "trace" else (net.output_dim, fan_out)


def _ways(net: Network, n1: int, n2: int, outputs: str) -> list[str]:
    """Of every layer, readout last."""
    if not isinstance(net, Convolutional):
        return ["positions"] * len(net.layers)
    hidden = [convolutional.cheapest_way(net, l, n1, n2, *_signals(net, l, outputs)) for l in range(1, net.depth + 1)]
    return [*hidden, "positions"]


# Factors


def _factors(net: Network, theta: Theta, x: Array, ways: list[str], outputs: str, sizes: Sizes) -> list[Factors]:
    if not isinstance(net, Convolutional):
        return _factors_of_points(net, theta, x, outputs)
    found: list[Factors] = convolutional.over_images(
        lambda image: _factors_of_image(net, theta, image, ways, outputs),
        x,
        convolutional.images_per_pass(net, sizes.images, x.dtype.itemsize),
    )
    return found


def _factors_of_points(net: Network, theta: Theta, x: Array, outputs: str) -> list[Factors]:
    """Of a fully connected network; points are rows here, since products of all with all run fastest along rows."""
    h, slopes = [x], []
    for l, layer in enumerate(net.layers[:-1], start=1):
        value, slope, *_ = DERIVATIVES[net.activation](convolutional.affine(layer, theta, l, h[-1]))
        h.append(value)
        slopes.append(slope[:, None, :])
    readout = jnp.eye(net.output_dim, dtype=x.dtype)
    delta = [
        jnp.broadcast_to(readout, (len(x), *readout.shape)),
        net.layers[-1].weight_multiplier * theta[f"W{net.depth + 1}"] * slopes[-1],
    ]
    for l in range(net.depth, 1, -1):
        delta.append(net.layers[l - 1].weight_multiplier * (delta[-1] @ theta[f"W{l}"]) * slopes[l - 2])
    return [Positions(_trace(d[:, :, None], outputs), seen[:, None]) for d, seen in zip(reversed(delta), h, strict=True)]


def _trace(delta: Array, outputs: str) -> Array:
    """Signals (.., O, positions, fan_out), for the trace as (.., 1, positions, O * fan_out)."""
    if outputs != "trace":
        return delta
    return jnp.moveaxis(delta, -3, -2).reshape(*delta.shape[:-3], 1, delta.shape[-2], -1)


def _factors_of_image(net: Convolutional, theta: Theta, image: Array, ways: list[str], outputs: str) -> list[Factors]:
    maps = convolutional.forward(net, theta, image, convolutional.surroundings)
    found: list[Factors] = []
    for l, delta in enumerate(convolutional.backward(net, theta, maps), start=1):
        signals, window = _trace(delta, outputs), maps.windows[l - 1]
        match ways[l - 1]:
            case "gradients":
                found.append(Gradients(_gradient(net.layers[l - 1], signals, window)))
            case "channels":
                found.append(Channels(signals, maps.h[l - 1]))
            case _:
                found.append(Positions(signals, window))
    readout = jnp.eye(net.output_dim, dtype=image.dtype)[:, None, :]
    return [*found, Positions(_trace(readout, outputs), maps.seen[None])]


def _gradient(layer: Layer, delta: Array, window: Array) -> Array:
    """The gradients c d/dW and e d/db at one image for every output, (O, parameters)."""
    weights = layer.weight_multiplier * jnp.einsum("opm,pk->omk", delta, window)
    parts = [weights.reshape(len(delta), -1)]
    if layer.bias_multiplier:
        parts.append(layer.bias_multiplier * delta.sum(axis=1))
    return jnp.concatenate(parts, axis=1)


# Contractions


def _contract(net: Network, layer: Layer, one: Factors, two: Factors, pairs: Pairs, sizes: Sizes) -> list[Array]:
    """The layer's share of the kernel, (rows, O, columns, O) per pair."""
    if isinstance(one, Gradients) and isinstance(two, Gradients):
        return [_product(one.rows[rows], two.rows[columns]) for rows, columns in pairs]
    if isinstance(one, Positions) and isinstance(two, Positions):
        return [_contract_positions(layer, _cut(one, rows), _cut(two, columns), sizes) for rows, columns in pairs]
    return _contract_channels(cast(Convolutional, net), layer, cast(Channels, one), cast(Channels, two), pairs, sizes)


def _product(one: Array, two: Array) -> Array:
    """(n1, O, F) and (n2, O, F) to (n1, O, n2, O)."""
    return jnp.tensordot(one, two, axes=((2,), (2,)))


def _cut(factors: Positions, rows: slice) -> Positions:
    return Positions(factors.delta[rows], factors.h[rows])


def _contract_positions(layer: Layer, one: Positions, two: Positions, sizes: Sizes) -> Array:
    """As many rows at a time as `sizes.images` holds."""
    _, out, p, _ = one.delta.shape
    each = len(two.delta) * out**2 * p**2 * one.delta.dtype.itemsize

    def block(delta: Array, h: Array) -> Array:
        signals = jnp.tensordot(delta, two.delta, axes=((3,), (3,)))
        seen = layer.weight_multiplier**2 * jnp.tensordot(h, two.h, axes=((2,), (2,))) + layer.bias_multiplier**2
        if p == 1:
            return signals[:, :, 0, :, :, 0] * seen[:, None, 0, :, None, 0]
        return (signals * seen[:, None, :, :, None, :]).sum(axis=(2, 5))

    if p == 1:
        return block(*one)
    found: Array = convolutional.over_images(
        lambda row: block(row.delta[None], row.h[None])[0], one, max(1, sizes.images // each)
    )
    return found


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
        found: Array = convolutional.over_images(
            lambda image: _gradient(layer, image.delta, convolutional.surroundings(net, image.maps)),
            Channels(delta, factors.maps),
            images,
        )
        return found

    def step(total: list[Array], start: Array) -> tuple[list[Array], None]:
        first = gradients(one, start)
        second = first if two is one else gradients(two, start)
        return [t + _product(first[rows], second[columns]) for t, (rows, columns) in zip(total, pairs, strict=True)], None

    out, dtype = one.delta.shape[1], one.delta.dtype
    zero = [jnp.zeros((r.stop - r.start, out, c.stop - c.start, out), dtype) for r, c in pairs]
    found: list[Array] = jax.lax.scan(step, zero, jnp.arange(0, fan_out, size))[0]
    return found


def bytes_per_seed(net: Network, n1: int, n2: int, itemsize: int, outputs: str) -> int:
    """Temporaries of `ntk` for one seed, `Sizes` apart: parameters, what is kept of every point, a few kernels, one image."""
    out = 1 if outputs == "one" else net.output_dim
    each = 4 * n1 * n2 * (out**2 if outputs == "full" else 1)
    if isinstance(net, Convolutional):
        ways = _ways(net, n1, max(1, n2), outputs)
        each += (n1 + n2) * (out**2 + net.layers[-1].fan_in) + convolutional.image_entries(net)
        for l, way in enumerate(ways[:-1], start=1):
            each += (n1 + n2) * convolutional.kept(net, l, way, *_signals(net, l, outputs))
        if "positions" in ways[:-1]:
            each += 2 * n2 * (out * net.positions) ** 2
    else:
        each += (n1 + n2) * sum(layer.fan_in + (1 + 2 * out) * layer.fan_out for layer in net.layers)
    return itemsize * (net.parameter_count + net.copies * each)
