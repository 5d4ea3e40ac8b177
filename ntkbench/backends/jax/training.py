"""Training: explicit Runge-Kutta on the gradient flow, whole stretches of steps in one compiled loop."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import Theta, outputs
from ntkbench.hierarchy import runge_kutta_step
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected


def velocity(net: FullyConnected, theta: Theta, x: Array, y: Array) -> Theta:
    """`d theta / dt = -mobility * grad L` of all seeds, `L = (1/2n) sum_a |f_a - y_a|^2`."""
    f, pull_back = jax.vjp(lambda at: outputs(net, at, x), theta)
    slope: Theta = pull_back((net.mobility / x.shape[-2]) * (y - f))[0]
    return slope


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def advance(net: FullyConnected, method: Tableau, theta: Theta, x: Array, y: Array, step: float, count: int) -> Theta:
    """Parameters `count` steps later; `theta` is overwritten. One compilation serves every count and step."""
    names = tuple(theta)

    def slope(state: tuple[Array, ...]) -> tuple[Array, ...]:
        found = velocity(net, dict(zip(names, state, strict=True)), x, y)
        return tuple(found[name] for name in names)

    def one_step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        return runge_kutta_step(slope, state, step, method)

    state = jax.lax.fori_loop(0, count, one_step, tuple(theta[name] for name in names))
    return dict(zip(names, state, strict=True))


@jax.jit
def movement(theta: Theta, theta0: Theta) -> Array:
    """`|W_l - W_l(0)| / |W_l(0)|` per weight matrix, Frobenius norms over all copies: (S, depth + 1)."""
    weights = [f"W{l}" for l in range(1, 1 + sum(name.startswith("W") for name in theta))]
    return jnp.stack([_norm(theta[w] - theta0[w]) / _norm(theta0[w]) for w in weights], axis=1)


def _norm(weights: Array) -> Array:
    return jnp.sqrt(jnp.sum(weights**2, axis=(1, 2, 3)))


def bytes_per_seed(net: FullyConnected, n: int, method: Tableau, itemsize: int) -> int:
    """Temporaries of `advance` for one seed: parameters, their slopes at every stage, and the activations both ways."""
    activations = net.copies * n * sum(layer.fan_in + 3 * layer.fan_out for layer in net.layers)
    return itemsize * (net.parameter_count * (len(method.weights) + 4) + activations)
