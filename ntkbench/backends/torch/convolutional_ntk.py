"""The empirical NTK of convolutional networks, layer by layer.

The gradient of one output at one point with respect to a convolution is `c sum_q delta_q patch_q^T` over the p positions, and
the kernel of a layer comes by the cheaper of two routes (both in Novak et al. 2022, section 3):

    gradients    per-example gradients, then their products: (n1 + n2) O p F + n1 n2 G O F multiply-adds, F = 9 C C_out
    positions    sum_qq' (delta_q . delta'_q') (patch_q . patch'_q'): n1 n2 p^2 (9 C + G O C_out) multiply-adds

with G = O for the kernels of every two outputs and G = 1 for their trace.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from ntkbench.backends.torch.convolutional import (
    WINDOW_ROWS,
    Weights,
    chunk_rows,
    columns,
    propagate,
    pull_back,
    readout_scale,
    seen,
    weights,
)
from ntkbench.backends.torch.network import Tensor, Tensors
from ntkbench.backends.torch.tiles import cache_bytes, stripes
from ntkbench.networks import KERNEL, Convolutional

_PRODUCTS_PER_WRITE = 32
"""Multiply-adds in the time of writing a number to the cache, reading it, and summing it."""


class Piece(NamedTuple):
    """Some points: maps `h_0, ..., h_{L-2}`, each (r, C, H, W), and for each output `delta_1, ..., delta_{L-1}`, (r, C, p)."""

    maps: list[Tensor]
    signals: list[list[Tensor]]


@dataclass(frozen=True)
class Side:
    """The points of one side of a kernel matrix, in pieces, and what the readout multiplies, (n, fan_in)."""

    pieces: list[Piece]
    features: Tensor

    def signals(self, l: int) -> Tensor:
        """`delta_l` of every output at all points, (O, n, C, p)."""
        by_output = zip(*(piece.signals for piece in self.pieces), strict=True)
        return torch.stack([torch.cat([layers[l - 1] for layers in pieces]) for pieces in by_output])


def side(net: Convolutional, w: Weights, x: Tensor) -> Side:
    """Activations and the signals of every output at the points x (n, d)."""
    pieces, features = [], []
    for points in torch.split(x, chunk_rows(net, x)):
        found = propagate(net, w, points, highest=1)
        pieces.append(Piece(found.maps, [pull_back(net, w, found.slopes, top) for top in readout_scale(net) * w.readout]))
        features.append(found.features)
    return Side(pieces, torch.cat(features))


def add_kernels(net: Convolutional, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor, workspace: int) -> None:
    """Add the kernels of the copies, times the mobility, to `total` (B, G, n1, G, n2); the upper triangle if x2 is None."""
    for b, found in enumerate(total):
        w = weights(net, theta, b)
        one = side(net, w, x1[b])
        two = one if x2 is None else side(net, w, x2[b])
        _add_readout(net, one, two, found)
        for l in range(1, net.depth + 1):
            _add_biases(net, l, one, two, found)
            if _by_positions(net, l, len(found[0]), found.shape[3], len(found)):
                _add_by_positions(net, l, one, two, found)
            else:
                _add_by_gradients(net, l, one, two, found, workspace)


def _add_readout(net: Convolutional, one: Side, two: Side, total: Tensor) -> None:
    layer = net.layers[-1]
    gram = torch.mm(one.features, two.features.T).mul_(layer.weight_multiplier**2).add_(layer.bias_multiplier**2)
    if len(total) == 1:
        total[0, :, 0].add_(gram, alpha=net.mobility * net.output_dim)
    else:
        total.diagonal(dim1=0, dim2=2).add_(gram.unsqueeze(-1), alpha=net.mobility)


def _add_biases(net: Convolutional, l: int, one: Side, two: Side, total: Tensor) -> None:
    squared_scale = net.layers[l - 1].bias_multiplier ** 2
    if squared_scale > 0:
        summed = [s.signals(l).sum(-1) for s in (one, two)]
        for outputs in _terms(net, total):
            _add_product(summed[0][outputs], summed[1][outputs], net.mobility * squared_scale, one is two, total)


def _terms(net: Convolutional, total: Tensor) -> list[slice]:
    """The outputs whose gradients are multiplied at once: all of them for `full`, one after the other for `trace`."""
    return [slice(o, o + len(total)) for o in range(0, net.output_dim, len(total))]


def _add_product(rows: Tensor, others: Tensor, scale: float, symmetric: bool, total: Tensor) -> None:
    """Add `scale * rows . others` to `total` (G, n1, G, n2) for rows (G, n1, k) and others (G, n2, k)."""
    groups, n1, _ = rows.shape
    for i, j in stripes(n1, others.shape[1], groups, symmetric, rows.device):
        left, right = rows[:, i].flatten(0, 1), others[:, j].flatten(0, 1)
        if groups == 1:
            total[0, i, 0, j].addmm_(left, right.T, alpha=scale)
        else:
            total[:, i, :, j].add_(torch.mm(left, right.T).view(groups, -1, groups, others[:, j].shape[1]), alpha=scale)


def _by_positions(net: Convolutional, l: int, n1: int, n2: int, groups: int) -> bool:
    """Whether the route over positions takes fewer operations at layer l; it writes n1 n2 p^2 G^2 numbers besides."""
    layer, p, outputs = net.layers[l - 1], net.positions, net.output_dim
    weights, pairs = layer.fan_in * layer.fan_out, n1 * n2
    products = layer.fan_in + groups * outputs * layer.fan_out + groups**2 * _PRODUCTS_PER_WRITE
    return pairs * p**2 * products < ((n1 + n2) * p + pairs * groups) * outputs * weights


def _add_by_gradients(net: Convolutional, l: int, one: Side, two: Side, total: Tensor, workspace: int) -> None:
    """In blocks of output channels, so that the gradients of all points fit the workspace (one channel at least)."""
    fan_in = net.layers[l - 1].fan_in
    per_channel = total.itemsize * len(total) * fan_in * (len(total[0]) + (0 if one is two else total.shape[3]))
    block = max(1, min(net.width, workspace // per_channel))
    for start in range(0, net.width, block):
        for outputs in _terms(net, total):
            _add_block(net, l, one, two, outputs, slice(start, start + block), total)


def _add_block(net: Convolutional, l: int, one: Side, two: Side, outputs: slice, channels: slice, total: Tensor) -> None:
    """Of some outputs and channels; a function of its own, so that their gradients are freed before the next are formed."""
    symmetric, scale = one is two, net.mobility * net.layers[l - 1].weight_multiplier ** 2
    rows = _gradients(net, l, one, outputs, channels)
    others = rows if symmetric else _gradients(net, l, two, outputs, channels)
    for row in WINDOW_ROWS:
        _add_product(rows[row], others[row], scale, symmetric, total)


def _gradients(net: Convolutional, l: int, points: Side, outputs: slice, channels: slice) -> Tensor:
    """Per-example gradients of G outputs in c channels of layer l, by row of the window: (3, G, n, c * 3 C)."""
    first = points.pieces[0]
    groups, block = len(first.signals[outputs]), first.signals[0][l - 1][:, channels].shape[1]
    found = points.features.new_empty(KERNEL, groups, len(points.features), block, KERNEL * first.maps[l - 1].shape[1])
    start = 0
    for maps, signals in points.pieces:
        stack = columns(net, maps[l - 1])
        piece = slice(start, start + len(stack))
        for row in WINDOW_ROWS:
            for g, own in enumerate(signals[outputs]):
                torch.bmm(own[l - 1][:, channels], seen(net, stack, row).mT, out=found[row, g, piece])
        start = piece.stop
    return found.flatten(3)


def _add_by_positions(net: Convolutional, l: int, one: Side, two: Side, total: Tensor) -> None:
    """In stripes of rows that stay in the cache."""
    scale, p, groups = net.mobility * net.layers[l - 1].weight_multiplier ** 2, net.positions, len(total)
    patches = [_patches(net, torch.cat([piece.maps[l - 1] for piece in s.pieces])) for s in (one, two)]
    signals = [s.signals(l).transpose(1, 2).reshape(groups, -1, len(s.features) * p) for s in (one, two)]
    n1, n2 = total.shape[1], total.shape[3]
    rows = max(1, cache_bytes(total.device) // (2 * total.itemsize * p**2 * n2))
    for start in range(0, n1, rows):
        i, j = slice(start, min(n1, start + rows)), slice(start if one is two else 0, n2)
        across, along = slice(i.start * p, i.stop * p), slice(j.start * p, j.stop * p)
        overlap = torch.mm(patches[0][:, across].T, patches[1][:, along])
        for g in range(groups):
            for other in range(groups):
                product = torch.mm(signals[0][g, :, across].T, signals[1][other, :, along]).mul_(overlap)
                found = product.view(i.stop - i.start, p, -1, p).sum((1, 3))
                total[g, i, other, j].add_(found, alpha=scale)


def _patches(net: Convolutional, maps: Tensor) -> Tensor:
    """What a window sees, (9 C, n p)."""
    stack = columns(net, maps)
    return torch.cat([seen(net, stack, row).transpose(0, 1).flatten(1) for row in WINDOW_ROWS])


def floats_besides(net: Convolutional, n1: int, n2: int, groups: int) -> int:
    """Numbers that a kernel of one network holds besides activations, signals and what is blocked: a layer's, laid out anew."""
    units, patches = net.output_dim * net.width, max(layer.fan_in for layer in net.layers[: net.depth])
    if any(_by_positions(net, l, n1, n2, groups) for l in range(1, net.depth + 1)):
        return 2 * net.positions * ((n1 + n2) * (units + patches) + n2 * net.positions)
    return 2 * net.positions * (n1 + n2) * units if net.bias_variance > 0 else 0
