"""One convolutional network at some points, from operations that can be differentiated and vectorized again and again.

`ntkbench.backends.torch.convolutional` has what is computed fast.
"""

import torch

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.network import Tensor, Tensors, affine_of_one
from ntkbench.networks import KERNEL, Convolutional


def forward(net: Convolutional, theta: Tensors, x: Tensor) -> Tensor:
    """Outputs (n, O) for x (n, d)."""
    h = x.reshape(-1, *net.image)
    for l in range(1, net.depth + 1):
        (h,) = derivatives(net.activation, affine_of_one(net, theta, l, _windows(net, h)), 0)
    read = h.mean(dim=(1, 2)) if net.readout == "global_average" else h.flatten(1)
    return affine_of_one(net, theta, net.depth + 1, read)


def _windows(net: Convolutional, h: Tensor) -> Tensor:
    """What every window sees, (n, H, W, C) to (n, H, W, 9 C): the maps moved by every offset of the window."""
    moves = [(row, column) for row in range(KERNEL) for column in range(KERNEL)]
    seen = torch.stack([h.roll((KERNEL // 2 - row, KERNEL // 2 - column), (1, 2)) for row, column in moves], dim=3)
    if net.padding == "zero":
        seen = seen * _inside(net, seen)
    return seen.flatten(3)


def _inside(net: Convolutional, like: Tensor) -> Tensor:
    """1 where a place of a window lies inside the image, else 0: (H, W, 9, 1)."""
    places = (torch.arange(side).unsqueeze(1) + torch.arange(KERNEL) - KERNEL // 2 for side in net.image[:2])
    rows, columns = ((place >= 0) & (place < len(place)) for place in places)
    both = rows[:, None, :, None] & columns[None, :, None, :]
    return both.flatten(2).unsqueeze(3).to(like)
