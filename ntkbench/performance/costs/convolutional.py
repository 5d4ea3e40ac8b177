"""Counts of convolutional networks."""

import math
from typing import ClassVar

from ntkbench.networks import KERNEL, Convolutional
from ntkbench.performance import workloads
from ntkbench.performance.costs.by_differentiation import DifferentiatedCounts
from ntkbench.performance.costs.counts import UNFUSED
from ntkbench.performance.costs.work import Work, elementwise, products

WINDOW_OPERATIONS, WINDOW_PROGRAM = 20, 30
"""Operations that lay out and multiply the windows of one convolution, and that they are compiled as."""
PIECE = 2**17
"""Numbers of the maps of a convolutional network that are taken at a time, to stay in a processor's cache."""
PRODUCTS_PER_WRITE = 32
"""Multiply-adds in the time of writing a product of two positions and summing it, which decides how an NTK is made."""
TILE, TILE_ARRAYS, BETWEEN_IMAGES = 2**21, 12, 80
"""Numbers of a tile of convolutional limiting kernels, its arrays, and passes over one of them per layer, windows included."""


class ConvolutionalCounts(DifferentiatedCounts[Convolutional]):
    """Maps are taken in pieces that stay in a processor's cache, one network after another."""

    one_by_one: ClassVar = True

    @property
    def positions(self) -> int:
        return self.net.positions

    def held_units(self, points: int) -> int:
        return min(self.units(points, 1), PIECE)

    def convolutions(self, points: int, seeds: int, first: int = 0) -> Work:
        """One pass through the convolutions from `first` on: at every position the product of its window, laid out before.

        A pass back, with the windows turned round, and one that makes the gradients of the weights take as much.
        """
        net = self.net
        hidden, batch = net.fans[first:-1], seeds * net.copies
        spots = points * net.positions
        around = Work(
            windows=batch * spots * sum(fan_in for fan_in, _ in hidden),
            operations=WINDOW_OPERATIONS * net.copies * len(hidden),
            program=WINDOW_PROGRAM * len(hidden),
        )
        return around + products([(batch, spots, fan_in, fan_out) for fan_in, fan_out in hidden])

    def forward(self, points: int, seeds: int) -> Work:
        readout = (seeds * self.net.copies, points, *self.net.fans[-1])
        return self.convolutions(points, seeds) + products([readout])

    def gradient(self, points: int, seeds: int) -> Work:
        """As of any network; those of convolutions are summed point by point."""
        summed = Work(operations=self.net.copies * points * self.net.depth)
        return self.forward(points, seeds).times(2, 2) + self.convolutions(points, seeds, first=1) + summed

    def ntk(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        points = rows + (columns or 0)
        passes = self.forward(points, seeds) + self.convolutions(points * self.net.output_dim, seeds, first=1)
        return passes + self.pairs_of_points(rows, columns, seeds, outputs)

    def pairs_of_points(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        """Of each convolution as both backends choose: gradients of every point, or all positions of every pair."""
        net = self.net
        out, p, batch = net.output_dim, net.positions, seeds * net.copies
        apart, together = (out, 1) if outputs == "trace" else (1, out)

        def pairs(count: int, of_point: int, inner: int) -> workloads.Product:
            return workloads.gram(count, rows * of_point, inner, None if columns is None else columns * of_point)

        written = math.prod(pairs(batch, p * together, 1))
        found = products([pairs(batch, 1, net.fans[-1][0])])
        for fan_in, fan_out in net.fans[:-1]:
            of_points = (batch * (rows + (columns or 0)) * out, fan_out, p, fan_in)
            by_gradients = products([of_points, pairs(batch * apart, together, fan_in * fan_out)])
            by_positions = products([pairs(batch, p, fan_in), pairs(batch * apart, p * together, fan_out)])
            if by_gradients.flops <= by_positions.flops + 2 * PRODUCTS_PER_WRITE * written:
                found += by_gradients
            else:
                found += by_positions + elementwise(written, 3, 0, 5)
        return found

    def limiting(self, rows: int, columns: int | None) -> tuple[Work, float]:
        """In tiles of images: an entry per position, of one displacement to flatten and of each to average over positions."""
        net = self.net
        height, width, channels = net.image
        frame = int(net.padding == "zero")
        places = (height + frame) * (width + frame)
        displacements = places if net.readout == "global_average" else 1
        side = max(1, math.isqrt(TILE // (TILE_ARRAYS * places)))
        parts = -(-rows // side), -(-(columns or rows) // side)
        tiles = parts[0] * parts[1] if columns is not None else parts[0] * (parts[0] + 1) // 2
        pairs = rows * (columns or rows) * tiles / (parts[0] * parts[1])
        passes = BETWEEN_IMAGES * net.depth + (6 * KERNEL**2 * channels if net.activation == "relu" else 0)
        operations = 60 * net.depth * tiles * displacements
        entries = elementwise(pairs * places * displacements, passes, self.evaluations * net.depth)
        return entries + Work(operations=operations, program=UNFUSED * net.depth), PIECE
