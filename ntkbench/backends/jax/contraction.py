"""K3 and K4 contracted with basis vectors in every slot but the first: the 2n+1 rule along a few dense directions.

Points are pairs of an input and an output: `f_a` is one output at one input, and `g_a`, `H_a`, `T_a` are its derivatives. With
`v_i = sum_c u_ci g_c`, `H_i = sum_b u_bi H_b` and `T_i` likewise, `z_jk = H_j v_k` and rows a,

    K3[a,i,j]   = v_i . H_a v_j + g_a . H_i v_j
    K4[a,i,j,k] = T_a(v_i,v_j,v_k) + v_i . H_a z_jk + v_j . H_a z_ik + v_k . H_a z_ij + g_a . (T_i(v_j,v_k) + H_i z_jk)

Terms in the derivatives of `f_a` ask for first-order responses of the rows along the `v_i` alone; they are the sum over
the three choices of a slot for `H_a` of one array. The bracket is the gradient of `sum_b u_bi f_b` to second order in
`theta + s v_j + t v_k + s t z_jk`: second-order responses of the points, whose inner products with `g_a` are sums over layers
of products of (rows, points) matrices, weighted and summed over the points afterwards, so that i costs no pass of its own.
Outputs have an axis of their own, in front of that of the inputs; whatever is made of activations alone is there once.

Everything is of one network, and called for equal blocks of rows and of points. Zero vectors fill a small basis up to one of
few sizes, since every size compiles anew; loops over directions leave them out, and what they contract to is cut off.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.backends import checks
from ntkbench.backends.jax.blocks import Block, blocks
from ntkbench.backends.jax.dense_responses import (
    Points,
    each,
    first_order,
    forward_cross,
    linearized,
    of_each_output,
    second_order,
    sources,
)
from ntkbench.backends.jax.network import Theta, add
from ntkbench.networks import FullyConnected

BLOCK = 256
"""Points of a block, at most: enough for matrix products at full speed."""

VECTORS = 12
"""Sizes of the basis that are compiled are multiples of it, where the budget allows and products are small."""

LARGE = 2**17
"""Units of all layers for all points, from which on products with zero vectors would take longer than compiling a size more."""


class Space(NamedTuple):
    """Of the directions.

    Attributes:
        span: as `linearized` takes it, of all points.
        vectors: of the basis; further ones are zero, and so is what is not computed for them.
    """

    span: Array | None
    vectors: Array


@partial(jax.jit, static_argnums=0)
def directions(net: FullyConnected, theta: Theta, x: Array, basis: Array, span: Array | None) -> Theta:
    """What a block of points adds to the `v_i`; basis (outputs, points, k)."""
    points = linearized(net, theta, x, span)
    found = {}
    for l, (layer, delta, h) in enumerate(zip(net.layers, points.delta, points.activations.h, strict=True), start=1):
        found[f"W{l}"] = layer.weight_multiplier * jnp.einsum("uob,obi,vb->iuv", delta, basis, h)
        if f"b{l}" in theta:
            found[f"b{l}"] = layer.bias_multiplier * jnp.einsum("uob,obi->iu", delta, basis)
    return found


@partial(jax.jit, static_argnums=0)
def second_directions(net: FullyConnected, theta: Theta, x: Array, basis: Array, v: Theta, at: Space) -> Theta:
    """What a block of points adds to the `z_jk`, axes (k, j, ..): the derivative of `v_j` along `v_k`."""

    def moved(along: Theta) -> Theta:
        whole = along if at.span is None else along | {"W1": along["W1"] @ at.span.T}
        response: Theta = jax.jvp(lambda parameters: directions(net, parameters, x, basis, at.span), (theta,), (whole,))[1]
        return response

    found: Theta = each(moved, v, at.vectors)
    return found


@partial(jax.jit, static_argnums=0)
def row_terms(net: FullyConnected, theta: Theta, rows: Array, v: Theta, z: Theta | None, space: Space) -> list[Array]:
    """The terms in derivatives of `f_a` for a block of rows: (rows, outputs, k, k) and, if z is given, with one k more."""
    at = linearized(net, theta, rows, space.span)
    first = first_order(net, theta, at, v, space.vectors)
    dz, dh = ([of_each_output(moved) for moved in responses] for responses in (first.z, first.h))

    def slot(along: Theta) -> Array:
        into_z, into_u = sources(net, at, along)
        return add([*map(_dots, first.delta, map(of_each_output, into_z)), *map(_dots, dh, into_u)])

    third = jnp.einsum("jioa->aoij", each(slot, v, space.vectors))
    if z is None:
        return [third]
    bent = [
        of_each_output(cubic) * u * moved / 3 + of_each_output(quadratic) * du
        for cubic, quadratic, u, moved, du in zip(at.derivatives(3), at.derivatives(2), at.u, dz, first.u, strict=True)
    ]

    def slot_of_pair(j: Array, k: Array, along: Theta) -> Array:
        crossed = map(_dots, first.delta[1:], map(of_each_output, forward_cross(net, v, first, j, k)))
        return add([slot(along), *crossed, *(_dots(b, moved[j] * moved[k]) for b, moved in zip(bent, dz, strict=True))])

    found = _over_pairs(slot_of_pair, z, space.vectors)
    return [third, add(jnp.einsum(f"{slots}oa->aoijk", found) for slots in ("kji", "kij", "jik"))]


@partial(jax.jit, static_argnums=0)
def gradient_terms(
    net: FullyConnected, theta: Theta, rows: Array, x: Array, basis: Array, v: Theta, z: Theta | None, space: Space
) -> list[Array]:
    """What a block of points adds to the terms in `g_a`: (rows, outputs, k, k) and, if z is given, with one k more."""
    one, two = (linearized(net, theta, points, space.span) for points in (rows, x))
    first = first_order(net, theta, two, v, space.vectors)

    still = [_still(net, one, two, l) for l in range(1, net.depth + 1)]

    def weighted(delta: list[Array], h: list[Array], others: list[Array]) -> Array:
        return _weighted(net, one, still, basis, delta, h, others)

    third = jnp.einsum("joai->aoij", each(lambda of: weighted(of.delta, of.h, []), first, space.vectors))
    if z is None:
        return [third]
    ddelta_delta = [_gram(found, of, space) for found, of in zip(first.delta[1:], one.delta[1:-1], strict=True)]
    dh_h = [of_each_output(_gram(found, of, space)) for found, of in zip(first.h[:-1], one.activations.h[1:-1], strict=True)]

    def bracket(j: Array, k: Array, along: Theta) -> Array:
        second = second_order(net, theta, two, v, first, j, k, along)
        crossed = [
            layer.weight_multiplier**2 * (ddelta[j] * dh[k] + ddelta[k] * dh[j])
            for layer, ddelta, dh in zip(net.layers[1:-1], ddelta_delta, dh_h, strict=True)
        ]
        return weighted(second.delta, second.h, crossed)

    return [third, jnp.einsum("kjoai->aoijk", _over_pairs(bracket, z, space.vectors))]


def _over_pairs(function: Callable[[Array, Array, Theta], Array], z: Theta, count: Array) -> Array:
    """`function(j, k, z_jk)` of all pairs of the first `count` vectors, on axes (k, j, ..); zeros for the others."""
    size = z["W1"].shape[0]

    def filled(i: Array, found: Array) -> Array:
        k, j = jnp.divmod(i, count)
        return found.at[k, j].set(function(j, k, {name: values[k, j] for name, values in z.items()}))

    like = jax.eval_shape(lambda: function(jnp.int32(0), jnp.int32(0), {name: values[0, 0] for name, values in z.items()}))
    found: Array = jax.lax.fori_loop(jnp.int32(0), count**2, filled, jnp.zeros((size, size, *like.shape), like.dtype))
    return found


def _dots(first: Array, other: Array) -> Array:
    """Over the units, of activations on an axis of length 1 for the outputs: (k, outputs, points)."""
    return jnp.sum(first * other, axis=1)


def _gram(responses: Array, rows: Array, space: Space) -> Array:
    """`_products` with every response."""
    found: Array = each(lambda response: _products(rows, response), responses, space.vectors)
    return found


def _products(rows: Array, points: Array) -> Array:
    """Over the units, (units, ..) with (units, ..): (rows, points), and (outputs, rows, outputs, points) of signals."""
    return jnp.tensordot(rows, points, axes=(0, 0))


def _still(net: FullyConnected, one: Points, two: Points, l: int) -> tuple[Array, Array]:
    """`delta_l^a . delta_l^b` of all outputs, and `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2`."""
    layer = net.layers[l - 1]
    metric = (
        layer.weight_multiplier**2 * _products(one.activations.h[l - 1], two.activations.h[l - 1]) + layer.bias_multiplier**2
    )
    return _products(one.delta[l - 1], two.delta[l - 1]), of_each_output(metric)


def _weighted(
    net: FullyConnected,
    one: Points,
    still: list[tuple[Array, Array]],
    basis: Array,
    delta: list[Array],
    h: list[Array],
    others: list[Array],
) -> Array:
    """`sum_b u_bi g_a . (response of g_b)` of all outputs, (outputs, rows, k).

    Args:
        delta, h: responses of `delta_l` and `h_l`; others: further products of a and b.
    """
    products = list(others)
    for l, (gram, metric) in enumerate(still, start=1):
        products.append(_products(one.delta[l - 1], delta[l - 1]) * metric)
        if l > 1:
            moved = net.layers[l - 1].weight_multiplier ** 2 * _products(one.activations.h[l - 1], h[l - 2])
            products.append(of_each_output(moved) * gram)
    readout = jnp.einsum("ua,uoi->oai", one.activations.h[-1], jnp.einsum("ub,obi->uoi", h[-1], basis))
    return jnp.tensordot(add(products), basis, axes=2) + net.layers[-1].weight_multiplier ** 2 * readout


class Sizes(NamedTuple):
    """Of the blocks: rows of `row_terms`, rows and points of `gradient_terms`; vectors of the basis, zero ones among them."""

    rows: int
    partners: int
    points: int
    vectors: int


def contracted(
    net: FullyConnected,
    theta: Theta,
    rows: np.ndarray,
    x: np.ndarray,
    basis: np.ndarray,
    *,
    order: int,
    sizes: Sizes,
    put: Callable[[np.ndarray], Array],
) -> list[np.ndarray]:
    """K3 and, for order 4, K4 of one network, without its mobility; `put` moves arrays to the device."""
    k = basis.shape[1]
    basis = basis.reshape(len(x), net.output_dim, k)
    cuts = [(put(block.cut_points(x)), put(_padded(basis, block, sizes.vectors))) for block in blocks(len(x), sizes.points)]
    span = put(np.linalg.qr(x.T)[0]) if len(x) < net.input_dim else None
    space = Space(span, jnp.int32(k))
    v = _sum(directions(net, theta, *cut, span) for cut in cuts)
    z = _sum(second_directions(net, theta, *cut, v, space) for cut in cuts) if order == 4 else None
    made: list[list[np.ndarray]] = []
    for block in blocks(len(rows), sizes.rows):
        terms = row_terms(net, theta, put(block.cut_points(rows)), v, z, space)
        made.append([np.asarray(term)[: len(block)] for term in terms])
    found = [np.concatenate(terms) for terms in zip(*made, strict=True)]
    for block in blocks(len(rows), sizes.partners):
        partners = put(block.cut_points(rows))
        for cut in cuts:
            for kernel, term in zip(found, gradient_terms(net, theta, partners, *cut, v, z, space), strict=True):
                kernel[block.kept] += np.asarray(term)[: len(block)]
    flat = [kernel.reshape(-1, *kernel.shape[2:]) for kernel in found]
    return [kernel[(slice(None), *[slice(k)] * (kernel.ndim - 1))] for kernel in flat]


def _padded(basis: np.ndarray, block: Block, vectors: int) -> np.ndarray:
    """The block's part (outputs, points, vectors), with zero vectors; that of points that stand in twice is zero."""
    part = basis[block.kept]
    return np.pad(part, [(0, block.size - len(part)), (0, 0), (0, vectors - part.shape[2])]).swapaxes(0, 1)


