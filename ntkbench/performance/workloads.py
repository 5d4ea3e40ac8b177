"""The matrix products that each quantity cannot do without, counted exactly, and what theory says of their number.

A product is `(count, rows, inner, columns)`: `count` times (rows, inner) @ (inner, columns), the arguments of
`Backend.matrix_products`. Networks are fully connected, with or without skips; `copies` of a network count as further seeds.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ntkbench.backends.base import Backend
from ntkbench.networks import FullyConnected, Residual
from ntkbench.seeding import rng

Product = tuple[int, int, int, int]
Layered = FullyConnected | Residual
Quantity = Literal["ntk", "hierarchy", "naive_hierarchy", "limiting"]
Axis = Literal["points", "width", "depth", "outputs", "order"]
Monomial = Mapping[Axis, int]
"""Axis -> power, what is not named having power 0."""

ROOT = 20220607
"""Of the networks and points that are timed: their values do not matter, and every run has the same."""


def flops(products: Iterable[Product]) -> int:
    """Floating-point operations, a multiply-add counted as two."""
    return sum(2 * count * rows * inner * columns for count, rows, inner, columns in products)


def entries(products: Iterable[Product]) -> int:
    """Numbers that the products read and write."""
    return sum(count * (rows * inner + inner * columns + rows * columns) for count, rows, inner, columns in products)


def forward(net: Layered, points: int, seeds: int = 1) -> list[Product]:
    """One per layer."""
    return [(seeds * net.copies, points, fan_in, fan_out) for fan_in, fan_out in net.fans]


def backward(net: Layered, points: int, seeds: int = 1) -> list[Product]:
    """From the readout's own rows, which are elementwise work, down to the first layer, which no signal has to pass."""
    return [(seeds * net.copies, points, fan_out, fan_in) for fan_in, fan_out in net.fans[1:-1]]


def gradient(net: Layered, points: int, seeds: int = 1) -> list[Product]:
    """Both passes, and one product per weight matrix."""
    weights = [(seeds * net.copies, fan_out, points, fan_in) for fan_in, fan_out in net.fans]
    return forward(net, points, seeds) + backward(net, points, seeds) + weights


