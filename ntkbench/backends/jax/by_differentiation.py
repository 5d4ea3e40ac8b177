"""Any architecture by automatic differentiation of its forward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.along_directions import AlongDirections
from ntkbench.backends.jax.any_model.per_example import products
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.resources import Sizes


class ByDifferentiation(AlongDirections):
    """See above.

    Args:
        forward: outputs (n, O) of one network, from its specification, its parameters `W1`, .. of shape (fan_out, fan_in) and,
            with biases, `b1`, .., and points (n, d); traceable by jax and differentiable in both modes.
    """

    def __init__(self, forward: Callable[[Any, Theta, Array], Array]):
        self._forward = forward

    def outputs(self, net: Any, theta: Theta, x: Array, points: int) -> Array:
        """All points at once."""
        return self._forward(net, theta, x)

    def kernel(self, net: Any, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
        """Products of the gradients of single points."""

        def gradients(x: Array) -> list[Array]:
            each = jax.vmap(jax.jacrev(lambda at, point: self._forward(net, at, point[None])[0]), (None, 0))
            return [gradient.reshape(*gradient.shape[:2], -1) for gradient in each(theta, x).values()]

        sides = [gradients(x) for x in points]
        found: Array = products(sides[0], None if len(sides) == 1 else sides[1], outputs != "full")
        return found.transpose(0, 2, 1, 3) if outputs == "full" else found[:, 0, :, 0]

    def kernel_entries(self, net: Any, n1: int, n2: int, outputs: str) -> int:
        """Every layer of every point, and for a kernel the gradients of all outputs, twice while they are put in order."""
        gradients = 2 * (n1 + n2) * net.output_dim * net.parameter_count // net.copies if n2 else 0
        return int(gradients + self.training_entries(net, n1 + n2))

    def training_entries(self, net: Any, points: int) -> int:
        """Every layer at every position."""
        return int(points * net.positions * sum(layer.fan_in + 3 * layer.fan_out for layer in net.layers))

    def direction(self, net: Any, theta: Theta, x: Array, weights: Array, available: int) -> Theta:
        """All points at once."""
        found: Theta = jax.grad(lambda at: jnp.vdot(weights, self._forward(net, at, x)[:, 0]))(theta)
        return found
