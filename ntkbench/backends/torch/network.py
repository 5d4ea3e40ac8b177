"""Forward pass and back-propagated signals of a batch of fully connected networks.

One batch entry is one copy of one seed (seed-major), so that antisymmetric networks cost two entries and no special code:

    B seeds times copies    n points    m_l units of layer l    L = depth + 1 layers    O outputs

A single copy is `z_l = c_l W_l h_{l-1} + e_l b_l`, `h_0 = x`, `h_l = sigma(z_l)`, `g = z_L`.
"""

import torch

from ntkbench.backends.torch.activations import derivatives
from ntkbench.networks import Network

Tensor = torch.Tensor
Tensors = dict[str, Tensor]
"""`W1`.. of shape (B, m_l, m_{l-1}) and, with biases, `b1`.. of shape (B, m_l)."""


def affine(net: Network, theta: Tensors, l: int, h: Tensor) -> Tensor:
    """`c_l W_l h + e_l b_l` for h of shape (B, n, m_{l-1}); the result is fresh and may be overwritten."""
    layer = net.layers[l - 1]
    weight = theta[f"W{l}"]
    if net.bias_variance > 0:
        bias = theta[f"b{l}"].unsqueeze(1)
        return torch.baddbmm(bias, h, weight.mT, beta=layer.bias_multiplier, alpha=layer.weight_multiplier)
    return scaled_product(h, weight.mT, layer.weight_multiplier)


def affine_of_one(net: Network, theta: Tensors, l: int, h: Tensor) -> Tensor:
    """The same of one network, without its axis, for h (..., m_{l-1}); can be differentiated and vectorized again and again."""
    layer = net.layers[l - 1]
    z = layer.weight_multiplier * (h @ theta[f"W{l}"].mT)
    return z + layer.bias_multiplier * theta[f"b{l}"] if net.bias_variance > 0 else z


def pull_back(net: Network, theta: Tensors, l: int, signal: Tensor) -> Tensor:
    """`c_l W_l^T signal` for a signal of shape (B, n, m_l); the result is fresh and may be overwritten."""
    return scaled_product(signal, theta[f"W{l}"], net.layers[l - 1].weight_multiplier)


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """`scale * left @ right` of batches of matrices; the result is fresh and may be overwritten."""
    # Not `baddbmm` of another tensor, which would be copied over the result first, even when it counts nothing.
    return left.new_empty(left.shape[0], left.shape[1], right.shape[2]).baddbmm_(left, right, beta=0, alpha=scale)


def propagate(net: Network, theta: Tensors, x: Tensor, highest: int) -> tuple[list[Tensor], list[tuple[Tensor, ...]], Tensor]:
    """Activations, derivatives of the activation function, and outputs.

    Args:
        x: (B, n, d).
        highest: order of the derivatives to keep.

    Returns:
        `[h_0, ..., h_{L-1}]`; per hidden layer `(sigma'(z_l), ...)` up to order `highest`; `g` of shape (B, n, O).
    """
    hidden = [x]
    slopes = []
    for l in range(1, net.depth + 1):
        h, *higher = derivatives(net.activation, affine(net, theta, l, hidden[-1]), highest)
        hidden.append(h)
        slopes.append(tuple(higher))
    return hidden, slopes, affine(net, theta, net.depth + 1, hidden[-1])


def back_propagate(net: Network, theta: Tensors, slopes: list[tuple[Tensor, ...]], top: Tensor) -> list[Tensor]:
    """`[delta_1, ..., delta_L]` with `delta_L = top` (B, n, O) and `delta_l = sigma'(z_l) * c_{l+1} W_{l+1}^T delta_{l+1}`."""
    back = [top]
    for l in range(net.depth, 0, -1):
        back.append(pull_back(net, theta, l + 1, back[-1]).mul_(slopes[l - 1][0]))
    return back[::-1]


def output_signals(net: Network, theta: Tensors, slopes: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Signals of each output alone at the hidden layers: `[delta_1, ..., delta_{L-1}]`, each (B, O, n, m_l)."""
    top = (net.layers[-1].weight_multiplier * theta[f"W{net.depth + 1}"]).unsqueeze(2)
    back = [top * slopes[-1][0].unsqueeze(1)]
    for l in range(net.depth - 1, 0, -1):
        below = pull_back(net, theta, l + 1, back[-1].flatten(1, 2))
        back.append(below.view(*back[-1].shape[:3], -1).mul_(slopes[l - 1][0].unsqueeze(1)))
    return back[::-1]


def outputs(net: Network, theta: Tensors, x: Tensor) -> Tensor:
    """Outputs `f` of the seeds, (S, n, O), for x of shape (B, n, d)."""
    _, _, g = propagate(net, theta, x, highest=0)
    return combine_copies(net, g)


def combine_copies(net: Network, values: Tensor, power: int = 1) -> Tensor:
    """`sum_c copy_weights[c]^power values_c`: (B, ...) -> (S, ...)."""
    if net.copies == 1:
        return values
    per_copy = values.view(-1, net.copies, *values.shape[1:]).unbind(1)
    first, *others = (value * weight**power for weight, value in zip(net.copy_weights, per_copy, strict=True))
    return sum(others, first)


def split_copies(net: Network, values: Tensor) -> Tensor:
    """The adjoint of `combine_copies`: (S, ...) -> (B, ...), copy c being `copy_weights[c] * values`."""
    if net.copies == 1:
        return values
    return torch.stack([values * weight for weight in net.copy_weights], dim=1).flatten(0, 1)


def floats_per_point(net: Network, arrays: int) -> int:
    """Numbers held per point by one seed when `arrays` arrays of each layer's size are alive at once, inputs counted."""
    return net.copies * (net.input_dim + arrays * (net.depth * net.width + net.output_dim))


def write_slope(net: Network, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
    """Write `d theta / dt = -mobility * grad L` into `slope`.

    Args:
        x: (B, n, d); y: (S, n, O).
        slope: arrays shaped as `theta`, overwritten; weights whose gradients come twice as fast in long rows lie transposed.
    """
    hidden, slopes, g = propagate(net, theta, x, highest=1)
    residual = combine_copies(net, g) - y
    top = split_copies(net, residual * (-net.mobility / x.shape[1]))
    back = back_propagate(net, theta, slopes, top)
    for l, (layer, h, delta) in enumerate(zip(net.layers, hidden, back, strict=True), start=1):
        weight = slope[f"W{l}"]
        out, left, right = (weight, delta.mT, h) if weight.is_contiguous() else (weight.mT, h.mT, delta)
        out.baddbmm_(left, right, beta=0, alpha=layer.weight_multiplier)
        if net.bias_variance > 0:
            torch.sum(delta, dim=1, out=slope[f"b{l}"]).mul_(layer.bias_multiplier)
