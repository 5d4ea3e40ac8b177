"""Slow, obvious versions of what the backends compute cleverly; one seed at a time, nothing shared with them.

First derivatives are complex steps through a plain numpy forward pass (exact to rounding, no backward pass); kernels of the
hierarchy are nested forward mode in torch, straight from their definition.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import erf

from ntkbench.networks import Convolutional, Network, Parameters, Residual

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "tanh": np.tanh,
    "erf": erf,
    "gelu": lambda z: 0.5 * z * (1 + erf(z / math.sqrt(2))),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "identity": lambda z: z,
}
"""For real or complex z, analytic in z where the activation is."""

TORCH_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": lambda z: 0.5 * z * (1 + torch.erf(z / math.sqrt(2))),
    "softplus": lambda z: torch.log(1 + torch.exp(z)),
    "identity": lambda z: z,
}


def flatten(theta: Parameters, seed: int) -> np.ndarray:
    """All parameters of one seed as one vector (P,)."""
    return np.concatenate([theta[name][seed].ravel() for name in sorted(theta)])


def unflatten(net: Network, vector: np.ndarray) -> Parameters:
    """The inverse of `flatten` for vectors with any leading axes, which take the place of the seed axis: (..., P)."""
    shapes = {name: array.shape[1:] for name, array in net.initialize(0, [0]).items()}
    theta, start = {}, 0
    for name in sorted(shapes):
        size = math.prod(shapes[name])
        theta[name] = vector[..., start : start + size].reshape(*vector.shape[:-1], *shapes[name])
        start += size
    return theta


def network(net: Network, vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outputs (..., n, O) for parameters (..., P), real or complex, and points (n, d)."""
    theta = unflatten(net, vector)
    total = 0
    for copy, copy_weight in enumerate(net.copy_weights):
        h = before = x
        for l, layer in enumerate(net.layers, start=1):
            if isinstance(net, Convolutional):
                channels = net.image[2] if l == 1 else net.width
                h = _window_entries(net, channels, h) if l <= net.depth else _read_out(net, h)
            z = layer.weight_multiplier * np.einsum("...ji,...ni->...nj", theta[f"W{l}"][..., copy, :, :], h)
            if net.bias_variance > 0:
                z = z + layer.bias_multiplier * theta[f"b{l}"][..., copy, None, :]
            z = before = before + z if isinstance(net, Residual) and 1 < l <= net.depth else z
            h = ACTIVATIONS[net.activation](z) if l <= net.depth else z
        total = total + copy_weight * h
    return total


def _window_entries(net: Convolutional, channels: int, h: np.ndarray) -> np.ndarray:
    """The 3 x 3 surroundings of every pixel: (n, H * W * C) or (..., n * H * W, C) to (..., n * H * W, 9 * C)."""
    height, width, _ = net.image
    maps = h.reshape(*h.shape[:-2], -1, height, width, channels)
    found = np.zeros((*maps.shape[:-1], 9, channels), dtype=h.dtype)
    for i, j, offset in np.ndindex(height, width, 9):
        row, column = i + offset // 3 - 1, j + offset % 3 - 1
        if net.padding == "circular" or (0 <= row < height and 0 <= column < width):
            found[..., i, j, offset, :] = maps[..., row % height, column % width, :]
    return found.reshape(*h.shape[:-2], -1, 9 * channels)


def _read_out(net: Convolutional, h: np.ndarray) -> np.ndarray:
    """What the readout sees of (..., n * H * W, C): (..., n, H * W * C), or (..., n, C)."""
    maps = h.reshape(*h.shape[:-2], -1, net.positions, net.width)
    return maps.mean(axis=-2) if net.readout == "global_average" else maps.reshape(*maps.shape[:-2], -1)


