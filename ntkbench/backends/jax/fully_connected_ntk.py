"""The NTK of fully connected networks, layer by layer: gradients of a layer at a point have rank one, and are never formed.

Jacot et al. 2018, section 4.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax import layerwise
from ntkbench.backends.jax.activations import DERIVATIVES
from ntkbench.backends.jax.layerwise import Pairs, Positions
from ntkbench.backends.jax.network import Theta, affine_of_rows
from ntkbench.backends.jax.resources import Sizes
from ntkbench.networks import Layer, Network


def kernel(net: Network, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
    """Of one network without its mobility."""

    def contract(layer: Layer, one: Positions, two: Positions, pairs: Pairs) -> list[Array]:
        return layerwise.by_positions(layer, one, two, pairs, sizes.images)

    return layerwise.kernel(net, [_factors(net, theta, x, outputs) for x in points], points, contract, outputs)


def _factors(net: Network, theta: Theta, x: Array, outputs: str) -> list[Positions]:
    """Points are rows here, since products of all with all run fastest along rows."""
    h, slopes = [x], []
    for l, layer in enumerate(net.layers[:-1], start=1):
        value, slope, *_ = DERIVATIVES[net.activation](affine_of_rows(layer, theta, l, h[-1]))
        h.append(value)
        slopes.append(slope[:, None, :])
    readout = jnp.eye(net.output_dim, dtype=x.dtype)
    delta = [
        jnp.broadcast_to(readout, (len(x), *readout.shape)),
        net.layers[-1].weight_multiplier * theta[f"W{net.depth + 1}"] * slopes[-1],
    ]
    for l in range(net.depth, 1, -1):
        delta.append(net.layers[l - 1].weight_multiplier * (delta[-1] @ theta[f"W{l}"]) * slopes[l - 2])
    return [
        Positions(layerwise.trace(d[:, :, None], outputs), seen[:, None]) for d, seen in zip(reversed(delta), h, strict=True)
    ]


def entries(net: Network, n1: int, n2: int, outputs: str) -> int:
    """Numbers held besides parameters and kernels."""
    out = 1 if outputs == "one" else net.output_dim
    return (n1 + n2) * sum(layer.fan_in + (1 + 2 * out) * layer.fan_out for layer in net.layers)
