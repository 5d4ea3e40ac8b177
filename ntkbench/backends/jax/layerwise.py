"""The NTK as a sum over layers, in the parts that dense layers and convolutions share.

With `delta(p)` the signals of an output at position p of a layer and `h(p)` what the layer sees there (its window, for a
convolution), the gradient with respect to its weights at one point is `c sum_p delta(p) h(p)^T`. A dense layer is the
case of one position. Inner products of such gradients at two points a, b are contracted in one of three ways:

- `positions`: `sum_pq (delta_a(p) . delta_b(q)) (c^2 h_a(p) . h_b(q) + e^2)`, e the multiplier of biases: without gradients;
- `gradients`: each point's gradient once, then one matrix product of all points with all;
- `channels`: the same, where all gradients of a layer would take more memory than what they are made of: gradients of a few
  output channels at a time (`convolutional_ntk`).

A kernel of points with themselves is computed in strips from the diagonal on and mirrored.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import add
from ntkbench.networks import Layer, Network

STRIP_ROWS = 128
"""Fewest rows of a strip: with fewer the matrix products lose more than the half that is not computed gains."""

STRIPS = 8
"""Most strips: what is computed falls towards one half as (1 + 1 / strips) / 2."""


class Positions(NamedTuple):
    """For the way `positions`: delta (n, O, positions, fan_out) and h (n, positions, fan_in)."""

    delta: Array
    h: Array


class Gradients(NamedTuple):
    """For the way `gradients`: c d/dW and e d/db of every point and output, (n, O, parameters of the layer)."""

    rows: Array


Pairs = list[tuple[slice, slice]]
"""Blocks of a kernel as rows and columns."""


def kernel(
    net: Network, sides: Sequence[list[Any]], points: Sequence[Array], contract: Callable[..., list[Array]], outputs: str
) -> Array:
    """Of one network without its mobility, (n1, n2) or (n1, n2, O, O); has a forward mode.

    Args:
        sides: per side of the kernel, one or two, its factors of every layer.
        contract: of a layer, its factors of both sides and `Pairs`, the share of the kernel, (rows, O, columns, O) per pair.
    """
    n1, n2 = points[0].shape[0], points[-1].shape[0]
    pairs = strips(n1) if len(points) == 1 else [(slice(0, n1), slice(0, n2))]
    layers = [contract(layer, one, two, pairs) for layer, one, two in zip(net.layers, sides[0], sides[-1], strict=True)]
    found = _assemble([add(blocks) for blocks in zip(*layers, strict=True)], pairs)
    return found if outputs == "full" else found[..., 0, 0]


def strips(n: int) -> Pairs:
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


def signals(net: Network, l: int, outputs: str) -> tuple[int, int]:
    """Outputs and signals per position of layer l: the trace sums over outputs as if they were further signals."""
    fan_out = net.layers[l - 1].fan_out
    return (1, net.output_dim * fan_out) if outputs == "trace" else (net.output_dim, fan_out)


def trace(delta: Array, outputs: str) -> Array:
    """Signals (.., O, positions, fan_out), for the trace as (.., 1, positions, O * fan_out)."""
    if outputs != "trace":
        return delta
    return jnp.moveaxis(delta, -3, -2).reshape(*delta.shape[:-3], 1, delta.shape[-2], -1)


def by_gradients(one: Gradients, two: Gradients, pairs: Pairs) -> list[Array]:
    """Of one layer."""
    return [product(one.rows[rows], two.rows[columns]) for rows, columns in pairs]


def by_positions(layer: Layer, one: Positions, two: Positions, pairs: Pairs, available: int) -> list[Array]:
    """Of one layer; as many rows at a time as the bytes available hold."""
    return [_contract_positions(layer, _cut(one, rows), _cut(two, columns), available) for rows, columns in pairs]


def product(one: Array, two: Array) -> Array:
    """(n1, O, F) and (n2, O, F) to (n1, O, n2, O)."""
    return jnp.tensordot(one, two, axes=((2,), (2,)))


def _cut(factors: Positions, rows: slice) -> Positions:
    return Positions(factors.delta[rows], factors.h[rows])


def _contract_positions(layer: Layer, one: Positions, two: Positions, available: int) -> Array:
    """As many rows at a time as `available` holds."""
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
    found: Array = over_points(lambda row: block(row.delta[None], row.h[None])[0], one, max(1, available // each))
    return found


def over_points(function: Callable[[Any], Any], points: Any, size: int) -> Any:
    """`function` of one point, over the first axis of the arrays in `points`, `size` of them at a time."""
    n = jax.tree.leaves(points)[0].shape[0]
    if size >= n:
        return jax.vmap(function)(points)
    return jax.lax.map(function, points, batch_size=-(-n // -(-n // size)))
