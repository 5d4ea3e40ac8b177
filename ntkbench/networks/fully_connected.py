"""Fully connected networks."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from ntkbench.networks.network import Network


@dataclass(frozen=True)
class FullyConnected(Network):
    """A fully connected network with `depth` hidden layers of `width` units and a linear readout; scalings as in `Network`.

    Raises:
        ValueError: naming the field, its value and what would be accepted.
    """

    rank_one: ClassVar[bool] = True

    input_dim: int
    width: int
    depth: int
    activation: str
    output_dim: int = 1
    parametrization: str = "ntk"
    weight_variance: float = 1.0
    bias_variance: float = 0.0
    feature_strength: float = 1.0
    antisymmetric: bool = False

    def __post_init__(self) -> None:
        self.check("input_dim")

    @property
    def fans(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of the `depth + 1` layers, readout last."""
        return tuple(pairwise([self.input_dim, *[self.width] * self.depth, self.output_dim]))
