"""Fully connected networks with skip connections."""

from dataclasses import dataclass
from itertools import pairwise

from ntkbench.networks.network import Network


@dataclass(frozen=True)
class Residual(Network):
    """A fully connected residual network: hidden layers after the first add to what they see (He et al. 2016).

    With the affine maps A_l of `Network`, in the NTK parametrization without biases `A_l(h) = sqrt(v / fan_in) W_l h`,

        h_1 = A_1(x),    h_{l+1} = h_l + A_{l+1}(sigma(h_l)) for l < depth,    f = A_{depth+1}(sigma(h_depth)).

    One hidden layer makes it `FullyConnected`.

    Raises:
        ValueError: naming the field, its value and what would be accepted.
    """

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
