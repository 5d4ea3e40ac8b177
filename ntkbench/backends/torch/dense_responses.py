"""Responses of activations and back-propagated signals to steps of the parameters along a few directions.

`delta_l^{a,o}` is the signal of output o alone at point a: `delta_L` is the o-th unit vector, and does not respond. The
directions `v_i = sum_{b,o} u_{(b,o),i} grad f_o(x_b)` move with the parameters. Signals of all outputs share the activations,
and meet them only after the outputs are summed over with the weights u where a sum is asked for.

Axes: B seeds times copies; i, j directions; o outputs; n points; u units. Activations are (B, n, u), signals (B, o, n, u), and
responses have directions behind B. Jets end where the rest is zero (the inputs, `delta_L`).
"""

from dataclasses import dataclass

import torch

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.higher_orders import Jet, affine_response, pull_back_response
from ntkbench.backends.torch.network import Tensor, Tensors, affine
from ntkbench.networks import FullyConnected


@dataclass(frozen=True)
class Points:
    """Jets of one copy's points; lists run over the layers l = 1..L, those marked * over the hidden ones.

    Attributes:
        hidden: `h_{l-1}`; z*: `z_l`; slopes*: the first three derivatives of the activation at `z_l`;
            back: `delta_l`; upstream*: `c_{l+1} W_{l+1}^T delta_{l+1}`.
    """

    hidden: list[Jet]
    z: list[Jet]
    slopes: list[tuple[Tensor, ...]]
    back: list[Jet]
    upstream: list[Jet]


@dataclass(frozen=True)
class Steps:
    """Steps of the parameters along several directions, per layer l = 1..L, as changes of `c_l W_l` and of `e_l b_l`.

    Attributes:
        weight: (B, directions, m_l, m_{l-1}).
        bias: (B, directions, 1, m_l); None without biases.
    """

    weight: list[Tensor]
    bias: list[Tensor | None]

    def push(self, l: int, hidden: Tensor) -> Tensor:
        """What each step adds to `z_l` of points with `h_{l-1}` (B, n, u)."""
        pushed = torch.matmul(hidden.unsqueeze(1), self.weight[l - 1].mT)
        bias = self.bias[l - 1]
        return pushed if bias is None else pushed.add_(bias)

    def pull(self, l: int, back: Tensor) -> Tensor:
        """What each step adds to `c_l W_l^T delta_l`, (B, directions, o, n, u)."""
        return _pulled(back.unsqueeze(1), self.weight[l - 1])


def signals(net: FullyConnected, theta: Tensors, x: Tensor) -> Points:
    """Jets of order 0 at x, (B, n, d)."""
    found = Points([[x]], [], [], [], [])
    for l in range(1, net.depth + 1):
        z = affine(net, theta, l, found.hidden[-1][0])
        h, *slopes = derivatives(net.activation, z, 3)
        found.z.append([z])
        found.slopes.append(tuple(slopes))
        found.hidden.append([h])
    units = torch.eye(net.output_dim, dtype=x.dtype, device=x.device).unsqueeze(1)
    found.back.append([units.expand(len(x), -1, x.shape[1], -1)])
    for l in range(net.depth, 0, -1):
        upstream = pull_back_response(net, theta, l + 1, found.back[0][0])
        found.upstream.insert(0, [upstream])
        found.back.insert(0, [upstream * found.slopes[l - 1][0].unsqueeze(1)])
    return found


def steps_along(net: FullyConnected, points: Points, basis: Tensor) -> Steps:
    """`v_i`, for a basis (B, o, n, i)."""
    steps, weights = Steps([], []), basis.permute(0, 3, 1, 2)
    for layer, (hidden, *_), (back, *_) in zip(net.layers, points.hidden, points.back, strict=True):
        weighted = _over_outputs(back.unsqueeze(1), weights)
        steps.weight.append(torch.matmul(weighted.mT, hidden.unsqueeze(1)).mul_(layer.weight_multiplier**2))
        steps.bias.append(weighted.sum(2, keepdim=True) * layer.bias_multiplier**2 if net.bias_variance > 0 else None)
    return steps


