"""Counts of fully connected networks."""

from typing import ClassVar, TypeVar

from ntkbench.networks import FullyConnected
from ntkbench.performance import workloads
from ntkbench.performance.costs.counts import UNFUSED, Counts
from ntkbench.performance.costs.work import Work, elementwise, products

CONTRACTED_PROGRAM = 150
"""Operations that one order of contracted kernels is compiled as, per layer."""


L = TypeVar("L", bound=workloads.Layered)


class LayeredCounts(Counts[L]):
    """Dense layers, seen once by every point, with or without skips: what skips a layer is elementwise."""

    one_by_one: ClassVar = False
    positions: ClassVar = 1

    def held_units(self, points: int) -> int:
        return self.units(points, 1)

    def forward(self, points: int, seeds: int) -> Work:
        return products(workloads.forward(self.net, points, seeds))

    def gradient(self, points: int, seeds: int) -> Work:
        return products(workloads.gradient(self.net, points, seeds))

    def limiting(self, rows: int, columns: int | None) -> tuple[Work, float]:
        """From layer to layer, pair by pair of points."""
        kernel, depth = rows * (rows if columns is None else columns), self.net.depth
        layers = elementwise(kernel, 20 * depth, self.evaluations * depth, 20 * depth + 10) + Work(program=UNFUSED)
        return products(workloads.limiting(self.net, rows, columns)) + layers, 16 * kernel


class DenseCounts(LayeredCounts[FullyConnected]):
    """Gradients of a layer at one point are of rank one; nothing of parameter size is formed for a kernel."""

    def ntk(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        return products(workloads.ntk(self.net, rows, columns, seeds, outputs))

    def hierarchy(self, points: int, order: int, seeds: int) -> tuple[Work, float]:
        net, n, batch, pairs = self.net, points, seeds * self.net.copies, points**2
        responses = elementwise(batch * pairs * net.width * net.depth, 20, 0, 20 * net.depth + 20)
        tensors = elementwise(batch * n**order, 12 * net.depth, 0, (10 + 4 * n) * net.depth)
        held = net.parameter_count + net.copies * (pairs * net.width * (net.depth + 6) + 8 * n**order)
        return products(workloads.hierarchy(net, n, order, seeds)) + responses + tensors, held

    def contraction(self, rows: int, points: int, k: int, order: int) -> tuple[Work, float]:
        """Of kernels of one network with k basis vectors, and the numbers held: `k^(order-2)` directions through all points.

        Per direction: its change of the weights, within the span of the points in the first layer, and responses of
        points and rows to it; their Gram products, which are summed over the points; and products with the rows' k responses.
        """
        net = self.net
        m, outputs, inner, span = net.width, net.output_dim, net.depth - 1, min(net.input_dim, points)
        along = net.copies * sum(k**r for r in range(1, order - 1))
        n, signals = points * outputs, rows * outputs
        made = products(
            [
                (along, m, points, span),
                (along, rows + points, span, m),
                *([(along * inner, m, n, m), (2 * along * inner, signals + 2 * n, m, m)] if inner else []),
                (along * (net.depth + inner), signals, m, n),
                (along, signals, n, k),
                (along * net.depth, signals, m, k),
            ]
        )
        responses = elementwise(along * (signals + n) * m * net.depth, 4)
        grams = elementwise(along * signals * n, 12 * (net.depth + inner))
        small = Work(products=net.copies * net.depth * signals * k ** (order - 2), operations=k * (30 * net.depth + 10))
        held = k ** (order - 2) * net.parameter_count + k * (signals + n) * m * net.depth * 4
        return made + responses + grams + small + Work(program=CONTRACTED_PROGRAM * (net.depth + 1) * (order - 2)), held
