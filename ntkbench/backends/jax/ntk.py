"""The empirical NTK of all seeds."""

from functools import partial

import jax
from jax import Array

from ntkbench.backends.jax.architectures import architecture
from ntkbench.backends.jax.network import Theta, combine, over_networks
from ntkbench.backends.jax.resources import Sizes
from ntkbench.networks import Network


@partial(jax.jit, static_argnums=(0, 4, 5))
def ntk(net: Network, theta: Theta, x1: Array, x2: Array | None, outputs: str, sizes: Sizes) -> Array:
    """`K2 = mobility * <grad f(x1), grad f(x2)>` of all seeds, (S, n1, n2) or (S, n1, n2, O, O); `x2` None means `x1`."""
    networks, of = theta["W1"].shape[0] * net.copies, architecture(net)
    each = Sizes(sizes.images // networks, sizes.gradients // networks)
    points = [x1] if x2 is None else [x1, x2]
    kernels = over_networks(lambda one, *x: of.kernel(net, one, x, outputs, each), theta, *points)
    return combine(net, kernels, 2)


def bytes_per_seed(net: Network, n1: int, n2: int, itemsize: int, outputs: str) -> int:
    """Temporaries of `ntk` for one seed, `Sizes` apart: parameters, what is kept of every point, a few kernels."""
    kernels = 4 * n1 * n2 * (net.output_dim**2 if outputs == "full" else 1)
    each = kernels + architecture(net).kernel_entries(net, n1, n2, outputs)
    return itemsize * (net.parameter_count + net.copies * each)
