"""Training: explicit Runge-Kutta on the gradient flow, whole stretches of steps in one compiled loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkbench.backends.jax.architectures import architecture
from ntkbench.backends.jax.blocks import Stretches
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.stepping import steps
from ntkbench.backends.jax.within_budget import WithinBudget, outputs
from ntkbench.integrators import Tableau
from ntkbench.networks import Network


def velocity(net: Network, theta: Theta, x: Array, y: Array, images: int) -> Theta:
    """`d theta / dt = -mobility * grad L` of all seeds, `L = (1/2n) sum_a |f_a - y_a|^2`.

    The gradients of `images` points at a time are added up, whose temporaries alone are held then.
    """
    n = x.shape[-2]
    scale = net.mobility / n
    if images >= n:
        return _slope(net, theta, x, y, jnp.full((n, 1), scale, x.dtype), images)
    parts = -(-n // images)
    size = -(-n // parts)
    padding = [(0, parts * size - n), (0, 0)]

    def cut(array: Array) -> Array:
        padded = jnp.pad(array, [(0, 0)] * (array.ndim - 2) + padding)
        return jnp.moveaxis(padded.reshape(*array.shape[:-2], parts, size, array.shape[-1]), -3, 0)

    def step(total: Theta, part: tuple[Array, Array, Array]) -> tuple[Theta, None]:
        return jax.tree.map(jnp.add, total, _slope(net, theta, *part, images)), None

    weights = jnp.full((n, 1), scale, x.dtype)
    found: Theta = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, theta), (cut(x), cut(y), cut(weights)))[0]
    return found


def _slope(net: Network, theta: Theta, x: Array, y: Array, weights: Array, images: int) -> Theta:
    """`sum_a weights_a (y_a - f_a) grad f_a`; points that fill up a part have weight 0."""
    f, pull_back = jax.vjp(lambda at: outputs(net, at, x, images), theta)
    slope: Theta = pull_back(weights * (y - f))[0]
    return slope


@partial(jax.jit, static_argnums=(0, 1, 7), donate_argnums=2)
def advance(net: Network, method: Tableau, theta: Theta, x: Array, y: Array, step: float, count: int, images: int) -> Theta:
    """Parameters `count` steps later; `theta` is overwritten. One compilation serves every count and step."""
    names = tuple(theta)

    def slope(state: tuple[Array, ...]) -> tuple[Array, ...]:
        found = velocity(net, dict(zip(names, state, strict=True)), x, y, images)
        return tuple(found[name] for name in names)

    return dict(zip(names, steps(slope, tuple(theta[name] for name in names), step, count, method), strict=True))


def states(
    net: Network,
    method: Tableau,
    theta: Theta,
    points: tuple[Array, Array],
    step: Array,
    counts: Sequence[int],
    images: int,
    stretches: Stretches,
) -> Iterator[Theta]:
    """Parameters after `counts[0]` steps, after `counts[1]` more, and so on, each in the memory of the one before.

    Args:
        theta: at t = 0, overwritten. points: inputs and targets. stretches: told of the steps done.
    """
    for count in counts:
        for several in stretches.calls(count):
            theta = advance(net, method, theta, *points, step, several, images)
            theta["W1"].block_until_ready()
            stretches.report(several)
        yield theta


@dataclass(frozen=True)
class Observer:
    """Observes a block of seeds in training.

    Attributes:
        names: of `ntkbench.backends.base.OBSERVABLES`, less the parameters themselves.
        start: parameters at t = 0. x: points, (n, d) or (S, n, d). x_test: likewise, or None.
    """

    names: Sequence[str]
    net: Network
    start: Theta
    x: np.ndarray
    x_test: np.ndarray | None
    within: WithinBudget

    def __call__(self, now: Theta) -> dict[str, np.ndarray]:
        """By name, seeds first."""
        return {name: self._observe(name, now) for name in self.names}

    def _observe(self, name: str, now: Theta) -> np.ndarray:
        match name:
            case "f":
                return self.within.outputs(self.net, now, self.x)
            case "f_test" if self.x_test is not None:
                return self.within.outputs(self.net, now, self.x_test)
            case "K2":
                return self.within.kernel(self.net, now, self.x)
            case _:
                return np.asarray(movement(now, self.start))


@jax.jit
def movement(theta: Theta, theta0: Theta) -> Array:
    """`|W_l - W_l(0)| / |W_l(0)|` per weight matrix, Frobenius norms over all copies: (S, depth + 1)."""
    weights = [f"W{l}" for l in range(1, 1 + sum(name.startswith("W") for name in theta))]
    return jnp.stack([_norm(theta[w] - theta0[w]) / _norm(theta0[w]) for w in weights], axis=1)


def _norm(weights: Array) -> Array:
    return jnp.sqrt(jnp.sum(weights**2, axis=(1, 2, 3)))


def images(net: Network, available: int, itemsize: int) -> int:
    """Points whose temporaries at every layer fit the bytes available, for one seed (one at least)."""
    return architecture(net).points_per_pass(net, available // (net.copies * net.depth), itemsize)


def bytes_per_seed(net: Network, n: int, method: Tableau, itemsize: int, images: int) -> int:
    """Temporaries of `advance` for one seed: parameters, their slopes at every stage, and the activations both ways."""
    activations = architecture(net).training_entries(net, min(n, images))
    return itemsize * (net.parameter_count * (len(method.weights) + 4) + net.copies * activations)
