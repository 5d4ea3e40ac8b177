"""Convolutional networks: outputs, back-propagated signals, and the gradient of the loss.

Maps of one network are (n, C, H, W), n being points and p = H W positions. A 3 x 3 convolution is three matrix products, one
per row of the window: with the maps stacked three times, moved by one column each time, between two rows more (`columns`),
what a row of the window sees of all positions is a contiguous piece of the stack, and patches are never formed:

    z = c sum_r W_r S_r + e b        W_r (C_out, 3 C) the row r of the window, S_r (3 C, p) columns of the stack from r W on

Pulling a signal back is the convolution with the window turned by half a turn; the gradient of `W_r` is `c delta S_r^T`.
Points are taken in pieces whose stacks stay in the processor's cache.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies, split_copies
from ntkbench.backends.torch.tiles import cache_bytes
from ntkbench.networks import KERNEL, Convolutional

WINDOW_ROWS = range(KERNEL)


@dataclass(frozen=True)
class Weights:
    """One network's parameters in the order in which they are multiplied.

    Attributes:
        ahead: per convolution (3, C_out, 3 C), by row of the window; back: (3, C, 3 C_out), turned by half a turn.
        bias: per layer (fan_out,), or None.
        readout: (O, C, p) to `flatten`, (O, C, 1) for the average.
    """

    ahead: list[Tensor]
    back: list[Tensor]
    bias: list[Tensor | None]
    readout: Tensor


class Activations(NamedTuple):
    """One network at n points.

    Attributes:
        maps: `h_0, ..., h_{L-2}`, each (n, C, H, W). slopes: `sigma'(z_1), ...`, as maps. features: (n, fan_in) of the readout.
        g: outputs, (n, O).
    """

    maps: list[Tensor]
    slopes: list[Tensor]
    features: Tensor
    g: Tensor


def weights(net: Convolutional, theta: Tensors, b: int) -> Weights:
    """Those of entry b of the batch of networks."""
    windows = [theta[f"W{l}"][b].view(net.width, KERNEL, KERNEL, -1) for l in range(1, net.depth + 1)]
    readout = theta[f"W{net.depth + 1}"][b]
    return Weights(
        ahead=[w.flatten(2).transpose(0, 1).contiguous() for w in windows],
        back=[w.flip(1, 2).permute(1, 3, 2, 0).flatten(2).contiguous() for w in windows],
        bias=[theta[f"b{l}"][b] if net.bias_variance > 0 else None for l in range(1, net.depth + 2)],
        readout=readout.view(net.output_dim, -1, net.width).transpose(1, 2).contiguous(),
    )


def columns(net: Convolutional, maps: Tensor) -> Tensor:
    """The stack (n, 3 C, (H + 2) W) of maps (n, C, H, W)."""
    n, channels, height, width = maps.shape
    around = net.padding == "circular"
    stack = maps.new_empty(n, KERNEL, channels, height + 2, width)
    left, middle, right = stack[..., 1:-1, :].unbind(1)
    middle.copy_(maps)
    left[..., 1:].copy_(maps[..., :-1])
    left[..., 0].copy_(maps[..., -1]) if around else left[..., 0].zero_()
    right[..., :-1].copy_(maps[..., 1:])
    right[..., -1].copy_(maps[..., 0]) if around else right[..., -1].zero_()
    stack[..., 0, :].copy_(stack[..., -2, :]) if around else stack[..., 0, :].zero_()
    stack[..., -1, :].copy_(stack[..., 1, :]) if around else stack[..., -1, :].zero_()
    return stack.view(n, KERNEL * channels, -1)


def seen(net: Convolutional, stack: Tensor, row: int) -> Tensor:
    """`S_r`, (n, 3 C, p): a view."""
    return stack[..., row * net.image[1] : row * net.image[1] + net.positions]


def correlate(net: Convolutional, windows: Tensor, stack: Tensor, scale: float) -> Tensor:
    """`scale * sum_r W_r S_r`, (n, C_out, p)."""
    found = stack.new_empty(len(stack), windows.shape[1], net.positions)
    for row in WINDOW_ROWS:
        window = windows[row].expand(len(stack), -1, -1)
        found.baddbmm_(window, seen(net, stack, row), beta=float(row > 0), alpha=scale)
    return found


def propagate(net: Convolutional, w: Weights, x: Tensor, highest: int) -> Activations:
    """Everything on the way to the outputs of one network for x (n, d); no slopes if `highest`, the derivatives kept, is 0."""
    h = x.view(-1, *net.image).permute(0, 3, 1, 2)
    maps, slopes = [], []
    for l, layer in enumerate(net.layers[:-1], start=1):
        maps.append(h)
        z = correlate(net, w.ahead[l - 1], columns(net, h), layer.weight_multiplier)
        bias = w.bias[l - 1]
        if bias is not None:
            z.add_(bias.unsqueeze(1), alpha=layer.bias_multiplier)
        h, *slope = derivatives(net.activation, z.view(len(x), net.width, *net.image[:2]), highest)
        slopes += slope
    features = h.mean(dim=(2, 3)) if net.readout == "global_average" else h.flatten(1)
    layer, bias = net.layers[-1], w.bias[-1]
    g = torch.mm(features, w.readout.flatten(1).T).mul_(layer.weight_multiplier)
    return Activations(maps, slopes, features, g if bias is None else g.add_(bias, alpha=layer.bias_multiplier))


def readout_scale(net: Convolutional) -> float:
    """What a weight of the readout is multiplied with at one position."""
    return net.layers[-1].weight_multiplier / (net.positions if net.readout == "global_average" else 1)


def outputs(net: Convolutional, theta: Tensors, x: Tensor) -> Tensor:
    """Outputs `f` of the seeds, (S, n, O), for x of shape (B, n, d)."""
    rows = chunk_rows(net, x)
    networks = [weights(net, theta, b) for b in range(len(x))]
    found = [
        torch.cat([propagate(net, w, points, highest=0).g for points in own.split(rows)])
        for w, own in zip(networks, x, strict=True)
    ]
    return combine_copies(net, torch.stack(found))


def chunk_rows(net: Convolutional, x: Tensor) -> int:
    """Points whose stacks and maps stay in the cache."""
    largest = max(layer.fan_in // KERNEL for layer in net.layers[:-1]) + 3 * net.width
    return max(1, cache_bytes(x.device) // (x.itemsize * largest * net.positions))


def pull_back(net: Convolutional, w: Weights, slopes: list[Tensor], top: Tensor) -> list[Tensor]:
    """`[delta_1, ..., delta_{L-1}]`, each (n, C, p), for signals at the readout's input, (n or 1, C, p or 1)."""
    back = [slopes[-1].flatten(2) * top]
    for l in range(net.depth - 1, 0, -1):
        stack = columns(net, back[-1].view(slopes[l].shape))
        back.append(correlate(net, w.back[l], stack, net.layers[l].weight_multiplier).mul_(slopes[l - 1].flatten(2)))
    return back[::-1]


