"""Outputs and kernels of a block of seeds under a budget of bytes: by rows and by tiles, put together on the host."""

from functools import partial
from itertools import product

import jax
import numpy as np
from jax import Array

from ntkbench.backends.jax import ntk
from ntkbench.backends.jax.architectures import architecture
from ntkbench.backends.jax.blocks import Block, blocks
from ntkbench.backends.jax.network import Theta, combine, over_networks
from ntkbench.backends.jax.resources import Resources
from ntkbench.networks import Network


@partial(jax.jit, static_argnums=(0, 3))
def outputs(net: Network, theta: Theta, x: Array, points: int) -> Array:
    """Network outputs f of all seeds, (S, n, output_dim), in passes of so many points."""
    of = architecture(net)
    return combine(net, over_networks(lambda one, at: of.outputs(net, one, at, points), theta, x), 1)


class WithinBudget:
    """Computes with the resources of one backend."""

    def __init__(self, resources: Resources):
        self.resources, self._transfers = resources, resources.transfers

    def left(self, net: Network) -> int:
        """Bytes for all but passes over images."""
        return self.resources.left(architecture(net).passes)

    def outputs(self, net: Network, theta: Theta, x: np.ndarray) -> np.ndarray:
        """f, (S, n, O), in blocks of rows."""
        rows, seeds = x.shape[-2], theta["W1"].shape[0]
        found = np.empty((seeds, rows, net.output_dim), self._transfers.dtype)
        available = self.resources.sizes.images // (seeds * net.copies)
        points = architecture(net).points_per_pass(net, available, found.itemsize)
        for tile in self._tiles(net, theta, rows, 0, "one"):
            values = outputs(net, theta, self._transfers.put(tile.cut_points(x)), points)
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
            found[:] = get(ntk.ntk(net, theta, put(x1), None, outputs, self.resources.sizes))[:seeds]
            return
        for tile1, tile2 in product(tiles1, tiles2):
            if x2 is None and tile2.kept.start < tile1.kept.start:
                continue
            points = put(tile1.cut_points(x1)), put(tile2.cut_points(second))
            kernel = get(ntk.ntk(net, theta, *points, outputs, self.resources.sizes))[:seeds, : len(tile1), : len(tile2)]
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
