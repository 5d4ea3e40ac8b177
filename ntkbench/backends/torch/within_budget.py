"""Outputs and kernels of a block of seeds under a budget of bytes: by rows and by tiles, put together on the host."""

import numpy as np
import torch

from ntkbench.backends.torch import ntk
from ntkbench.backends.torch.architectures import architecture
from ntkbench.backends.torch.network import Tensor, Tensors
from ntkbench.backends.torch.tiles import tiles
from ntkbench.networks import Network


def outputs(net: Network, theta: Tensors, x: Tensor, budget: int) -> np.ndarray:
    """f, (S, n, O), by rows where they do not fit the budget at once."""
    seeds, of = x.shape[0] // net.copies, architecture(net)
    per_row = seeds * x.itemsize * of.floats_per_point(net, arrays=2)
    rows = max(1, (budget - seeds * x.itemsize * net.parameter_count) // per_row)
    parts = [of.outputs(net, theta, x[:, i : i + rows]).cpu().numpy() for i in range(0, x.shape[1], rows)]
    return np.concatenate(parts, axis=1)


def bytes_per_seed(net: Network, points: int, itemsize: int) -> int:
    """Temporaries of `outputs` for one seed, its parameters counted."""
    return itemsize * (net.parameter_count + points * architecture(net).floats_per_point(net, arrays=2))


def kernel(net: Network, theta: Tensors, x1: Tensor, x2: Tensor | None, outputs: str, budget: int) -> np.ndarray:
    """K2, (S, n1, n2) or (S, n1, n2, O, O), in tiles; a quarter of the budget is left to blocks inside a tile."""
    seeds, workspace = len(x1) // net.copies, budget // 4
    rows1, rows2 = x1.shape[1], None if x2 is None else x2.shape[1]

    def bytes_of(side1: int, side2: int) -> int:
        return seeds * ntk.bytes_per_seed(net, side1, side2, outputs, x1.itemsize)

    cut = list(tiles(rows1, rows2, bytes_of, budget - workspace))
    if len(cut) == 1:
        return ntk.kernel(net, theta, x1, x2, outputs, workspace).contiguous().cpu().numpy()
    by_outputs = (net.output_dim,) * 2 if outputs == "full" else ()
    found = torch.empty(seeds, rows1, rows2 or rows1, *by_outputs, dtype=x1.dtype)
    for i, j in cut:
        others = None if x2 is None and i == j else (x1 if x2 is None else x2)[:, j]
        part = ntk.kernel(net, theta, x1[:, i], others, outputs, workspace)
        found[:, i, j] = part
        if x2 is None:
            turned = part.transpose(1, 2)
            found[:, j, i] = turned.transpose(3, 4) if outputs == "full" else turned
    return found.numpy()
