"""The forward pass of one fully connected residual network."""

from jax import Array

from ntkbench.backends.jax.activations import DERIVATIVES
from ntkbench.backends.jax.network import Theta, affine_of_rows
from ntkbench.networks import Residual


def forward(net: Residual, theta: Theta, x: Array) -> Array:
    """Outputs (n, O) at points (n, d)."""
    first, *later, readout = net.layers

    def activations(h: Array) -> Array:
        return DERIVATIVES[net.activation](h)[0]

    h = affine_of_rows(first, theta, 1, x)
    for l, layer in enumerate(later, start=2):
        h = h + affine_of_rows(layer, theta, l, activations(h))
    return affine_of_rows(readout, theta, net.depth + 1, activations(h))
