"""The usual way in torch (torch.func, autograd) at its best. Every function prepares, and returns what is to be timed.

Parameters and points come in the precision that is timed; networks have no biases.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch.func import jacrev, jvp, vjp, vmap
from torch.nn.functional import conv2d, linear, pad

from ntkbench.backends.torch import naive
from ntkbench.networks import KERNEL, Convolutional, Network, Parameters

Run = Callable[[], object]
Theta = tuple[torch.Tensor, ...]
Kernel = Callable[[Theta], torch.Tensor]


def _network(net: Network) -> Callable[[Theta, torch.Tensor], torch.Tensor]:
    """Outputs (n, O) at points (n, d); weights of convolutions as torch has them."""
    multipliers = [layer.weight_multiplier for layer in net.layers]
    activation = naive.ACTIVATIONS[net.activation]

    def convolutional(theta: Theta, x: torch.Tensor) -> torch.Tensor:
        height, width, channels = net.image
        h = x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        for multiplier, weight in zip(multipliers, theta[:-1], strict=False):
            if net.padding == "circular":
                h = conv2d(pad(h, (1, 1, 1, 1), mode="circular"), weight)
            else:
                h = conv2d(h, weight, padding=1)
            h = activation(multiplier * h)
        h = h.permute(0, 2, 3, 1).flatten(1) if net.readout == "flatten" else h.mean((2, 3))
        return multipliers[-1] * linear(h, theta[-1])

    return convolutional if isinstance(net, Convolutional) else naive.dense(net)


def _weights(net: Network, theta: Parameters, device: str) -> Theta:
    """Weights of all seeds, (S, fan_out, ...)."""
    found = [torch.tensor(theta[f"W{l}"][:, 0], device=device) for l in range(1, net.depth + 2)]
    if isinstance(net, Convolutional):
        windows = [w.unflatten(2, (KERNEL, KERNEL, -1)).permute(0, 1, 4, 2, 3).contiguous() for w in found[:-1]]
        found = [*windows, found[-1]]
    return tuple(found)


def _run(compute: Callable[[], torch.Tensor], device: str) -> Run:
    def run() -> torch.Tensor:
        found = compute()
        if device == "cuda":
            torch.cuda.synchronize()
        return found.detach()

    return run


def _forward_mode(compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    def quietly() -> torch.Tensor:
        with warnings.catch_warnings():
            # torch's forward mode warns of its own use of a deprecated compiler when first called.
            warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
            return compute()

    return quietly


def ntk(net: Network, theta: Parameters, x: np.ndarray, device: str, outputs: str = "one") -> Run:
    """Jacobian contraction: per-example gradients of every parameter, then inner products."""
    f, weights, points = _network(net), _weights(net, theta, device), torch.tensor(x, device=device)
    form = {"one": "nop,mop->nm", "trace": "nop,mop->nm", "full": "nop,mqp->nmoq"}[outputs]

    def one_network(p: Theta) -> torch.Tensor:
        jacobian = vmap(jacrev(lambda q, point: f(q, point[None])[0]), (None, 0))(p, points)
        return sum(torch.einsum(form, j.flatten(2), j.flatten(2)) for j in jacobian)

    @torch.no_grad()
    def compute() -> torch.Tensor:
        return vmap(one_network)(weights) if len(weights[0]) > 1 else one_network(tuple(w[0] for w in weights))[None]

    return _run(compute, device)


def hierarchy(net: Network, theta: Parameters, x: np.ndarray, order: int, device: str) -> Run:
    """Nested forward mode along per-example gradients, straight from the definition; the first seed."""
    return naive.hierarchy(net, theta, x, order, device)


def contracted(
    net: Network, theta: Parameters, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int, device: str
) -> Run:
    """Nested forward mode of the rows' outputs along the directions `sum_c u_ci grad f_c`; the first seed."""
    f, weights = _network(net), tuple(w[0] for w in _weights(net, theta, device))
    first, points, along = (torch.tensor(array, device=device) for array in (rows, x, basis.T))

    def next_kernel(kernel: Kernel) -> Kernel:
        def along_directions(p: Theta) -> torch.Tensor:
            pull = vjp(lambda q: f(q, points)[:, 0], p)[1]
            return vmap(lambda u: jvp(kernel, (p,), pull(u))[1], out_dims=-1)(along)

        return along_directions

    kernel: Kernel = lambda p: f(p, first)[:, 0]  # noqa: E731
    for _ in range(order - 1):
        kernel = next_kernel(kernel)
    return _run(_forward_mode(lambda: kernel(weights)), device)


def training(net: Network, theta: Parameters, x: np.ndarray, y: np.ndarray, steps: int, step: float, device: str) -> Run:
    """Gradient descent by autograd, all seeds as one batch; returns the last outputs."""
    start, points, targets = _weights(net, theta, device), torch.tensor(x, device=device), torch.tensor(y, device=device)
    multipliers = [layer.weight_multiplier for layer in net.layers]
    activation = getattr(torch, net.activation)

    def f(weights: Theta) -> torch.Tensor:
        h = points.expand(len(weights[0]), -1, -1)
        for l, (multiplier, weight) in enumerate(zip(multipliers, weights, strict=True)):
            h = multiplier * torch.bmm(activation(h) if l else h, weight.mT)
        return h

    def compute() -> torch.Tensor:
        now = tuple(w.requires_grad_() for w in start)
        for _ in range(steps):
            slopes = torch.autograd.grad(((f(now) - targets) ** 2).sum() / (2 * len(targets)), now)
            with torch.no_grad():
                now = tuple((w - step * slope).requires_grad_() for w, slope in zip(now, slopes, strict=True))
        with torch.no_grad():
            return f(now)

    return _run(compute, device)


def solve(kernel: np.ndarray, rhs: np.ndarray, device: str) -> Run:
    """The framework's own Cholesky."""
    matrix, sides = torch.tensor(kernel, device=device), torch.tensor(rhs, device=device)
    return _run(lambda: torch.cholesky_solve(sides, torch.linalg.cholesky(matrix)), device)
