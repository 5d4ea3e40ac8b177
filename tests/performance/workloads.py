"""What is timed: sizes, inputs, and the matrix products that each quantity cannot do without."""

from dataclasses import dataclass

import numpy as np

from ntkbench.networks import FullyConnected, Parameters
from ntkbench.seeding import rng

ROOT = 20190918


@dataclass(frozen=True)
class Product:
    """`count` matrix products (rows, inner) @ (inner, columns)."""

    rows: int
    inner: int
    columns: int
    count: int = 1

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        return 2 * self.count * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Workload:
    """One network size, `seeds` networks at `n` points of dimension `d`."""

    n: int
    width: int
    depth: int = 3
    d: int = 64
    seeds: int = 1
    activation: str = "tanh"

    def __str__(self) -> str:
        return f"n={self.n} width={self.width} depth={self.depth} d={self.d} seeds={self.seeds}"

    @property
    def net(self) -> FullyConnected:
        return FullyConnected(self.d, self.width, self.depth, self.activation)

    @property
    def theta(self) -> Parameters:
        return self.net.initialize(ROOT, range(self.seeds))

    @property
    def x(self) -> np.ndarray:
        return rng(ROOT, "performance x", self.n, self.d).standard_normal((self.n, self.d))

    @property
    def y(self) -> np.ndarray:
        return rng(ROOT, "performance y", self.n).standard_normal((self.n, 1))


def forward_and_backward(w: Workload) -> list[Product]:
    """Activations and signals of every point; no product is needed below the first layer on the way back."""
    layers = w.net.layers
    forward = [Product(w.n, layer.fan_in, layer.fan_out, w.seeds) for layer in layers]
    return forward + [Product(w.n, layer.fan_out, layer.fan_in, w.seeds) for layer in layers[1:]]


def ntk(w: Workload) -> list[Product]:
    """The passes, and two Gram products per layer."""
    fans = [fan for layer in w.net.layers for fan in (layer.fan_in, layer.fan_out)]
    return forward_and_backward(w) + [Product(w.n, fan, w.n, w.seeds) for fan in fans]


def gradient(w: Workload) -> list[Product]:
    """The passes, and one gradient per weight matrix."""
    return forward_and_backward(w) + [Product(layer.fan_out, w.n, layer.fan_in, w.seeds) for layer in w.net.layers]


def hierarchy(w: Workload, order: int) -> list[Product]:
    """The NTK's, tangent passes of all pairs of points, and Gram products of responses; the curvature term point by point."""
    pairs, hidden, inner = w.n**2, w.depth, w.depth - 1
    tangent = Product(pairs, w.width, w.width, 2 * inner * w.seeds)
    third = Product(pairs, w.width, w.n, 2 * hidden * w.seeds)
    fourth = [Product(pairs, w.width, pairs, 2 * hidden * w.seeds), Product(pairs, w.width, w.n, hidden * w.n * w.seeds)]
    return [*ntk(w), tangent, third, *(fourth if order == 4 else [])]


def limiting(n: int, d: int) -> list[Product]:
    """Inner products of the inputs."""
    return [Product(n, d, n)]