def write_slope(net: Convolutional, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
    """As `network.write_slope`: seed by seed, in pieces of points whose gradients are summed."""
    n, rows = x.shape[1], chunk_rows(net, x)
    for view in slope.values():
        view.zero_()
    for s in range(len(x) // net.copies):
        entries = range(s * net.copies, (s + 1) * net.copies)
        networks = [weights(net, theta, b) for b in entries]
        for start in range(0, n, rows):
            piece = slice(start, start + rows)
            passes = [propagate(net, w, x[b, piece], highest=1) for b, w in zip(entries, networks, strict=True)]
            residual = combine_copies(net, torch.stack([found.g for found in passes])) - y[s, piece]
            tops = split_copies(net, residual * (-net.mobility / n))
            for b, w, found, top in zip(entries, networks, passes, tops, strict=True):
                _add_slope(net, w, found, top, {name: views[b] for name, views in slope.items()})


def _add_slope(net: Convolutional, w: Weights, found: Activations, top: Tensor, slope: Tensors) -> None:
    """Add the gradients of one network, for signals `top` (n, O) at its outputs, to `slope`."""
    layer, by_output = net.layers[-1], w.readout.flatten(1)
    gradient = torch.mm(top.T, found.features).view(w.readout.shape).transpose(1, 2).flatten(1)
    slope[f"W{net.depth + 1}"].add_(gradient, alpha=layer.weight_multiplier)
    signal = torch.mm(top, by_output).mul_(readout_scale(net)).view(len(top), net.width, -1)
    signals = [*pull_back(net, w, found.slopes, signal), top.unsqueeze(-1)]
    for l, signal in enumerate(signals, start=1):
        if net.bias_variance > 0:
            slope[f"b{l}"].add_(signal.sum((0, 2)), alpha=net.layers[l - 1].bias_multiplier)
    for l, maps in enumerate(found.maps, start=1):
        stack = columns(net, maps)
        by_row = slope[f"W{l}"].view(net.width, KERNEL, -1).unbind(1)
        for row, gradient in zip(WINDOW_ROWS, by_row, strict=True):
            gradient.addbmm_(signals[l - 1], seen(net, stack, row).mT, alpha=net.layers[l - 1].weight_multiplier)


def floats_per_point(net: Convolutional, arrays: int) -> int:
    """As `network.floats_per_point`: maps, and a stack of the largest."""
    stack = KERNEL * max(net.width, net.image[2])
    maps = net.positions * (arrays * net.depth * net.width + stack)
    return net.copies * (net.input_dim + maps + arrays * net.output_dim)
