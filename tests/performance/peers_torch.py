"""The usual way in torch (torch.func), and bare matrix products. Every function prepares, and returns what is to be timed."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap

from ntkbench.networks import FullyConnected, Parameters
from tests.performance.workloads import Product

Run = Callable[[], object]
Theta = dict[str, torch.Tensor]


class _Network(torch.nn.Module):
    def __init__(self, net: FullyConnected, theta: Parameters, device: str):
        super().__init__()
        self.multipliers = [layer.weight_multiplier for layer in net.layers]
        self.weights = torch.nn.ParameterList(
            torch.tensor(theta[f"W{l}"][0, 0], device=device) for l in range(1, net.depth + 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, (multiplier, weight) in enumerate(zip(self.multipliers, self.weights, strict=True)):
            x = multiplier * torch.nn.functional.linear(torch.tanh(x) if i else x, weight)
        return x


def _setting(
    net: FullyConnected, theta: Parameters, x: np.ndarray, device: str
) -> tuple[Callable[[Theta, torch.Tensor], torch.Tensor], Theta, torch.Tensor]:
    """The network as a function, parameters of all seeds, inputs."""
    module = _Network(net, theta, device)
    batched = {f"weights.{l}": torch.tensor(theta[f"W{l + 1}"][:, 0], device=device) for l in range(net.depth + 1)}
    return lambda p, points: functional_call(module, p, (points,)), batched, torch.tensor(x, device=device)


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ntk(net: FullyConnected, theta: Parameters, x: np.ndarray, device: str) -> Run:
    """Jacobian contraction: per-example gradients of every parameter, then one inner product each."""
    f, batched, points = _setting(net, theta, x, device)

    def one_network(p: Theta) -> torch.Tensor:
        jacobian = vmap(jacrev(lambda q, point: f(q, point[None])[0, 0]), (None, 0))(p, points)
        return sum(torch.einsum("npq,mpq->nm", j, j) for j in jacobian.values())

    def run() -> torch.Tensor:
        with torch.no_grad():
            found = vmap(one_network)(batched)
        _synchronize(device)
        return found

    return run


def hierarchy(net: FullyConnected, theta: Parameters, x: np.ndarray, order: int, device: str) -> Run:
    """Nested forward mode along per-example gradients, straight from the definition."""
    f, batched, points = _setting(net, theta, x, device)
    single = {name: value[0] for name, value in batched.items()}

    def outputs(p: Theta) -> torch.Tensor:
        return f(p, points)[:, 0]

    def next_kernel(kernel: Callable[[Theta], torch.Tensor]) -> Callable[[Theta], torch.Tensor]:
        def along_gradients(p: Theta) -> torch.Tensor:
            return vmap(lambda direction: jvp(kernel, (p,), (direction,))[1], out_dims=-1)(jacrev(outputs)(p))

        return along_gradients

    kernel = outputs
    for _ in range(order - 1):
        kernel = next_kernel(kernel)

    def run() -> torch.Tensor:
        with warnings.catch_warnings():
            # torch's forward mode warns of its own use of a deprecated compiler when first called.
            warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
            found = kernel(single)
        _synchronize(device)
        return found

    return run


def training(net: FullyConnected, theta: Parameters, x: np.ndarray, y: np.ndarray, gradients: int, device: str) -> Run:
    """That many steps of gradient descent by automatic differentiation."""
    f, batched, points = _setting(net, theta, x, device)
    targets = torch.tensor(y, device=device)
    slope = vmap(grad(lambda p: ((f(p, points) - targets) ** 2).sum() / (2 * len(targets))))

    def run() -> Theta:
        now = batched
        for _ in range(gradients):
            slopes = slope(now)
            now = {name: value - 0.01 * slopes[name] for name, value in now.items()}
        _synchronize(device)
        return now

    return run


def matrix_products(products: Sequence[Product], device: str, repeats: int = 1) -> Run:
    """The products alone, float64, into memory that is there already."""
    draw = np.random.default_rng(0)
    triples = []
    for p in products:
        left, right = draw.standard_normal((p.count, p.rows, p.inner)), draw.standard_normal((p.count, p.inner, p.columns))
        out = torch.empty((p.count, p.rows, p.columns), dtype=torch.float64, device=device)
        triples.append((torch.tensor(left, device=device), torch.tensor(right, device=device), out))

    def run() -> None:
        for _ in range(repeats):
            for left, right, out in triples:
                torch.matmul(left, right, out=out)
        _synchronize(device)

    return run
