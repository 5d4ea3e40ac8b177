"""What is counted of an architecture: a class for each, in a file of its own."""

import abc
from typing import ClassVar, Generic, TypeVar

from ntkbench.networks import Network
from ntkbench.performance.costs.work import Work, elementwise

CLOSED_FORMS = ("relu", "erf", "identity")
EVALUATIONS = {True: 4, False: 100}
"""Of transcendental functions per entry and layer of a limiting kernel: in closed form, and by quadrature or series."""
BASIS = 8
"""Vectors of such a basis; recorded runs had 6 to 15."""
UNFUSED = 250
"""Operations that limiting kernels are compiled as, one by one and for each shape, besides those of each layer."""

N = TypeVar("N", bound=Network)


class Counts(abc.ABC, Generic[N]):
    """The work of the passes through networks of one architecture, from sizes alone.

    Attributes:
        positions: places at which every hidden layer is applied: the pixels of an image.
        one_by_one: whether backends take one network after another, since the maps of one fill a processor's cache.
    """

    one_by_one: ClassVar[bool]

    def __init__(self, net: N) -> None:
        self.net = net

    @property
    @abc.abstractmethod
    def positions(self) -> int:
        """See above."""

    def units(self, points: int, seeds: int) -> int:
        """Entries of the hidden activations."""
        return seeds * self.net.copies * points * self.positions * self.net.depth * self.net.width

    @abc.abstractmethod
    def held_units(self, points: int) -> int:
        """Of one network, at a time."""

    def held_gradients(self, points: int) -> int:
        """Of the parameters, by one network for a kernel of so many points in all."""
        return 0

    @abc.abstractmethod
    def forward(self, points: int, seeds: int) -> Work:
        """The products of one pass."""

    @abc.abstractmethod
    def gradient(self, points: int, seeds: int) -> Work:
        """Both passes, and the gradients of the weights."""

    @abc.abstractmethod
    def ntk(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        """Both passes and the products of every layer."""

    def kernel(self, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
        """`ntk` with its elementwise passes and sums."""
        net, out, points = self.net, self.net.output_dim, rows + (columns or 0)
        summed = {"one": 1, "trace": out, "full": out**2}[outputs] * rows * (rows if columns is None else columns)
        up = elementwise(self.units(points, seeds), 3, 1, 4 * net.depth + 2)
        down = elementwise(self.units(points * out, seeds), 3, 1, 4 * net.depth + 2)
        sums = elementwise(seeds * net.copies * summed, 3 * (net.depth + 1), 0, 2 * (net.depth + 1))
        return self.ntk(rows, columns, seeds, outputs) + up + down + sums

    @abc.abstractmethod
    def hierarchy(self, points: int, order: int, seeds: int) -> tuple[Work, float]:
        """Of the tensors K2 to K_order, and the numbers that one network holds."""

    @abc.abstractmethod
    def contraction(self, rows: int, points: int, k: int, order: int) -> tuple[Work, float]:
        """Of K_order of one network contracted with k basis vectors, and the numbers held."""

    @abc.abstractmethod
    def limiting(self, rows: int, columns: int | None) -> tuple[Work, float]:
        """Of the limiting kernels, and the numbers held."""

    @property
    def evaluations(self) -> float:
        """Of transcendental functions per entry and layer of a limiting kernel."""
        return EVALUATIONS[self.net.activation in CLOSED_FORMS]
