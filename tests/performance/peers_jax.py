"""The usual way in jax (grad, jvp) at its best, compiled ahead. Every function prepares, and returns what is to be timed.

Parameters and points come in the precision that is timed; networks have no biases.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkbench.backends.jax import naive
from ntkbench.networks import KERNEL, Convolutional, Network, Parameters

Run = Callable[[], object]
Theta = list[jax.Array]
Function = Callable[[Theta, jax.Array], jax.Array]


def _network(net: Network) -> Function:
    """Outputs (n, O) at points (n, d)."""
    multipliers = [layer.weight_multiplier for layer in net.layers]
    activation = naive.ACTIVATIONS[net.activation]

    def convolutional(theta: Theta, x: jax.Array) -> jax.Array:
        h = x.reshape(-1, *net.image)
        for multiplier, weight in zip(multipliers, theta[:-1], strict=False):
            padded = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap" if net.padding == "circular" else "constant")
            h = activation(multiplier * _convolve(padded, weight))
        h = h.reshape(len(h), -1) if net.readout == "flatten" else h.mean((1, 2))
        return multipliers[-1] * h @ theta[-1].T

    return convolutional if isinstance(net, Convolutional) else naive.network(net)


def _convolve(padded: jax.Array, weight: jax.Array) -> jax.Array:
    """XLA's own convolution in float32; from patches in float64, whose gradients XLA computes very slowly on CPUs."""
    height, width, channels = padded.shape[1:]
    if padded.dtype == jnp.float32:
        window = weight.T.reshape(KERNEL, KERNEL, channels, -1)
        return jax.lax.conv_general_dilated(padded, window, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    rows, columns = height - KERNEL + 1, width - KERNEL + 1
    shifts = [(i, j) for i in range(KERNEL) for j in range(KERNEL)]
    patches = jnp.concatenate([padded[:, i : i + rows, j : j + columns] for i, j in shifts], axis=-1)
    return patches @ weight.T


def _arrays(net: Network, theta: Parameters, device: str, *more: np.ndarray) -> list[Any]:
    """Weights of all seeds, (S, fan_out, fan_in), and whatever else goes to the device."""
    place = jax.devices(device)[0]
    weights = [jax.device_put(theta[f"W{l}"][:, 0], place) for l in range(1, net.depth + 2)]
    return [weights, *(jax.device_put(array, place) for array in more)]


def _run(function: Callable[..., jax.Array], *arguments: Any) -> Run:
    compiled = jax.jit(function).lower(*arguments).compile()
    return lambda: compiled(*arguments).block_until_ready()


def ntk(net: Network, theta: Parameters, x: np.ndarray, device: str, outputs: str = "one") -> Run:
    """Jacobian contraction: per-example gradients of every parameter, then inner products."""
    f = _network(net)
    form = {"one": "nop,mop->nm", "trace": "nop,mop->nm", "full": "nop,mqp->nmoq"}[outputs]

    def one_network(p: Theta, x: jax.Array) -> jax.Array:
        jacobian = jax.vmap(jax.jacrev(lambda q, point: f(q, point[None])[0]), (None, 0))(p, x)
        flat = [j.reshape(*j.shape[:2], -1) for j in jacobian]
        return sum((jnp.einsum(form, j, j) for j in flat), start=jnp.zeros((), x.dtype))

    return _run(jax.vmap(one_network, (0, None)), *_arrays(net, theta, device, x))


def _first(weights: Theta) -> Theta:
    return [value[0] for value in weights]


def hierarchy(net: Network, theta: Parameters, x: np.ndarray, order: int, device: str) -> Run:
    """Nested forward mode along per-example gradients, straight from the definition; the first seed."""
    run = naive.hierarchy(net, theta, x, order, device)
    run()
    return run


def contracted(
    net: Network, theta: Parameters, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int, device: str
) -> Run:
    """Nested forward mode of the rows' outputs along the directions `sum_c u_ci grad f_c`; the first seed."""
    f = _network(net)

    def kernel(order: int, p: Theta, rows: jax.Array, x: jax.Array, along: jax.Array) -> jax.Array:
        if order == 1:
            return f(p, rows)[:, 0]
        pull = jax.vjp(lambda q: f(q, x)[:, 0], p)[1]
        lower = lambda q: kernel(order - 1, q, rows, x, along)  # noqa: E731
        return jax.vmap(lambda u: jax.jvp(lower, (p,), pull(u))[1], out_axes=-1)(along)

    weights, *arrays = _arrays(net, theta, device, rows, x, np.ascontiguousarray(basis.T))
    return _run(lambda *given: kernel(order, *given), _first(weights), *arrays)


def training(net: Network, theta: Parameters, x: np.ndarray, y: np.ndarray, steps: int, step: float, device: str) -> Run:
    """Gradient descent by automatic differentiation, all steps in one compiled loop; returns the last outputs."""
    f = _network(net)

    def loss(p: Theta, x: jax.Array, y: jax.Array) -> jax.Array:
        return ((f(p, x) - y) ** 2).sum() / (2 * len(y))

    def one_network(p: Theta, x: jax.Array, y: jax.Array) -> jax.Array:
        def descend(_: int, now: Theta) -> Theta:
            return [value - step * slope for value, slope in zip(now, jax.grad(loss)(now, x, y), strict=True)]

        return f(jax.lax.fori_loop(0, steps, descend, p), x)

    return _run(jax.vmap(one_network, (0, None, None)), *_arrays(net, theta, device, x, y))


def solve(kernel: np.ndarray, rhs: np.ndarray, device: str) -> Run:
    """The framework's own Cholesky."""
    place = jax.devices(device)[0]
    matrix, sides = jax.device_put(kernel, place), jax.device_put(rhs, place)
    return _run(lambda a, b: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a), b), matrix, sides)
