"""The usual way in jax (grad, jvp), and bare matrix products. Every function prepares, and returns what is to be timed."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ntkbench.networks import FullyConnected, Parameters
from tests.performance.workloads import Product

Run = Callable[[], object]
Theta = list[jax.Array]
Triple = tuple[jax.Array, jax.Array, jax.Array]


def _setting(
    net: FullyConnected, theta: Parameters, x: np.ndarray, device: str
) -> tuple[Callable[[Theta, jax.Array], jax.Array], Theta, jax.Array]:
    """The network as a function, parameters of all seeds, inputs."""
    multipliers = [layer.weight_multiplier for layer in net.layers]

    def f(weights: Theta, points: jax.Array) -> jax.Array:
        for i, (multiplier, weight) in enumerate(zip(multipliers, weights, strict=True)):
            points = multiplier * (jnp.tanh(points) if i else points) @ weight.T
        return points

    place = jax.devices(device)[0]
    batched = [jax.device_put(theta[f"W{l}"][:, 0], place) for l in range(1, net.depth + 2)]
    return f, batched, jax.device_put(x, place)


def ntk(net: FullyConnected, theta: Parameters, x: np.ndarray, device: str) -> Run:
    """Jacobian contraction: per-example gradients of every parameter, then one inner product each."""
    f, batched, points = _setting(net, theta, x, device)

    def one_network(p: Theta, x: jax.Array) -> jax.Array:
        jacobian = jax.vmap(jax.grad(lambda q, point: f(q, point[None])[0, 0]), (None, 0))(p, x)
        return sum(jnp.einsum("npq,mpq->nm", j, j) for j in jacobian)

    compiled = jax.jit(jax.vmap(one_network, (0, None)))
    return lambda: compiled(batched, points).block_until_ready()


def hierarchy(net: FullyConnected, theta: Parameters, x: np.ndarray, order: int, device: str) -> Run:
    """Nested forward mode along per-example gradients, straight from the definition."""
    f, batched, points = _setting(net, theta, x, device)
    Kernel = Callable[[Theta, jax.Array], jax.Array]

    def outputs(p: Theta, x: jax.Array) -> jax.Array:
        return f(p, x)[:, 0]

    def next_kernel(kernel: Kernel) -> Kernel:
        def along_gradients(p: Theta, x: jax.Array) -> jax.Array:
            along = jax.vmap(lambda direction: jax.jvp(lambda q: kernel(q, x), (p,), (direction,))[1], out_axes=-1)
            return along(jax.jacrev(outputs)(p, x))

        return along_gradients

    kernel = outputs
    for _ in range(order - 1):
        kernel = next_kernel(kernel)
    compiled = jax.jit(kernel)
    single = [value[0] for value in batched]
    return lambda: compiled(single, points).block_until_ready()


def training(net: FullyConnected, theta: Parameters, x: np.ndarray, y: np.ndarray, gradients: int, device: str) -> Run:
    """That many steps of gradient descent by automatic differentiation, each one call of a compiled step."""
    f, batched, points = _setting(net, theta, x, device)
    targets = jax.device_put(y, jax.devices(device)[0])

    @jax.jit
    def step(p: Theta, x: jax.Array, y: jax.Array) -> Theta:
        slopes = jax.vmap(jax.grad(lambda q: ((f(q, x) - y) ** 2).sum() / (2 * len(y))))(p)
        return [value - 0.01 * slope for value, slope in zip(p, slopes, strict=True)]

    def run() -> Theta:
        now = batched
        for _ in range(gradients):
            now = step(now, points, targets)
        return jax.block_until_ready(now)

    return run


def matrix_products(products: Sequence[Product], device: str, repeats: int = 1) -> Run:
    """The products alone, float64, into memory that is there already."""
    draw, place = np.random.default_rng(0), jax.devices(device)[0]
    state = []
    for p in products:
        shapes = (p.rows, p.inner), (p.inner, p.columns)
        left, right = (jax.device_put(draw.standard_normal((p.count, *shape)), place) for shape in shapes)
        state.append((left, right, jax.device_put(np.zeros((p.count, p.rows, p.columns)), place)))

    @partial(jax.jit, donate_argnums=0)
    def compiled(triples: list[Triple]) -> list[Triple]:
        def once(i: jax.Array, now: list[Triple]) -> list[Triple]:
            # One entry changes every time, or the compiler would compute the products once for all repeats.
            changed = [(left.at[0, 0, 0].set(i), right) for left, right, _ in now]
            return [(left, right, left @ right) for left, right in changed]

        return jax.lax.fori_loop(0, repeats, once, triples)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state))

    return run
