"""K5 and K6: the pieces of K4, differentiated once or twice along the gradients.

`K_{r+1}(.., e) = <grad K_r, g_e>`, and everything that K4 is made of is a function of the parameters, the gradients inside
included. Along `g_e` the weights of a layer move by a product of rank one, `c_l delta_l^e h_{l-1}^e^T`, so that the moved
network is kept as `W_l + c_l Delta_l diag(eps) H_{l-1}^T` and differentiated in eps: no gradient is ever formed. For K6 the
factors of the inner movement are those of the network moved by the outer one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax import hierarchy
from ntkbench.backends.jax.hierarchy import Pieces
from ntkbench.backends.jax.network import Theta, combine, linearize, over_networks
from ntkbench.networks import FullyConnected


@dataclass(frozen=True)
class Moved:
    """The matrix `base + left diag(eps) right^T`, for products with others."""

    base: "Array | Moved"
    left: Array
    eps: Array
    right: Array

    @property
    def T(self) -> "Moved":
        """Transposed."""
        return Moved(self.base.T, self.right, self.eps, self.left)

    def __matmul__(self, other: Array) -> Array:
        return self.base @ other + self.left @ (self.eps[:, None] * (self.right.T @ other))


@partial(jax.jit, static_argnums=(0, 3))
def higher_order(
    net: FullyConnected, theta: Theta, x: Array, order: int, last: Array, first: Array, second: Array | None = None
) -> Pieces:
    """Pieces of K5 or K6 of all seeds: those of K4 with the further points on axes behind, the last one in the block `last`."""

    def one_network(one: Theta, points: Array) -> Pieces:
        def fourth(at: Theta) -> Pieces:
            found = hierarchy.pieces(net, at, points, 4, first, second)
            return Pieces(fourth=found.fourth, squares=found.squares)

        every = jnp.arange(points.shape[0])
        below = fourth if order == 5 else _along_gradients(net, fourth, points, every)
        return _along_gradients(net, below, points, last)(one)

    copies = over_networks(one_network, theta, x)
    found: Pieces = jax.tree.map(lambda kernels: combine(net, kernels, order), copies)
    return found


def _along_gradients(
    net: FullyConnected, function: Callable[[Theta], Pieces], x: Array, block: Array
) -> Callable[[Theta], Pieces]:
    """The derivatives of a function of the parameters along `g_e`, e in the block, on a last axis."""

    def derivatives(theta: Theta) -> Pieces:
        moved = _moved(net, theta, x)
        still = jnp.zeros(x.shape[0], x.dtype)

        def along(direction: Array) -> Pieces:
            found: Pieces = jax.jvp(lambda eps: function(moved(eps)), (still,), (direction,))[1]
            return found

        found: Pieces = jax.vmap(along, out_axes=-1)(jnp.eye(x.shape[0], dtype=x.dtype)[block])
        return found

    return derivatives


def _moved(net: FullyConnected, theta: Theta, x: Array) -> Callable[[Array], Theta]:
    """The network at `theta + sum_e eps_e g_e`."""
    activations, signals = linearize(net, theta, x)

    def at(eps: Array) -> Theta:
        moved: dict[str, Any] = dict(theta)
        for l, (layer, delta, h) in enumerate(zip(net.layers, signals.delta, activations.h, strict=True), start=1):
            moved[f"W{l}"] = Moved(theta[f"W{l}"], layer.weight_multiplier * delta, eps, h)
            if f"b{l}" in theta:
                moved[f"b{l}"] = theta[f"b{l}"] + layer.bias_multiplier * (delta @ eps)
        return moved

    return at
