"""The empirical NTK, layer by layer.

The gradient of the output with respect to `W_l` at one point is the outer product `c_l delta_l h_{l-1}^T`; inner products
of such gradients are products of inner products, so no gradient is ever formed.
"""

from functools import partial

import jax
from jax import Array

from ntkbench.backends.jax.network import Theta, add, combine, linearize, over_networks
from ntkbench.networks import FullyConnected


@partial(jax.jit, static_argnums=0)
def ntk(net: FullyConnected, theta: Theta, x1: Array, x2: Array | None = None) -> Array:
    """`K2 = mobility * <grad f(x1), grad f(x2)>` of all seeds, (S, n1, n2); `x2` None means `x1`."""
    if x2 is None:
        kernels = over_networks(lambda one, x: _kernel(net, *[_factors(net, one, x)] * 2), theta, x1)
    else:
        kernels = over_networks(lambda one, a, b: _kernel(net, _factors(net, one, a), _factors(net, one, b)), theta, x1, x2)
    return combine(net, kernels, 2)


Factors = list[tuple[Array, Array]]
"""Per layer `delta_l` and `h_{l-1}`."""


def _factors(net: FullyConnected, theta: Theta, x: Array) -> Factors:
    activations, signals = linearize(net, theta, x)
    return list(zip(signals.delta, activations.h, strict=True))


def _kernel(net: FullyConnected, first: Factors, second: Factors) -> Array:
    """`sum_l (delta_l . delta_l') (c_l^2 h_{l-1} . h_{l-1}' + e_l^2)`, c and e the multipliers of weights and biases."""
    return add(
        (delta1.T @ delta2) * (layer.weight_multiplier**2 * (h1.T @ h2) + layer.bias_multiplier**2)
        for layer, (delta1, h1), (delta2, h2) in zip(net.layers, first, second, strict=True)
    )


def bytes_per_seed(net: FullyConnected, n1: int, n2: int, itemsize: int) -> int:
    """Temporaries of `ntk` for one seed: parameters, activations and signals with their derivatives, a few kernels."""
    units = sum(layer.fan_in + 3 * layer.fan_out for layer in net.layers)
    return itemsize * (net.parameter_count + net.copies * ((n1 + n2) * units + 4 * n1 * n2))
