"""Networks and inputs that are timed: one size each, the same numbers for both backends and their peers."""

from dataclasses import dataclass

import numpy as np

from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters
from ntkbench.seeding import rng

ROOT = 20190918


@dataclass(frozen=True)
class Workload:
    """`seeds` networks of one kind at `n` points."""

    net: Network
    n: int
    seeds: int = 1

    def __str__(self) -> str:
        net = self.net
        match net:
            case Convolutional():
                size = f"{net.image[0]}x{net.image[1]}x{net.image[2]}, {net.width} channels"
            case _:
                size = f"d={net.input_dim} m={net.width}"
        extras = [f"O={net.output_dim}"] * (net.output_dim > 1) + [f"S={self.seeds}"] * (self.seeds > 1)
        return " ".join([f"n={self.n} {size} L={net.depth}", *extras])

    def theta(self, precision: str = "float64") -> Parameters:
        """Parameters of every seed."""
        return {name: array.astype(precision) for name, array in self.net.initialize(ROOT, range(self.seeds)).items()}

    def x(self, precision: str = "float64") -> np.ndarray:
        """Points, (n, d)."""
        return self._normal("x", self.net.input_dim).astype(precision)

    def y(self, precision: str = "float64") -> np.ndarray:
        """Targets, (n, O)."""
        return self._normal("y", self.net.output_dim).astype(precision)

    def basis(self, k: int, precision: str = "float64") -> np.ndarray:
        """Orthonormal columns, (n, k)."""
        return np.linalg.qr(self._normal("basis", k))[0].astype(precision)

    def _normal(self, name: str, columns: int) -> np.ndarray:
        return rng(ROOT, "performance", name, self.n, columns).standard_normal((self.n, columns))


def dense(
    n: int, width: int, depth: int = 3, d: int = 64, *, seeds: int = 1, outputs: int = 1, activation: str = "tanh"
) -> Workload:
    """Fully connected networks."""
    return Workload(FullyConnected(d, width, depth, activation, output_dim=outputs), n, seeds)


def images(
    n: int, side: int, channels: int, width: int, depth: int = 3, *, readout: str = "flatten", activation: str = "tanh"
) -> Workload:
    """Convolutional networks with circular padding."""
    return Workload(Convolutional((side, side, channels), width, depth, activation, readout=readout), n)