def _sum(parts: Iterator[Theta]) -> Theta:
    return reduce(lambda total, part: {name: values + part[name] for name, values in total.items()}, parts)


def block_sizes(net: FullyConnected, rows: int, n: int, k: int, order: int, itemsize: int, budget: int) -> Sizes:
    """As large as full speed asks for and the budget allows.

    Raises:
        ValueError: if blocks of one row and one point take more than the budget.
    """
    wide = -(-k // VECTORS) * VECTORS
    small = n * net.output_dim * net.depth * net.width < LARGE
    vectors = wide if small and itemsize * _floats(net, wide, order, 1, 1) <= budget else k

    def fits(partners: int, points: int) -> bool:
        return itemsize * _floats(net, vectors, order, partners, points) <= budget

    def largest(total: int, fitting: Callable[[int], bool]) -> int:
        size = min(total, BLOCK)
        while size > 1 and not fitting(size):
            size = -(-size // 2)
        return size

    least = itemsize * _floats(net, vectors, order, 1, 1)
    checks.one_seed_fits(f"K{order} of width {net.width} contracted with {k} vectors, in blocks of one point,", least, budget)
    partners = rows
    while partners > 1 and not fits(partners, min(n, BLOCK)):
        partners = -(-partners // 2)
    return Sizes(largest(rows, lambda size: fits(0, size)), partners, largest(n, lambda size: fits(partners, size)), vectors)


def _floats(net: FullyConnected, k: int, order: int, partners: int, points: int) -> int:
    """Numbers at once in `gradient_terms`, or with no partners in `row_terms` of as many rows as points."""
    outputs, hidden = net.output_dim, net.depth * net.width
    along = (net.parameter_count // net.copies) * (1 + 2 * k + (2 * k**2 if order == 4 else 0))
    units = (2 * k + 8 + (4 * k + 16) * outputs) * hidden + 2 * net.input_dim + 4 * k**3 * outputs
    of_partner = 10 * outputs * hidden + 2 * net.input_dim + 4 * k**3 * outputs
    of_pair = k * net.depth * (1 + outputs**2) + (4 * net.depth + 6) * outputs**2
    return along + points * (units + partners * of_pair) + partners * of_partner
