"""K3 and K4 of any architecture, contracted with basis vectors in every slot but the first.

With `u_i` the columns of the basis, `v_i = sum_b u_bi grad f_b` and `C_ai = sum_b K2(a, b) u_bi`, functions of the parameters,

    K3[a,i,j]   = D_{v_j} C_ai,        K4[a,i,j,k] = D_{v_k} D_{v_j} C_ai       (Huang & Yau 2019, Theorem 2.3),

the outer derivative being one of `v_j` as well; the identity gives the tensors themselves. Both are forward mode through the
kernel, one pair of directions at a time. The gradient of a convolution at one point has a rank of up to the number of
positions, and of other architectures nothing is known, so that directions are held as what they are, arrays of the parameters'
shapes: responses of low rank, as fully connected networks have them, would save nothing.
"""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.backends import checks
from ntkbench.backends.jax.architecture import Architecture
from ntkbench.backends.jax.blocks import blocks
from ntkbench.backends.jax.network import Theta, combine, over_networks
from ntkbench.backends.jax.resources import Resources, Sizes
from ntkbench.networks import Network, Parameters


class AlongDirections(Architecture):
    """An architecture whose hierarchy is this one."""

    @abc.abstractmethod
    def direction(self, net: Any, theta: Theta, x: Array, weights: Array, available: int) -> Theta:
        """`sum_b weights_b grad f_b` of one network of one output, under the bytes available; for forward mode."""

    def tensors(self, net: Any, theta: Parameters, x: np.ndarray, order: int, resources: Resources) -> None:
        """Contractions with the identity."""

    def contraction(
        self,
        net: Any,
        theta: Parameters,
        rows: np.ndarray,
        x: np.ndarray,
        basis: np.ndarray,
        order: int,
        resources: Resources,
    ) -> dict[int, np.ndarray]:
        """In blocks of seeds, of rows and of points."""
        n1, k, seeds, left = rows.shape[-2], basis.shape[-1], len(theta["W1"]), resources.left(self.passes)
        sizes = n1, x.shape[-2], k, order, resources.itemsize
        tile, needed = block_sizes(self, net, *sizes, left, resources.budget)
        found = {r: np.zeros((seeds, n1) + (k,) * (r - 1), resources.transfers.dtype) for r in range(3, order + 1)}
        for block in resources.blocks(seeds, needed, left):
            at, points = resources.transfers.parameters(theta, block), block.cut_seeds(x)
            given = points if rows is x else block.cut_seeds(rows), points, block.cut_seeds(basis)
            kernels = {r: kernel[block.kept] for r, kernel in found.items()}
            add_tiles(self, kernels, net, at, given, tile, resources)
        return found


class Tile(NamedTuple):
    """Of the kernel that is differentiated, each (n, d) or (S, n, d).

    Attributes:
        rows: points of the first slot; None for those of the second.
        points: of the second slot; weights: the rows of the basis that belong to them.
    """

    rows: Array | None
    points: Array
    weights: Array


@partial(jax.jit, static_argnums=(0, 1, 6, 7))
def of_tile(
    of: AlongDirections, net: Network, theta: Theta, tile: Tile, x: Array, basis: Array, order: int, sizes: Sizes
) -> dict[int, Array]:
    """What a tile adds to K3, (S, rows, k, k), and for order 4 to K4, (S, rows, k, k, k), of all seeds.

    Args:
        x, basis: of all points.
        sizes: what passes over images may take, all seeds and tangents counted.
    """
    each = Sizes(*(size // (len(theta["W1"]) * net.copies * _parts(order)) for size in sizes))

    def of_network(one: Theta, x: Array, basis: Array, points: Array, weights: Array, *rows: Array) -> list[Array]:
        def kernel(at: Theta) -> Array:
            return of.kernel(net, at, [*rows, points], "one", each) @ weights

        def derivatives(function: Callable[[Theta], Array], at: Theta) -> tuple[Array, Array]:
            """The function, and its derivatives along every direction, on axis 0."""
            values, found = jax.lax.map(
                lambda u: jax.jvp(function, (at,), (of.direction(net, at, x, u, each.images),)), basis.T
            )
            return values[0], found

        if order == 3:
            return [jnp.einsum("jai->aij", derivatives(kernel, one)[1])]
        third, fourth = derivatives(lambda at: derivatives(kernel, at)[1], one)
        return [jnp.einsum("jai->aij", third), jnp.einsum("kjai->aijk", fourth)]

    given = [x, basis, tile.points, tile.weights, *([] if tile.rows is None else [tile.rows])]
    return {r: combine(net, kernel, r) for r, kernel in enumerate(over_networks(of_network, theta, *given), start=3)}


def add_tiles(
    of: AlongDirections,
    kernels: dict[int, np.ndarray],
    net: Network,
    theta: Theta,
    given: tuple[np.ndarray, np.ndarray, np.ndarray],
    tile: tuple[int, int],
    resources: Resources,
) -> None:
    """Adds K3 and K4 of a block of seeds to kernels of zeros, in place.

    Args:
        given: rows, points and basis.
        tile: rows and points of a tile, as `block_sizes` gives them.
    """
    (rows, x, basis), transfers = given, resources.transfers
    at_all = transfers.put(x), transfers.put(basis)
    for points in blocks(x.shape[-2], tile[1]):
        weights = np.array(points.cut_points(basis))
        weights[..., len(points) :, :] = 0
        second = transfers.put(points.cut_points(x)), transfers.put(weights)
        for block in blocks(rows.shape[-2], tile[0]):
            first = None if rows is x and tile == (x.shape[-2],) * 2 else transfers.put(block.cut_points(rows))
            made = of_tile(of, net, theta, Tile(first, *second), *at_all, max(kernels), resources.sizes)
            for r, kernel in kernels.items():
                kernel[:, block.kept] += transfers.get(made[r])[: len(kernel), : len(block)]


def block_sizes(
    of: Architecture, net: Network, rows: int, n: int, k: int, order: int, itemsize: int, left: int, budget: int
) -> tuple[tuple[int, int], int]:
    """Rows and points of a tile, as many as the budget allows, and the bytes that it takes for one seed, `Sizes` apart.

    Args:
        left: of the budget, without `Sizes`.

    Raises:
        ValueError: if one of each takes more than the budget.
    """

    def needed(tile: tuple[int, int]) -> int:
        kernel = 4 * tile[0] * tile[1] + of.kernel_entries(net, *tile, "one")
        passes = itemsize * (4 * net.parameter_count + net.copies * kernel)
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
