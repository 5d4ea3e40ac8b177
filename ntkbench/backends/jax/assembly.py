"""From pieces of two blocks of points to the kernels of all, on the host; and how large the blocks may be."""

from collections.abc import Iterator
from itertools import combinations_with_replacement

import jax
import numpy as np
from jax import Array

from ntkbench.backends import checks
from ntkbench.backends.jax.blocks import Block, blocks
from ntkbench.backends.jax.hierarchy import Pieces, lower_orders, points_at_a_time
from ntkbench.backends.jax.higher_orders import higher_order
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.transfers import Transfers
from ntkbench.networks import FullyConnected


def add_pieces(
    kernels: dict[int, np.ndarray],
    net: FullyConnected,
    theta: Theta,
    x: Array,
    order: int,
    sizes: tuple[int, int],
    transfers: Transfers,
) -> None:
    """Adds K2 to K_order, or beyond order 4 K_order alone, of a block of seeds to kernels of zeros, in place.

    Args:
        sizes: points of a block, and further directions of a block, as `block_sizes` gives them.
    """
    n, (size, directions) = x.shape[-2], sizes
    for first, second in pairs(n, size, order):
        rows = transfers.places(first, n), None if second is first else transfers.places(second, n)
        if order < 5:
            made = lower_orders(net, theta, x, order, *rows)
            assemble(kernels, jax.tree.map(transfers.get, made), first, second)
            continue
        for last in blocks(n, directions):
            made = higher_order(net, theta, x, order, transfers.places(last, n), *rows)
            kept = jax.tree.map(lambda piece, last=last: transfers.get(piece)[..., : len(last)], made)
            assemble_fourth(kernels[order][..., last.kept], kept, first, second)


def assemble(kernels: dict[int, np.ndarray], found: Pieces, first: Block, second: Block) -> None:
    """Adds the pieces of two blocks of points to K2, K3 and K4 of all points, (seeds, n, ..) each, in place."""
    seeds = len(kernels[2])
    if found.second is not None and found.third is not None:
        kernels[2][:, first.kept] += found.second[:seeds, : len(first)]
        for axes in ((0, 1, 3, 2), (0, 2, 3, 1)):
            kernels[3].transpose(axes)[:, first.kept] += found.third[:seeds, : len(first)]
    if found.squares is not None:
        assemble_fourth(kernels[4], found, first, second)


def assemble_fourth(kernel: np.ndarray, found: Pieces, first: Block, second: Block) -> None:
    """Adds the pieces of K4, or of a derivative of it with axes behind, in place; `w_ac.w_bd` serves (b, d; a, c) as well."""
    seeds, behind = len(kernel), range(5, kernel.ndim)
    if found.fourth is not None:
        for axes in ((0, 1, 2, 3, 4), (0, 2, 1, 3, 4)):
            kernel.transpose(*axes, *behind)[:, first.kept] += found.fourth[:seeds, : len(first)]
    squares = np.asarray(found.squares)[:seeds, : len(first), :, : len(second)]
    for axes in ((0, 1, 3, 2, 4), (0, 1, 4, 2, 3), (0, 1, 2, 3, 4), (0, 2, 1, 3, 4)):
        view = kernel.transpose(*axes, *behind)
        view[:, first.kept, :, second.kept] += squares
        if second is not first:
            view[:, second.kept, :, first.kept] += squares.transpose(0, 3, 4, 1, 2, *behind)


def pairs(n: int, size: int, order: int) -> Iterator[tuple[Block, Block]]:
    """Pairs of blocks of points that cover all of them, each pair once; K3 asks only for those of a block with itself."""
    for first, second in combinations_with_replacement(blocks(n, size), 2):
        if order > 3 or second is first:
            yield first, second


def block_sizes(net: FullyConnected, n: int, order: int, itemsize: int, budget: int) -> tuple[int, int, int]:
    """Points of a block and further directions of a block, as many as the budget allows, and the bytes that they take.

    Raises:
        ValueError: if one of each takes more than the budget.
    """
    least = bytes_per_seed(net, n, order, 1, 1, itemsize)
    checks.one_seed_fits(f"K{order} of {n} points at width {net.width}, in blocks of one point,", least, budget)
    choices = ((size, last) for size in _halvings(n) for last in (_halvings(n) if order > 4 else [1]))
    sized = ((*choice, bytes_per_seed(net, n, order, *choice, itemsize)) for choice in choices)
    return next(choice for choice in sized if choice[-1] <= budget)


def bytes_per_seed(net: FullyConnected, n: int, order: int, size: int, last: int, itemsize: int) -> int:
    """Temporaries for one seed: parameters, responses of every layer of two blocks, pieces; once more for every movement.

    Beyond order 4 the points move as well.
    """
    points = 8 * net.depth * net.width * n if order > 4 else 0
    responses = points + 6 * net.depth * net.width * size * n * (1 if size == n else 2)
    bent = points_at_a_time(net.width, size, n) * net.width * n**2
    made = bent + 3 * size * n**2 + (4 * size * n**2 * (size + n) if order > 3 else 0)
    movements = 1 if order < 5 else (1 + last) * (1 + n) ** (order - 5)
    return itemsize * (net.parameter_count + net.copies * movements * (responses + made))


def _halvings(n: int) -> Iterator[int]:
    while n > 1:
        yield n
        n = -(-n // 2)
    yield 1