def steps_again(net: FullyConnected, points: Points, basis: Tensor, i: int) -> Steps:
    """`z_ij` for all j."""
    steps, weights = Steps([], []), basis[..., i]
    for layer, (hidden, *hidden_response), (back, *back_response) in zip(net.layers, points.hidden, points.back, strict=True):
        weight = hidden.new_zeros(())
        bias = None
        for response in hidden_response:
            weight = torch.matmul(_over_outputs(back, weights).mT.unsqueeze(1), response)
        for response in back_response:
            weighted = _over_outputs(response, weights.unsqueeze(1))
            weight = weight + torch.matmul(weighted.mT, hidden.unsqueeze(1))
            bias = weighted.sum(2, keepdim=True) * layer.bias_multiplier**2 if net.bias_variance > 0 else None
        steps.weight.append(weight * layer.weight_multiplier**2)
        steps.bias.append(bias)
    return steps


def respond(net: FullyConnected, theta: Tensors, found: Points, steps: Steps) -> None:
    """Appends first-order responses along `steps` to the jets of `found`."""
    for l in range(1, net.depth + 1):
        hidden = found.hidden[l - 1]
        moved = steps.push(l, hidden[0])
        if len(hidden) > 1:
            moved += affine_response(net, theta, l, hidden[1])
        found.z[l - 1].append(moved)
        found.hidden[l].append(found.slopes[l - 1][0].unsqueeze(1) * moved)
    for l in range(net.depth, 0, -1):
        back, upstream, (slope, curvature, _) = found.back[l], found.upstream[l - 1], found.slopes[l - 1]
        moved = steps.pull(l + 1, back[0])
        if len(back) > 1:
            moved += pull_back_response(net, theta, l + 1, back[1])
        upstream.append(moved)
        response = found.z[l - 1][1].unsqueeze(2) * (curvature.unsqueeze(1) * upstream[0]).unsqueeze(1)
        found.back[l - 1].append(response.addcmul_(slope[:, None, None], moved))


def respond_again(
    net: FullyConnected, theta: Tensors, points: Points, steps: Steps, again: Steps, i: int
) -> tuple[list[Tensor], list[Tensor]]:
    """`D_j D_i` of `h_1, ..., h_{L-1}` and of `delta_1, ..., delta_{L-1}` for all j."""
    one = slice(i, i + 1)
    hidden: list[Tensor] = []
    moved: list[Tensor] = []
    for l in range(1, net.depth + 1):
        z = again.push(l, points.hidden[l - 1][0])
        for response in points.hidden[l - 1][1:]:
            z += torch.matmul(response, steps.weight[l - 1][:, one].mT)
            z += torch.matmul(response[:, one], steps.weight[l - 1].mT)
            z += affine_response(net, theta, l, hidden[-1])
        slope, curvature, _ = (s.unsqueeze(1) for s in points.slopes[l - 1])
        first = points.z[l - 1][1]
        moved.append(z)
        hidden.append((slope * z).addcmul_(curvature * first[:, one], first))
    back: list[Tensor] = []
    for l in range(net.depth, 0, -1):
        u = again.pull(l + 1, points.back[l][0])
        for response in points.back[l][1:]:
            u += _pulled(response, steps.weight[l][:, one])
            u += _pulled(response[:, one], steps.weight[l])
            u += pull_back_response(net, theta, l + 1, back[0])
        slope, curvature, third = (s[:, None, None] for s in points.slopes[l - 1])
        first, (upstream, upstream_first) = points.z[l - 1][1].unsqueeze(2), points.upstream[l - 1]
        upstream = upstream.unsqueeze(1)
        delta = (slope * u).addcmul_(curvature * upstream, moved[l - 1].unsqueeze(2))
        delta.addcmul_(curvature * first[:, one], upstream_first).addcmul_(curvature * upstream_first[:, one], first)
        back.insert(0, delta.addcmul_(third * upstream * first[:, one], first))
    return hidden, back


def _pulled(back: Tensor, weight: Tensor) -> Tensor:
    """Signals (B, i, o, n, u) through steps (B, i, u, v), either of which may have one direction alone: (B, i, o, n, v)."""
    pulled = torch.matmul(back.flatten(2, 3), weight)
    return pulled.view(*pulled.shape[:2], *back.shape[2:4], -1)


def _over_outputs(signal: Tensor, weights: Tensor) -> Tensor:
    """`sum_o weights_o signal_o`, (.., o, n, u) with (.., o, n) to (.., n, u); the first axes broadcast."""
    (signal_of_first, of_first), *others = zip(signal.unbind(-3), weights.unsqueeze(-1).unbind(-3), strict=True)
    total = signal_of_first * of_first
    for signal_of_one, of_one in others:
        total.addcmul_(signal_of_one, of_one)
    return total
