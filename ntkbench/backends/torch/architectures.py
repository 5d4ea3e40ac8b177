"""The architectures that this backend knows: their forward passes, and the faster ways that some have."""

from collections.abc import Mapping
from typing import Any, ClassVar

from ntkbench.backends import checks
from ntkbench.backends.torch import (
    contraction,
    convolutional,
    convolutional_forward,
    convolutional_ntk,
    fully_connected_ntk,
    hierarchy,
    network,
    residual,
)
from ntkbench.backends.torch.architecture import Architecture, Kernels
from ntkbench.backends.torch.by_differentiation import ByDifferentiation
from ntkbench.backends.torch.network import Tensor, Tensors
from ntkbench.networks import Convolutional, FullyConnected, Network, Residual


class DenseLayers(Architecture):
    """Fully connected networks: gradients of a layer at a point have rank one, and are never formed."""

    turned: ClassVar[bool] = True

    def outputs(self, net: Network, theta: Tensors, x: Tensor) -> Tensor:
        """As the base."""
        return network.outputs(net, theta, x)

    def write_kernels(self, net: Network, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor, workspace: int) -> None:
        """Layer by layer."""
        fully_connected_ntk.write_kernels(net, theta, x1, x2, total)

    def write_slope(self, net: Network, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
        """As the base."""
        network.write_slope(net, theta, x, y, slope)

    def floats_per_point(self, net: Network, arrays: int) -> int:
        """As the base."""
        return network.floats_per_point(net, arrays)

    def floats_besides(self, net: Network, rows1: int, rows2: int, groups: int) -> int:
        """None."""
        return 0

    def tensors(self, net: Any, points: int, order: int, itemsize: int, budget: int) -> Kernels:
        """By responses, in blocks of points."""
        least, most = (hierarchy.bytes_per_seed(net, points, order, itemsize, block) for block in (1, points))
        checks.one_seed_fits(f"K{order} of {points} points at width {net.width}", least, budget)
        return Kernels(most, lambda theta, x: hierarchy.kernels(net, theta, x, order, budget))

    def contraction(self, net: Any, rows: int, points: int, vectors: int, order: int, itemsize: int, budget: int) -> Kernels:
        """By responses, in blocks of rows."""
        sizes = points * net.output_dim, vectors, order, itemsize
        least, most = (contraction.bytes_per_seed(net, block, *sizes) for block in (1, rows))
        checks.one_seed_fits(f"contractions over {points} points at width {net.width}", least, budget)
        return Kernels(most, lambda theta, at, x, basis: contraction.kernels(net, theta, at, x, basis, order, budget))


class Convolutions(ByDifferentiation):
    """Convolutional networks: one network after another, since the maps of one fill a processor's cache."""

    def outputs(self, net: Any, theta: Tensors, x: Tensor) -> Tensor:
        """As the base."""
        return convolutional.outputs(net, theta, x)

    def write_kernels(self, net: Any, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor, workspace: int) -> None:
        """Layer by layer, by the cheaper of two routes."""
        convolutional_ntk.add_kernels(net, theta, x1, x2, total.zero_(), workspace)

    def write_slope(self, net: Any, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
        """In pieces of points."""
        convolutional.write_slope(net, theta, x, y, slope)

    def floats_per_point(self, net: Any, arrays: int) -> int:
        """As the base."""
        return convolutional.floats_per_point(net, arrays)

    def floats_besides(self, net: Any, rows1: int, rows2: int, groups: int) -> int:
        """A layer's, laid out anew."""
        return convolutional_ntk.floats_besides(net, rows1, rows2, groups)


ARCHITECTURES: Mapping[type[Network], Architecture] = {
    FullyConnected: DenseLayers(),
    Convolutional: Convolutions(convolutional_forward.forward),
    Residual: ByDifferentiation(residual.forward),
}
"""A new one is a line here."""


def architecture(net: Network) -> Architecture:
    """How the backend computes a network.

    Raises:
        ValueError: for an architecture that is not in the table.
    """
    if type(net) not in ARCHITECTURES:
        raise ValueError(
            f"torch knows no architecture {type(net).__name__}: write its forward pass and enter it in "
            "`ntkbench/backends/torch/architectures.py`"
        )
    return ARCHITECTURES[type(net)]
