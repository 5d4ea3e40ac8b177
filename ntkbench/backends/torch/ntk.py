"""The empirical NTK of a batch of networks, layer by layer.

The gradient of one output with respect to `W_l` is the rank-one matrix `c_l delta_l h_{l-1}^T`, so the kernel is a sum of
elementwise products of two Gram matrices per layer, and no Jacobian is ever formed.
"""

from collections.abc import Iterator

import torch

from ntkbench.backends.torch.network import Tensor, Tensors, back_propagate, combine_copies, floats_per_point, propagate
from ntkbench.networks import FullyConnected


def kernel(net: FullyConnected, theta: Tensors, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    """`K2 = mobility * sum_c copy_weights[c]^2 sum_l (delta_l . delta_l') (c_l^2 h_{l-1} . h_{l-1}' + e_l^2)`.

    Args:
        x1: (B, n1, d); x2: (B, n2, d), None for `x1`.

    Returns:
        (S, n1, n2).
    """
    hidden1, back1 = _signals(net, theta, x1)
    hidden2, back2 = (hidden1, back1) if x2 is None else _signals(net, theta, x2)
    total = x1.new_zeros(())
    for layer, h1, h2, d1, d2 in zip(net.layers, hidden1, hidden2, back1, back2, strict=True):
        squared_bias = h1.new_full((1,), layer.bias_multiplier**2)
        forward = torch.baddbmm(squared_bias, h1, h2.mT, alpha=layer.weight_multiplier**2)
        total = torch.addcmul(total, torch.bmm(d1, d2.mT), forward)
    return combine_copies(net, total, power=2).mul_(net.mobility)


def _signals(net: FullyConnected, theta: Tensors, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    hidden, slopes, g = propagate(net, theta, x, highest=1)
    return hidden, back_propagate(net, theta, slopes, torch.ones_like(g))


def bytes_per_seed(net: FullyConnected, rows1: int, rows2: int, itemsize: int) -> int:
    """Temporaries of `kernel` for one seed, its parameters counted."""
    signals = (rows1 + rows2) * floats_per_point(net, arrays=4)
    return itemsize * (net.parameter_count + signals + 4 * net.copies * rows1 * rows2)


def tiles(net: FullyConnected, rows1: int, rows2: int, itemsize: int, budget: int) -> Iterator[tuple[slice, slice]]:
    """Tiles of the kernel matrix of one seed whose temporaries fit the budget (one entry at least)."""
    side1, side2 = rows1, rows2
    while max(side1, side2) > 1 and bytes_per_seed(net, side1, side2, itemsize) > budget:
        if side1 >= side2:
            side1 = (side1 + 1) // 2
        else:
            side2 = (side2 + 1) // 2
    for i in range(0, rows1, side1):
        for j in range(0, rows2, side2):
            yield slice(i, min(rows1, i + side1)), slice(j, min(rows2, j + side2))
