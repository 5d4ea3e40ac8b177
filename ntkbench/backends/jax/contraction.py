"""K3 and K4 contracted with basis vectors in every slot but the first: the 2n+1 rule along a few dense directions.

With `v_i = sum_c u_ci g_c`, `H_i = sum_b u_bi H_b` and `T_i` likewise, `z_jk = H_j v_k` and rows a,

    K3[a,i,j]   = v_i . H_a v_j + g_a . H_i v_j
    K4[a,i,j,k] = T_a(v_i,v_j,v_k) + v_i . H_a z_jk + v_j . H_a z_ik + v_k . H_a z_ij + g_a . (T_i(v_j,v_k) + H_i z_jk)

Terms in the derivatives of `f_a` ask for first-order responses of the rows along the `v_i` alone; they are the sum over
the three choices of a slot for `H_a` of one array. The bracket is the gradient of `sum_b u_bi f_b` to second order in
`theta + s v_j + t v_k + s t z_jk`: second-order responses of the points, whose inner products with `g_a` are sums over layers
of products of (rows, points) matrices, weighted and summed over the points afterwards, so that i costs no pass of its own.

Everything is of one network, and called for equal blocks of rows and of points. Zero vectors fill a small basis up to one of
few sizes, since every size compiles anew; what they contract to is zero, and cut off.
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
from ntkbench.backends.jax.dense_responses import Points, first_order, forward_cross, second_order, sources
from ntkbench.backends.jax.network import Theta, add, linearize
from ntkbench.networks import FullyConnected

BLOCK = 256
"""Points of a block, at most: enough for matrix products at full speed."""

VECTORS = 4
"""Sizes of the basis that are compiled are multiples of it, where the budget allows and products are small."""

LARGE = 2**17
"""Units of all layers for all points, from which on products with zero vectors would take longer than compiling a size more."""


@partial(jax.jit, static_argnums=0)
def directions(net: FullyConnected, theta: Theta, x: Array, basis: Array) -> Theta:
    """What a block of points adds to the `v_i`; basis (points, k)."""
    activations, signals = linearize(net, theta, x)
    found = {}
    for l, (layer, delta, h) in enumerate(zip(net.layers, signals.delta, activations.h, strict=True), start=1):
        found[f"W{l}"] = layer.weight_multiplier * jnp.einsum("ub,bi,vb->iuv", delta, basis, h)
        if f"b{l}" in theta:
            found[f"b{l}"] = layer.bias_multiplier * jnp.einsum("ub,bi->iu", delta, basis)
    return found


@partial(jax.jit, static_argnums=0)
def second_directions(net: FullyConnected, theta: Theta, x: Array, basis: Array, v: Theta) -> Theta:
    """What a block of points adds to the `z_jk`, axes (k, j, ..): the derivative of `v_j` along `v_k`."""
    found: Theta = jax.lax.map(lambda along: jax.jvp(lambda at: directions(net, at, x, basis), (theta,), (along,))[1], v)
    return found


@partial(jax.jit, static_argnums=0)
def row_terms(net: FullyConnected, theta: Theta, rows: Array, v: Theta, z: Theta | None) -> list[Array]:
    """The terms in derivatives of `f_a` for a block of rows: (rows, k, k) and, if z is given, (rows, k, k, k)."""
    at = Points(*linearize(net, theta, rows))
    first = first_order(net, theta, at, v)

    def slot(along: Theta) -> Array:
        into_z, into_u = sources(net, at, along)
        return add([*map(_dots, first.delta, into_z), *map(_dots, first.h, into_u)])

    third = jnp.einsum("jia->aij", jax.lax.map(slot, v))
    if z is None:
        return [third]
    bent = [
        cubic * u * dz / 3 + quadratic * du
        for cubic, quadratic, u, dz, du in zip(
            at.derivatives(3), at.derivatives(2), at.signals.u, first.z, first.u, strict=True
        )
    ]

    def slot_of_pair(j: Array, k: Array, along: Theta) -> Array:
        crossed = map(_dots, first.delta[1:], forward_cross(net, v, first, j, k))
        return add([slot(along), *crossed, *(_dots(b, dz[j] * dz[k]) for b, dz in zip(bent, first.z, strict=True))])

    found = _over_pairs(slot_of_pair, z)
    return [third, add(jnp.einsum(f"{slots}a->aijk", found) for slots in ("kji", "kij", "jik"))]


@partial(jax.jit, static_argnums=0)
def gradient_terms(
    net: FullyConnected, theta: Theta, rows: Array, x: Array, basis: Array, v: Theta, z: Theta | None
) -> list[Array]:
    """What a block of points adds to the terms in `g_a`: (rows, k, k) and, if z is given, (rows, k, k, k)."""
    one, two = Points(*linearize(net, theta, rows)), Points(*linearize(net, theta, x))
    first = first_order(net, theta, two, v)

    still = [_still(net, one, two, l) for l in range(1, net.depth + 1)]

    def weighted(delta: list[Array], h: list[Array], others: list[Array]) -> Array:
        return _weighted(net, one, still, basis, delta, h, others)

    third = jnp.einsum("jai->aij", jax.lax.map(lambda of: weighted(of.delta, of.h, []), first))
    if z is None:
        return [third]
    ddelta_delta = [_gram(found, of) for found, of in zip(first.delta[1:], one.signals.delta[1:-1], strict=True)]
    dh_h = [_gram(found, of) for found, of in zip(first.h[:-1], one.activations.h[1:-1], strict=True)]

    def bracket(j: Array, k: Array, along: Theta) -> Array:
        second = second_order(net, theta, two, v, first, j, k, along)
        crossed = [
            layer.weight_multiplier**2 * (ddelta[j] * dh[k] + ddelta[k] * dh[j])
            for layer, ddelta, dh in zip(net.layers[1:-1], ddelta_delta, dh_h, strict=True)
        ]
        return weighted(second.delta, second.h, crossed)

    return [third, jnp.einsum("kjai->aijk", _over_pairs(bracket, z))]


def _over_pairs(function: Callable[[Array, Array, Theta], Array], z: Theta) -> Array:
    """`function(j, k, z_jk)` of all pairs, on axes (k, j, ..)."""
    size = z["W1"].shape[0]
    k, j = jnp.divmod(jnp.arange(size**2), size)
    flat = {name: values.reshape(size**2, *values.shape[2:]) for name, values in z.items()}
    found: Array = jax.lax.map(lambda of: function(*of), (j, k, flat))
    return found.reshape(size, size, *found.shape[1:])


def _dots(first: Array, other: Array) -> Array:
    """Over the units: (k, units, points) with (units, points) to (k, points)."""
    return jnp.sum(first * other, axis=1)


def _gram(responses: Array, rows: Array) -> Array:
    """(k, units, points) with (units, rows) to (k, rows, points)."""
    found: Array = jax.lax.map(lambda response: rows.T @ response, responses)
    return found


def _still(net: FullyConnected, one: Points, two: Points, l: int) -> tuple[Array, Array]:
    """`delta_l^a . delta_l^b` and `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2`, (rows, points)."""
    layer = net.layers[l - 1]
    metric = layer.weight_multiplier**2 * (one.activations.h[l - 1].T @ two.activations.h[l - 1]) + layer.bias_multiplier**2
    return one.signals.delta[l - 1].T @ two.signals.delta[l - 1], metric


def _weighted(
    net: FullyConnected,
    one: Points,
    still: list[tuple[Array, Array]],
    basis: Array,
    delta: list[Array],
    h: list[Array],
    others: list[Array],
) -> Array:
    """`sum_b u_bi g_a . (response of g_b)`, (rows, k), from responses of `delta_l` and `h_l` and other products of (a, b)."""
    products = list(others)
    for l, (gram, metric) in enumerate(still, start=1):
        products.append((one.signals.delta[l - 1].T @ delta[l - 1]) * metric)
        if l > 1:
            products.append(net.layers[l - 1].weight_multiplier ** 2 * (one.activations.h[l - 1].T @ h[l - 2]) * gram)
    readout = one.activations.h[-1].T @ (h[-1] @ basis)
    return add(products) @ basis + net.layers[-1].weight_multiplier ** 2 * readout


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
    cuts = [(put(block.cut_points(x)), put(_padded(basis, block, sizes.vectors))) for block in blocks(len(x), sizes.points)]
    v = _sum(directions(net, theta, *cut) for cut in cuts)
    z = _sum(second_directions(net, theta, *cut, v) for cut in cuts) if order == 4 else None
    made: list[list[np.ndarray]] = []
    for block in blocks(len(rows), sizes.rows):
        terms = row_terms(net, theta, put(block.cut_points(rows)), v, z)
        made.append([np.asarray(term)[: len(block)] for term in terms])
    found = [np.concatenate(terms) for terms in zip(*made, strict=True)]
    for block in blocks(len(rows), sizes.partners):
        partners = put(block.cut_points(rows))
        for cut in cuts:
            for kernel, term in zip(found, gradient_terms(net, theta, partners, *cut, v, z), strict=True):
                kernel[block.kept] += np.asarray(term)[: len(block)]
    return [kernel[(slice(None), *[slice(basis.shape[1])] * (kernel.ndim - 1))] for kernel in found]


def _padded(basis: np.ndarray, block: Block, vectors: int) -> np.ndarray:
    """The block's rows, with zero vectors; rows of points that stand in twice are zero."""
    part = basis[block.kept]
    return np.pad(part, [(0, block.size - len(part)), (0, vectors - basis.shape[1])])


def _sum(parts: Iterator[Theta]) -> Theta:
    return reduce(lambda total, part: {name: values + part[name] for name, values in total.items()}, parts)


def block_sizes(net: FullyConnected, rows: int, n: int, k: int, order: int, itemsize: int, budget: int) -> Sizes:
    """As large as full speed asks for and the budget allows.

    Raises:
        ValueError: if blocks of one row and one point take more than the budget.
    """
    wide = -(-k // VECTORS) * VECTORS
    small = n * net.depth * net.width < LARGE
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
    along = (net.parameter_count // net.copies) * (1 + 2 * k + (2 * k**2 if order == 4 else 0))
    units = (6 * k + 24) * net.depth * net.width + 2 * net.input_dim + 4 * k**3
    of_partner = 10 * net.depth * net.width + 2 * net.input_dim + 4 * k**3
    return along + points * (units + partners * (2 * k * net.depth + 4 * net.depth + 6)) + partners * of_partner