def jacobian(net: Network, vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`d f / d theta`, (P, n, O), by a complex step in every parameter."""
    tiny = 1e-30
    return network(net, vector + 1j * tiny * np.eye(vector.size), x).imag / tiny


def ntk(net: Network, vector: np.ndarray, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """Contraction of Jacobians, (n1, n2)."""
    one, two = jacobian(net, vector, x1)[..., 0], jacobian(net, vector, x2)[..., 0]
    return net.mobility * one.T @ two


def full_ntk(net: Network, vector: np.ndarray, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """Contraction of Jacobians of every two outputs, (n1, n2, O, O)."""
    return net.mobility * np.einsum("pao,pbq->aboq", jacobian(net, vector, x1), jacobian(net, vector, x2))


def loss_gradient(net: Network, vector: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of `(1/2n) sum_a |f_a - y_a|^2`, (P,)."""
    residual = network(net, vector, x) - y
    return np.einsum("pno,no->p", jacobian(net, vector, x), residual) / len(x)


def gradient_flow(net: Network, vector: np.ndarray, x: np.ndarray, y: np.ndarray, times: list[float]) -> np.ndarray:
    """Parameters at every time, (T, P), by scipy's adaptive DOP853 on the flat vector."""
    solution = solve_ivp(
        lambda _, v: -net.mobility * loss_gradient(net, v, x, y),
        (0.0, times[-1]),
        vector,
        method="DOP853",
        t_eval=times,
        rtol=1e-12,
        atol=1e-13,
    )
    return solution.y.T


def hierarchy(net: Network, vector: np.ndarray, x: np.ndarray, order: int) -> dict[int, np.ndarray]:
    """`K_{r+1}(.., c) = mobility <grad K_r(..), grad f_c>` by differentiating K_r along grad f_c, again and again."""
    points = torch.tensor(x, dtype=torch.float64)

    def f(parameters: torch.Tensor) -> torch.Tensor:
        return _torch_network(net, parameters, points)[:, 0]

    kernel, found = f, {}
    with warnings.catch_warnings():
        # torch's forward mode warns of its own use of a deprecated compiler when first called.
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        for r in range(2, order + 1):
            kernel = _along_gradients(kernel, f, net.mobility)
            found[r] = kernel(torch.tensor(vector)).numpy()
    return found


def contracted_hierarchy(
    net: Network, vector: np.ndarray, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int
) -> dict[int, np.ndarray]:
    """K3 to K_order with a basis (n O, k) in all slots but the first, by differentiating f along `sum_c u_ci grad f_c`.

    Slots run over the entries of f in C order, each the function of one output at one point.
    """
    at_rows, points, columns = (torch.tensor(array, dtype=torch.float64) for array in (rows, x, basis.T))

    def along_each(kernel: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def along(u: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
            field = torch.func.grad(lambda now: u @ _torch_network(net, now, points).flatten())(parameters)
            return torch.func.jvp(kernel, (parameters,), (field,))[1]

        along_all = torch.func.vmap(along, in_dims=(0, None), out_dims=-1)
        return lambda parameters: net.mobility * along_all(columns, parameters)

    kernel, found = along_each(lambda parameters: _torch_network(net, parameters, at_rows).flatten()), {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        for r in range(3, order + 1):
            kernel = along_each(kernel)
            found[r] = kernel(torch.tensor(vector)).numpy()
    return found


def _along_gradients(
    kernel: Callable[[torch.Tensor], torch.Tensor], f: Callable[[torch.Tensor], torch.Tensor], mobility: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    def next_kernel(parameters: torch.Tensor) -> torch.Tensor:
        gradients = torch.func.jacrev(f)(parameters)
        along = [torch.func.jvp(kernel, (parameters,), (gradient,))[1] for gradient in gradients]
        return mobility * torch.stack(along, dim=-1)

    return next_kernel


def _torch_network(net: Network, vector: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    theta = unflatten(net, vector)
    total = torch.zeros((), dtype=torch.float64)
    for copy, copy_weight in enumerate(net.copy_weights):
        h = before = x
        for l, layer in enumerate(net.layers, start=1):
            if isinstance(net, Convolutional):
                h = _torch_seen(net, l, h.reshape(len(x), net.positions, -1))
            z = layer.weight_multiplier * h @ theta[f"W{l}"][copy].T
            if net.bias_variance > 0:
                z = z + layer.bias_multiplier * theta[f"b{l}"][copy]
            z = before = before + z if isinstance(net, Residual) and 1 < l <= net.depth else z
            h = TORCH_ACTIVATIONS[net.activation](z) if l <= net.depth else z
        total = total + copy_weight * h
    return total


def _torch_seen(net: Convolutional, l: int, maps: torch.Tensor) -> torch.Tensor:
    """What layer l sees of maps (n, p, C): (n, p, 9 * C), or what the readout does."""
    if l > net.depth:
        return maps.mean(dim=1) if net.readout == "global_average" else maps.flatten(1)
    places = torch.tensor(_window_entries(net, 1, np.eye(net.positions))).view(net.positions, net.positions, -1)
    return torch.einsum("nqc,qpo->npoc", maps, places).flatten(2)
