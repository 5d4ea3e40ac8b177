"""Counts of networks whose gradients are formed: nothing is known of their rank."""

from dataclasses import replace

from ntkbench.networks import Residual
from ntkbench.performance import workloads
from ntkbench.performance.costs.counts import BASIS, Counts, N
from ntkbench.performance.costs.dense import LayeredCounts
from ntkbench.performance.costs.work import Work, elementwise, products

DUAL, DUAL_PIECE = 8, 2**24
"""How many times an operation takes longer in forward mode over reverse mode, and numbers of a piece that is differentiated."""
STRIPS, STRIP_PROGRAM = 8, 8
"""Of a symmetric kernel, as `ntkbench.backends.jax.any_model.per_example` has them, and operations that each is compiled as per
layer: a product, and for either side of it the gradients, formed anew, cut and laid out."""


class DifferentiatedCounts(Counts[N]):
    """K3 and higher by forward mode along dense gradients."""

    def hierarchy(self, points: int, order: int, seeds: int) -> tuple[Work, float]:
        along, held = self.contraction(points, points, points, order, seeds)
        return self.kernel(points, None, 1, "one").times(seeds) + along, held

    def contraction(self, rows: int, points: int, k: int, order: int, seeds: int = 1) -> tuple[Work, float]:
        """Kernels contracted with k vectors by forward mode, and the numbers that one network holds.

        The innermost derivative takes gradients of every point, which it contracts with the vectors and multiplies; each order
        above it takes that and its tangent, along each of the k directions. Backends cut points and directions to the budget.
        """
        net = self.net
        spots, batch, weights = (
            points if rows == points else rows + points,
            seeds * net.copies,
            net.parameter_count // net.copies,
        )
        once = self.gradient(spots, seeds) + products([(batch, k, points, weights), (batch, rows, weights, k)])
        once += elementwise(self.units(spots, seeds), 6, 2, 8 * net.depth + 4)
        tangents = sum((2 * k) ** r for r in range(1, order - 1))
        nested = 2 ** (order - 2)
        alive = (2 * min(k, BASIS)) ** (order - 2) * (self.units(spots, 1) + (k + 2) * net.parameter_count)
        held = min(alive, DUAL_PIECE) + 4 * net.copies * rows * k ** (order - 1)
        return replace(once.times(tangents, nested), operations=DUAL * nested * once.operations), held


class ResidualCounts(DifferentiatedCounts[Residual], LayeredCounts[Residual]):
    """Dense layers with skips."""

    def ntk(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        """The gradients of every output at every point by themselves, and their inner products."""
        net, out, batch = self.net, self.net.output_dim, seeds * self.net.copies
        points = rows + (columns or 0)
        weights = net.parameter_count // net.copies
        apart, together = (1, out) if outputs == "full" else (out, 1)
        other = None if columns is None else columns * together
        formed = [(batch * points * out, fan_out, 1, fan_in) for fan_in, fan_out in net.fans]
        passes = workloads.forward(net, points, seeds) + workloads.backward(net, points * out, seeds)
        pairs = workloads.gram(batch * apart, rows * together, weights, other)
        made = products([*passes, *formed, pairs]) + elementwise(batch * points * out * weights, 2)
        return made if columns is not None else made + self.strips(batch * apart, rows * together, weights)

    def held_gradients(self, points: int) -> int:
        """Twice, while they are put in order."""
        return min(2 * points * self.net.output_dim * self.net.parameter_count, DUAL_PIECE)

    def strips(self, batch: int, rows: int, entries: int) -> Work:
        """Gradients that jax lays out for one triangle of their products, which it takes in strips from the diagonal on."""
        height = -(-rows // STRIPS)
        starts = range(0, rows, height)
        laid = sum(min(height, rows - start) + rows - start for start in starts)
        return Work(windows=batch * laid * entries, program=STRIP_PROGRAM * len(starts) * len(self.net.fans))
