"""K_r as its definition reads, compiled: nested `jax.jvp` along the gradients of single outputs.

With G(theta) the gradients of the outputs at the n points, `K_1 = f` and `K_{r+1} = D K_r . G`, the derivative along each of
them; G itself moves with the parameters, so that every further order differentiates it again. The cost of the fast way is
compared with this. For fully connected networks of one output and one copy, without biases.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntkbench.networks import Network, Parameters

Theta = list[jax.Array]
Function = Callable[[Theta, jax.Array], jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "erf": jax.lax.erf,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "softplus": jax.nn.softplus,
    "identity": lambda z: z,
    "relu": jax.nn.relu,
}


def network(net: Network) -> Function:
    """Outputs (n, O) of weight matrices `[W1, ...]` and points (n, d)."""

    def outputs(theta: Theta, x: jax.Array) -> jax.Array:
        h = x
        for l, (layer, weight) in enumerate(zip(net.layers, theta, strict=True)):
            h = layer.weight_multiplier * (ACTIVATIONS[net.activation](h) if l else h) @ weight.T
        return h

    return outputs


def hierarchy(net: Network, theta: Parameters, x: np.ndarray, order: int, device: str) -> Callable[[], jax.Array]:
    """Prepares K_order of the first seed at the points, one axis each; its first call compiles.

    Args:
        theta, x: in the precision that is wanted.
        device: `cpu` or `cuda`.
    """
    f, place = network(net), jax.devices(device)[0]
    one_gradient = jax.grad(lambda p, point: f(p, point[None])[0, 0])

    def kernel(r: int, p: Theta, x: jax.Array) -> jax.Array:
        if r == 1:
            return f(p, x)[:, 0]

        def along(direction: Theta) -> jax.Array:
            moved: jax.Array = jax.jvp(lambda q: kernel(r - 1, q, x), (p,), (direction,))[1]
            return moved

        return jax.vmap(along, out_axes=-1)(jax.vmap(one_gradient, (None, 0))(p, x))

    compiled = jax.jit(lambda p, x: kernel(order, p, x))
    weights = [jax.device_put(theta[f"W{l}"][0, 0], place) for l in range(1, net.depth + 2)]
    points = jax.device_put(x, place)

    def run() -> jax.Array:
        found: jax.Array = compiled(weights, points)
        return found.block_until_ready()

    return run
