"""The empirical NTK of fully connected networks, layer by layer.

The gradient of one output with respect to `W_l` is the rank-one matrix `c_l delta_l h_{l-1}^T`, so the kernel is a sum of
elementwise products of two Gram matrices per layer, and no Jacobian is ever formed. Several outputs share the activations:
`full` takes the signals of all outputs as further points, `trace` strings them together as further units. Of a symmetric
kernel one triangle is computed, in stripes of rows that stay in the processor's cache while the layers are summed.
"""

import torch

from ntkbench.backends.torch.network import Tensor, Tensors, output_signals, propagate, scaled_product
from ntkbench.backends.torch.tiles import Tile, stripes
from ntkbench.networks import Network

Signals = tuple[list[Tensor], list[Tensor]]
"""`[h_0, ..., h_{L-1}]`, each (B, n, m_l), and `[delta_1, ..., delta_{L-1}]`, each (B, G, n, k): G groups of outputs."""


def write_kernels(net: Network, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor) -> None:
    """Write the kernels of the copies, times the mobility, to `total` (B, G, n1, G, n2); the upper triangle if x2 is None.

    That of a copy is `mobility * sum_l (delta_l . delta_l') (c_l^2 h_{l-1} . h_{l-1}' + e_l^2)`.
    """
    _, groups, rows1, _, rows2 = total.shape
    signals1 = _signals(net, theta, x1, groups)
    signals2 = signals1 if x2 is None else _signals(net, theta, x2, groups)
    for tile in stripes(rows1, rows2, groups, x2 is None, x1.device):
        _write_stripe(net, signals1, signals2, tile, total[:, :, tile[0], :, tile[1]])


def _signals(net: Network, theta: Tensors, x: Tensor, groups: int) -> Signals:
    hidden, slopes, _ = propagate(net, theta, x, highest=1)
    back = output_signals(net, theta, slopes)
    if groups == 1 < net.output_dim:
        back = [signal.transpose(1, 2).flatten(2).unsqueeze(1) for signal in back]
    return hidden, back


def _write_stripe(net: Network, signals1: Signals, signals2: Signals, tile: Tile, out: Tensor) -> None:
    """Write rows and columns `tile` of the copies' kernels into `out`, (B, G, n1, G, n2)."""
    (hidden1, back1), (hidden2, back2), (i, j) = signals1, signals2, tile
    readout = _forward_gram(net, net.depth + 1, hidden1[-1][:, i], hidden2[-1][:, j])
    groups = out.shape[1]
    if groups == 1:
        torch.mul(readout, net.output_dim, out=out[:, 0, :, 0])
    else:
        out.zero_().diagonal(dim1=1, dim2=3).copy_(readout.unsqueeze(-1))
    for l in range(net.depth, 0, -1):
        forward = _forward_gram(net, l, hidden1[l - 1][:, i], hidden2[l - 1][:, j])
        rows, columns = back1[l - 1][:, :, i].flatten(1, 2), back2[l - 1][:, :, j].flatten(1, 2)
        out.addcmul_(torch.bmm(rows, columns.mT).view(out.shape), forward[:, None, :, None])


def _forward_gram(net: Network, l: int, h1: Tensor, h2: Tensor) -> Tensor:
    """`mobility * (c_l^2 h_{l-1} . h_{l-1}' + e_l^2)`, (B, n1, n2)."""
    layer = net.layers[l - 1]
    gram = scaled_product(h1, h2.mT, net.mobility * layer.weight_multiplier**2)
    return gram.add_(net.mobility * layer.bias_multiplier**2) if layer.bias_multiplier else gram
