"""Outputs and kernels of a block of seeds under a budget of bytes: by rows and by tiles, put together on the host."""

from itertools import product

import numpy as np

from ntkbench.backends.jax import convolutional, network, ntk
from ntkbench.backends.jax.blocks import IMAGE_BYTES, Block, blocks
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.ntk import Sizes
from ntkbench.backends.jax.transfers import Transfers
from ntkbench.networks import Convolutional, Network


class WithinBudget:
    """Computes under a budget.

    Args:
        cores: of a CPU, among which its cache is shared out; None for a GPU.

    Attributes:
        sizes: what convolutional networks may take for their images and gradients, a part of the budget.
    """

    def __init__(self, transfers: Transfers, budget: int, cores: int | None):
        self._transfers, self._budget = transfers, budget
        # Passes over images stay in a CPU's cache; the gradients formed at a time need no such care.
        images = budget // 8 if cores is None else min(budget // 8, IMAGE_BYTES * cores)
        self.sizes = Sizes(images, budget // 4)

    def left(self, net: Network) -> int:
        """Bytes for all but what `sizes` allows."""
        return self._budget - (sum(self.sizes) if isinstance(net, Convolutional) else 0)

    def outputs(self, net: Network, theta: Theta, x: np.ndarray) -> np.ndarray:
        """f, (S, n, O), in blocks of rows."""
        rows, seeds = x.shape[-2], theta["W1"].shape[0]
        found = np.empty((seeds, rows, net.output_dim), self._transfers.dtype)
        images = 1
        if isinstance(net, Convolutional):
            images = convolutional.images_per_pass(net, self.sizes.images // (seeds * net.copies), found.itemsize)
        for tile in self._tiles(net, theta, rows, 0, "one"):
            values = network.outputs(net, theta, self._transfers.put(tile.cut_points(x)), images)
            found[:, tile.kept] = self._transfers.get(values)[:, : len(tile)]
        return found

    def kernel(self, net: Network, theta: Theta, x: np.ndarray) -> np.ndarray:
        """K2 of one output at points with themselves, (S, n, n)."""
        found = np.empty((theta["W1"].shape[0], x.shape[-2], x.shape[-2]), self._transfers.dtype)
        self.write_kernel(found, net, theta, x, None, "one")
        return found

    def write_kernel(
        self, found: np.ndarray, net: Network, theta: Theta, x1: np.ndarray, x2: np.ndarray | None, outputs: str
    ) -> None:
        """K2 in tiles; those below the diagonal of a symmetric one are mirrored.

        Args:
            found: (S, n1, n2) or (S, n1, n2, O, O), to be written; of fewer seeds than `theta`, the first ones.
        """
        put, get, seeds = self._transfers.put, self._transfers.get, len(found)
        second = x1 if x2 is None else x2
        rows, columns = x1.shape[-2], second.shape[-2]
        tiles1, tiles2 = self._tiles(net, theta, rows, columns, outputs), self._tiles(net, theta, columns, rows, outputs)
        if x2 is None and len(tiles1) == 1:
            found[:] = get(ntk.ntk(net, theta, put(x1), None, outputs, self.sizes))[:seeds]
            return
        for tile1, tile2 in product(tiles1, tiles2):
            if x2 is None and tile2.kept.start < tile1.kept.start:
                continue
            points = put(tile1.cut_points(x1)), put(tile2.cut_points(second))
            kernel = get(ntk.ntk(net, theta, *points, outputs, self.sizes))[:seeds, : len(tile1), : len(tile2)]
            found[:, tile1.kept, tile2.kept] = kernel
            if x2 is None:
                mirrored = kernel.swapaxes(1, 2)
                found[:, tile2.kept, tile1.kept] = mirrored.swapaxes(3, 4) if outputs == "full" else mirrored

    def _tiles(self, net: Network, theta: Theta, rows: int, columns: int, outputs: str) -> list[Block]:
        """Equal blocks of points, as large as the budget allows for the kernel of one block with another."""
        seeds, size = theta["W1"].shape[0], max(rows, columns)
        itemsize = self._transfers.dtype.itemsize
        while size > 1 and seeds * ntk.bytes_per_seed(net, size, min(size, columns), itemsize, outputs) > self.left(net):
            size = -(-size // 2)
        return blocks(rows, size)


def pair_of_outputs(net: Network, outputs: str) -> tuple[int, ...]:
    """The last axes of a kernel."""
    return (net.output_dim, net.output_dim) if outputs == "full" else ()