def gram(count: int, rows: int, inner: int, columns: int | None = None) -> Product:
    """Of all rows with all columns; of rows with themselves (`columns` None) one triangle, as half of the columns."""
    return count, rows, inner, -(-rows // 2) if columns is None else columns


def ntk(net: FullyConnected, rows: int, columns: int | None = None, seeds: int = 1, outputs: str = "full") -> list[Product]:
    """Both passes, backward from every output, and two Gram products per layer (Novak et al. 2022, structured derivatives).

    The readout's own signals are unit vectors: it takes the Gram product of its inputs only.

    Args:
        columns: None for the symmetric kernel of the rows, of which one triangle is counted.
        outputs: as in `Backend.ntk`; `trace` needs no products between different outputs.
    """
    sides = [rows] if columns is None else [rows, columns]
    out, batch = net.output_dim, seeds * net.copies
    passes = [p for side in sides for p in forward(net, side, seeds) + backward(net, side * out, seeds)]
    inputs = [gram(batch, rows, fan_in, columns) for fan_in, _ in net.fans]
    apart, together = (out, 1) if outputs == "trace" else (1, out)
    other = None if columns is None else columns * together
    signals = [gram(batch * apart, rows * together, fan_out, other) for _, fan_out in net.fans[:-1]]
    return passes + inputs + signals


def hierarchy(net: FullyConnected, points: int, order: int, seeds: int = 1) -> list[Product]:
    """K2 to K_order from the responses of signals to steps along gradients (the 2n+1 rule); K2 alone saves by symmetry.

    Per hidden layer: a forward and a backward tangent pass for each pair of points, contracted with the points' own signals
    (K3) and with one another (K4), and the curvature term point by point. Second-order responses along pairs of gradients
    give K5, contracted with first-order ones, and K6, contracted with one another.
    """
    m, hidden, inner, batch = net.width, net.depth, net.depth - 1, seeds * net.copies
    pairs, triples = points**2, points**3
    found = ntk(net, points, seeds=seeds)
    if order >= 3:
        found += [(2 * inner * batch, pairs, m, m), (2 * hidden * batch, pairs, m, points)]
    if order >= 4:
        found += [(2 * hidden * batch, pairs, m, pairs), (hidden * points * batch, pairs, m, points)]
    if order >= 5:
        found += [(2 * inner * batch, triples, m, m), (2 * hidden * batch, triples, m, pairs)]
    if order >= 6:
        found.append((2 * hidden * batch, triples, m, triples))
    return [product for product in found if product[0] > 0]


def limiting(net: Layered, rows: int, columns: int | None = None) -> list[Product]:
    """Inner products of the inputs; all else is elementwise."""
    return [gram(1, rows, net.input_dim, columns)]


def theory(quantity: Quantity, order: int = 2) -> tuple[Monomial, ...]:
    """The leading terms of the number of operations.

    Structured derivatives of a fully connected network: `N O L W^2 + N^2 O^2 L W` (Novak et al. 2022, section 3). K_r from
    nested responses of order s = floor((r - 1) / 2): `n^(s+1) L m^2` for their passes and `n^r L m` for their products; naively
    a pass of n points along each of n^(r-1) tangents of all weights, `n^r L m^2`. Limiting kernels: `n^2 L`, elementwise.
    """
    match quantity:
        case "ntk":
            return ({"points": 1, "outputs": 1, "depth": 1, "width": 2}, {"points": 2, "outputs": 2, "depth": 1, "width": 1})
        case "hierarchy":
            return ({"points": (order + 1) // 2, "depth": 1, "width": 2}, {"points": order, "depth": 1, "width": 1})
        case "naive_hierarchy":
            return ({"points": order, "depth": 1, "width": 2},)
        case "limiting":
            return ({"points": 2, "depth": 1},)


def theory_of_memory(quantity: Quantity, order: int = 2) -> tuple[Monomial, ...]:
    """The leading terms of the numbers held at once.

    Structured derivatives: `N^2 O^2 + N O L W + L W^2`, the kernel, the signals and the parameters (Novak et al. 2022, section
    3). Of K_r the tensor, the responses of order s = floor((r - 1) / 2) and the parameters: `n^r + n^(s+1) L m + L m^2`.
    Naively the tangents of the weights and of the activations: `n^(r-1) L m^2 + n^r L m`. Limiting kernels: `n^2`.
    """
    match quantity:
        case "ntk":
            return ({"points": 2, "outputs": 2}, {"points": 1, "outputs": 1, "depth": 1, "width": 1}, {"depth": 1, "width": 2})
        case "hierarchy":
            responses: Monomial = {"points": (order + 1) // 2, "depth": 1, "width": 1}
            return ({"points": order}, responses, {"depth": 1, "width": 2})
        case "naive_hierarchy":
            weights: Monomial = {"points": order - 1, "depth": 1, "width": 2}
            return (weights, {"points": order, "depth": 1, "width": 1})
        case "limiting":
            return ({"points": 2},)


def exponents(terms: Sequence[Monomial], axis: Axis) -> tuple[int, int]:
    """The smallest and the largest power of an axis among the terms: a slope along it lies between them."""
    powers = [term.get(axis, 0) for term in terms]
    return min(powers), max(powers)


@dataclass(frozen=True)
class Workload:
    """One quantity at one size: one network, `points` inputs.

    Attributes:
        quantity: `ntk` (the full kernel of several outputs), `hierarchy` (K2 to K_order), `naive_hierarchy` (K_order by nested
            forward mode) or `limiting` (NNGP and NTK).
        points, width, depth, outputs, order, input_dim, activation: its sizes; those that it does not have are left aside.
    """

    quantity: Quantity
    points: int
    width: int = 1
    depth: int = 2
    outputs: int = 1
    order: int = 2
    input_dim: int = 32
    activation: str = "tanh"

    def at(self, axis: Axis, size: int) -> "Workload":
        """The same at another size along one axis."""
        changes: dict[str, Any] = {axis: size}
        return replace(self, **changes)

    @property
    def net(self) -> FullyConnected:
        """The network."""
        return FullyConnected(self.input_dim, self.width, self.depth, self.activation, output_dim=self.outputs)

    @property
    def products(self) -> list[Product]:
        """The matrix products that it cannot do without; of what is computed naively, those that the fast way takes."""
        match self.quantity:
            case "ntk":
                return ntk(self.net, self.points)
            case "hierarchy" | "naive_hierarchy":
                return hierarchy(self.net, self.points, self.order)
            case "limiting":
                return limiting(self.net, self.points)

    def bind(self, backend: Backend) -> Callable[[], object]:
        """A function that computes it once and waits for the result; parameters and inputs are drawn here."""
        net, x = self.net, rng(ROOT, "performance", self.points).standard_normal((self.points, self.input_dim))
        if self.quantity == "limiting":
            return lambda: backend.limiting_kernels(net, x)
        theta = net.initialize(ROOT, [0])
        if self.quantity == "hierarchy":
            return lambda: backend.hierarchy(net, theta, x, self.order)
        if self.quantity == "naive_hierarchy":
            naive = importlib.import_module(f"ntkbench.backends.{backend.name}.naive")
            given = {name: array.astype(backend.precision) for name, array in theta.items()}, x.astype(backend.precision)
            run: Callable[[], object] = naive.hierarchy(net, *given, self.order, backend.device)
            return run
        return lambda: backend.ntk(net, theta, x, outputs="full" if self.outputs > 1 else "one")


@dataclass(frozen=True)
class Curve:
    """A workload at several sizes along one axis.

    Attributes:
        name: of the curve in its study.
        axis, sizes: what varies, increasing.
        start: the workload, its size along the axis set aside.
    """

    name: str
    axis: Axis
    sizes: tuple[int, ...]
    start: Workload

    @property
    def workloads(self) -> list[Workload]:
        """One per size."""
        return [self.start.at(self.axis, size) for size in self.sizes]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, from which `make` makes it again."""
        return {"name": self.name, "axis": self.axis, "sizes": list(self.sizes), "start": asdict(self.start)}

    @classmethod
    def make(cls, name: str, axis: Axis, sizes: Sequence[int], start: Mapping[str, Any]) -> "Curve":
        """From what `as_dict` gave."""
        return cls(name, axis, tuple(sizes), Workload(**start))
