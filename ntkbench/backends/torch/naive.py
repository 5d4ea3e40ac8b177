"""The hierarchy straight from its definition, the usual way in torch: what the fast way's cost is set against.

`K_{r+1}(x_1..x_r, x) = <grad K_r(x_1..x_r), grad f(x)>` is nested forward mode along per-example gradients. K_r carries
`n^(r-1)` tangents, each as large as the network, through a forward pass of all points. Networks are fully connected, with one
output, one copy and no biases.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch.func import grad, jvp, vmap
from torch.nn.functional import gelu, linear, softplus

from ntkbench.networks import Network, Parameters

Weights = tuple[torch.Tensor, ...]
Kernel = Callable[[Weights], torch.Tensor]
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": gelu,
    "softplus": softplus,
    "identity": lambda z: z,
}


def dense(net: Network) -> Callable[[Weights, torch.Tensor], torch.Tensor]:
    """A function of one seed's weight matrices and points (n, d); outputs (n, O)."""
    multipliers = [layer.weight_multiplier for layer in net.layers]
    activation = ACTIVATIONS[net.activation]

    def outputs(weights: Weights, h: torch.Tensor) -> torch.Tensor:
        for l, (multiplier, weight) in enumerate(zip(multipliers, weights, strict=True)):
            h = multiplier * linear(activation(h) if l else h, weight)
        return h

    return outputs


def hierarchy(net: Network, theta: Parameters, x: np.ndarray, order: int, device: str) -> Callable[[], torch.Tensor]:
    """Prepares K_order of the first seed, (n,) * order, in the precision that parameters and points have."""
    f, points = dense(net), torch.tensor(x, device=device)
    weights = tuple(torch.tensor(theta[f"W{l}"][0, 0], device=device) for l in range(1, net.depth + 2))

    def gradients(p: Weights) -> Weights:
        # One example at a time: reverse mode through all points at once would pass n signals through n points.
        found: Weights = vmap(grad(lambda q, point: f(q, point[None])[0, 0]), (None, 0))(p, points)
        return found

    def next_kernel(kernel: Kernel) -> Kernel:
        return lambda p: vmap(lambda direction: jvp(kernel, (p,), (direction,))[1], out_dims=-1)(gradients(p))

    kernel: Kernel = lambda p: f(p, points)[:, 0]  # noqa: E731
    for _ in range(order - 1):
        kernel = next_kernel(kernel)

    def run() -> torch.Tensor:
        with warnings.catch_warnings():
            # torch's forward mode warns of its own use of a deprecated compiler when first called.
            warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
            found = kernel(weights)
        if device == "cuda":
            torch.cuda.synchronize()
        return found.detach()

    return run
