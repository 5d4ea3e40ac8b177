"""K3 and K4 of convolutional networks, contracted with basis vectors in every slot but the first.

With `u_i` the columns of the basis, `v_i = sum_b u_bi grad f_b` and `C_ai = sum_b K2(a, b) u_bi`, functions of the parameters,

    K3[a,i,j]   = D_{v_j} C_ai,        K4[a,i,j,k] = D_{v_k} D_{v_j} C_ai       (Huang & Yau 2019, Theorem 2.3),

the outer derivative being one of `v_j` as well; the identity gives the tensors themselves. Both are forward mode through the
layerwise kernel, one pair of directions at a time. The gradient of a convolution at one point has a rank of up to the number of
positions, so that directions are held as what they are, arrays of the parameters' shapes: responses of low rank, as fully
connected networks have them, would save nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.backends import checks
from ntkbench.backends.jax import convolutional, ntk
from ntkbench.backends.jax.blocks import blocks
from ntkbench.backends.jax.network import Theta, combine, over_networks
from ntkbench.backends.jax.ntk import Sizes
from ntkbench.backends.jax.transfers import Transfers
from ntkbench.networks import Convolutional


class Tile(NamedTuple):
    """Of the kernel that is differentiated, each (n, d) or (S, n, d).

    Attributes:
        rows: points of the first slot; None for those of the second.
        points: of the second slot; weights: the rows of the basis that belong to them.
    """

    rows: Array | None
    points: Array
    weights: Array


@partial(jax.jit, static_argnums=(0, 5, 6))
def of_tile(net: Convolutional, theta: Theta, tile: Tile, x: Array, basis: Array, order: int, sizes: Sizes) -> dict[int, Array]:
    """What a tile adds to K3, (S, rows, k, k), and for order 4 to K4, (S, rows, k, k, k), of all seeds.

    Args:
        x, basis: of all points.
        sizes: what convolutional networks may take, all seeds and tangents counted.
    """
    each = Sizes(*(size // (len(theta["W1"]) * net.copies * _parts(order)) for size in sizes))

    def of_network(one: Theta, x: Array, basis: Array, points: Array, weights: Array, *rows: Array) -> list[Array]:
        def kernel(at: Theta) -> Array:
            return ntk.kernel(net, at, [*rows, points], "one", each) @ weights

        def derivatives(function: Callable[[Theta], Array], at: Theta) -> tuple[Array, Array]:
            """The function, and its derivatives along every direction, on axis 0."""
            values, found = jax.lax.map(lambda u: jax.jvp(function, (at,), (_direction(net, at, x, u, each.images),)), basis.T)
            return values[0], found

        if order == 3:
            return [jnp.einsum("jai->aij", derivatives(kernel, one)[1])]
        third, fourth = derivatives(lambda at: derivatives(kernel, at)[1], one)
        return [jnp.einsum("jai->aij", third), jnp.einsum("kjai->aijk", fourth)]

    given = [x, basis, tile.points, tile.weights, *([] if tile.rows is None else [tile.rows])]
    return {r: combine(net, kernel, r) for r, kernel in enumerate(over_networks(of_network, theta, *given), start=3)}


def _direction(net: Convolutional, theta: Theta, x: Array, weights: Array, available: int) -> Theta:
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


def add_tiles(
    kernels: dict[int, np.ndarray],
    net: Convolutional,
    theta: Theta,
    given: tuple[np.ndarray, np.ndarray, np.ndarray],
    tile: tuple[int, int],
    sizes: Sizes,
    transfers: Transfers,
) -> None:
    """Adds K3 and K4 of a block of seeds to kernels of zeros, in place.

    Args:
        given: rows, points and basis.
        tile: rows and points of a tile, as `block_sizes` gives them.
    """
    rows, x, basis = given
    at_all = transfers.put(x), transfers.put(basis)
    for points in blocks(x.shape[-2], tile[1]):
        weights = np.array(points.cut_points(basis))
        weights[..., len(points) :, :] = 0
        second = transfers.put(points.cut_points(x)), transfers.put(weights)
        for block in blocks(rows.shape[-2], tile[0]):
            first = None if rows is x and tile == (x.shape[-2],) * 2 else transfers.put(block.cut_points(rows))
            made = of_tile(net, theta, Tile(first, *second), *at_all, max(kernels), sizes)
            for r, kernel in kernels.items():
                kernel[:, block.kept] += transfers.get(made[r])[: len(kernel), : len(block)]


def block_sizes(
    net: Convolutional, rows: int, n: int, k: int, order: int, itemsize: int, left: int, budget: int
) -> tuple[tuple[int, int], int]:
    """Rows and points of a tile, as many as the budget allows, and the bytes that it takes for one seed, `Sizes` apart.

    Args:
        left: of the budget, without `Sizes`.

    Raises:
        ValueError: if one of each takes more than the budget.
    """

    def needed(tile: tuple[int, int]) -> int:
        passes = ntk.bytes_per_seed(net, *tile, itemsize, "one") + 3 * itemsize * net.parameter_count
        return _parts(order) * passes + itemsize * 4 * net.copies * tile[0] * int(k ** (order - 1))

    what = f"K{order} of {n} points and {k} directions at width {net.width}, in blocks of one point,"
    checks.one_seed_fits(what, needed((1, 1)) * budget // left, budget)
    tile = rows, n
    while needed(tile) > left and tile != (1, 1):
        tile = (tile[0], -(-tile[1] // 2)) if tile[1] > tile[0] else (-(-tile[0] // 2), tile[1])
    return tile, needed(tile)


def _parts(order: int) -> int:
    """Of a number that moves along `order - 2` directions: itself and its tangents."""
    return int(2 ** (order - 2))
