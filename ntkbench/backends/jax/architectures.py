"""The architectures that this backend knows: their forward passes, and the faster ways that some have."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jax import Array

from ntkbench.backends.jax import (
    assembly,
    contraction,
    convolutional,
    convolutional_ntk,
    fully_connected_ntk,
    network,
    residual,
)
from ntkbench.backends.jax.along_directions import AlongDirections
from ntkbench.backends.jax.architecture import Architecture
from ntkbench.backends.jax.by_differentiation import ByDifferentiation
from ntkbench.backends.jax.layerwise import over_points
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.resources import Resources, Sizes
from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters, Residual


class DenseLayers(Architecture):
    """Fully connected networks: gradients of a layer at a point have rank one, and are never formed."""

    def outputs(self, net: Any, theta: Theta, x: Array, points: int) -> Array:
        """All points at once, as columns."""
        return network.forward(net, theta, x).output.T

    def kernel(self, net: Any, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
        """Layer by layer."""
        return fully_connected_ntk.kernel(net, theta, points, outputs, sizes)

    def kernel_entries(self, net: Any, n1: int, n2: int, outputs: str) -> int:
        """Activations and signals."""
        return fully_connected_ntk.entries(net, n1, n2, outputs)

    def training_entries(self, net: Any, points: int) -> int:
        """Activations both ways."""
        return int(points * sum(layer.fan_in + 3 * layer.fan_out for layer in net.layers))

    def tensors(self, net: Any, theta: Parameters, x: np.ndarray, order: int, resources: Resources) -> dict[int, np.ndarray]:
        """By responses, in blocks of seeds, of points and of directions."""
        n, seeds, transfers = x.shape[-2], len(theta["W1"]), resources.transfers
        found = {r: np.zeros((seeds,) + (n,) * r, transfers.dtype) for r in range(2, order + 1)}
        for r in (min(order, 4), *range(5, order + 1)):
            size, directions, needed = assembly.block_sizes(net, n, r, resources.itemsize, resources.budget)
            for block in resources.blocks(seeds, needed):
                at, points = transfers.parameters(theta, block), transfers.put(block.cut_seeds(x))
                kernels = {q: kernel[block.kept] for q, kernel in found.items()}
                assembly.add_pieces(kernels, net, at, points, r, (size, directions), transfers)
        return found

    def contraction(
        self,
        net: Any,
        theta: Parameters,
        rows: np.ndarray,
        x: np.ndarray,
        basis: np.ndarray,
        order: int,
        resources: Resources,
    ) -> dict[int, np.ndarray]:
        """One seed and copy after another, in blocks of rows and of points."""
        n1, k, seeds, transfers = rows.shape[-2], basis.shape[-1], len(theta["W1"]), resources.transfers
        sizes = contraction.block_sizes(net, n1, x.shape[-2], k, order, resources.itemsize, resources.budget)
        found = {r: np.zeros((seeds, n1 * net.output_dim) + (k,) * (r - 1), transfers.dtype) for r in range(3, order + 1)}
        for s in range(seeds):
            given = [array[s] if array.ndim == 3 else array for array in (rows, x, basis)]
            for c, weight in enumerate(net.copy_weights):
                one = {name: transfers.put(array[s, c]) for name, array in theta.items()}
                made = contraction.contracted(net, one, *given, order=order, sizes=sizes, put=transfers.put)
                for r, kernel in zip(found, made, strict=True):
                    found[r][s] += net.mobility ** (r - 1) * weight**r * transfers.get(kernel)
        return found


class Convolutions(AlongDirections):
    """Convolutional networks: in passes over images whose windows stay in a processor's cache."""

    passes: ClassVar[bool] = True

    def outputs(self, net: Any, theta: Theta, x: Array, points: int) -> Array:
        """Image by image."""
        found: Array = over_points(lambda image: convolutional.forward(net, theta, image).output, x, points)
        return found

    def kernel(self, net: Any, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
        """Layer by layer, by the cheapest of three ways."""
        return convolutional_ntk.kernel(net, theta, points, outputs, sizes)

    def points_per_pass(self, net: Any, available: int, itemsize: int) -> int:
        """Images."""
        return convolutional.images_per_pass(net, available, itemsize)

    def kernel_entries(self, net: Any, n1: int, n2: int, outputs: str) -> int:
        """What the ways keep."""
        return convolutional_ntk.entries(net, n1, n2, outputs)

    def training_entries(self, net: Any, points: int) -> int:
        """Windows of every layer."""
        return int(points * convolutional.image_entries(net) * net.depth)

    def direction(self, net: Any, theta: Theta, x: Array, weights: Array, available: int) -> Theta:
        """In passes over images."""
        return convolutional_ntk.direction(net, theta, x, weights, available)


ARCHITECTURES: Mapping[type[Network], Architecture] = {
    FullyConnected: DenseLayers(),
    Convolutional: Convolutions(),
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
            f"jax knows no architecture {type(net).__name__}: write its forward pass and enter it in "
            "`ntkbench/backends/jax/architectures.py`"
        )
    return ARCHITECTURES[type(net)]
