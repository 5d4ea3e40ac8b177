"""K3 and K4 contracted with basis vectors in every slot but the first, without a kernel of three slots.

The directions `v_i = sum_c u_ci grad f_c` move with the parameters. With `H_a`, `T_a` the second and third derivative of `f_a`,
`H_l`, `T_l` those of `sum_b u_bl f_b`, and `z_li = H_l v_i` the response of `v_l` to a step along `v_i`,

    K3[a, l, i]    = v_l . (H_a v_i) + g_a . z_li
    K4[a, l, i, j] = T_a(v_l, v_i, v_j) + z_lj . (H_a v_i) + z_li . (H_a v_j) + z_ij . (H_a v_l) + g_a . y_lij
    y_lij          = T_l(v_i, v_j) + H_l z_ij = D_j D_i v_l

with l, i, j in the slots b, c, d. Rows a respond to first order only (the 2n+1 rule), and `z . (H_a v)` takes one product of
the matrices z with the signals of a. The last term is `sum_b u_bl g_a . (D_j D_i g_b)`: gradients at a point are of rank one
per layer, so that responses of the points b meet the signals of the rows in Gram matrices. There are O(k^2) matrix products.

Indices: B seeds times copies; i, j, l, p directions; a rows; b points; u units. Responses are jets, (B, direction, point, u).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ntkbench.backends.torch.higher_orders import Jet, Responses, affine_response, pull_back_response, signals
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies, floats_per_point
from ntkbench.networks import FullyConnected

GRAM_BYTES = 2**24
"""Size of the blocks of Gram matrices: they are met elementwise, which is fast where they stay in a cache."""


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
        """What each step adds to `z_l` of points with `h_{l-1}` (B, points, u)."""
        pushed = torch.matmul(hidden.unsqueeze(1), self.weight[l - 1].mT)
        bias = self.bias[l - 1]
        return pushed if bias is None else pushed.add_(bias)

    def pull(self, l: int, back: Tensor) -> Tensor:
        """What each step adds to `c_l W_l^T delta_l`."""
        return torch.matmul(back.unsqueeze(1), self.weight[l - 1])


def kernels(
    net: FullyConnected, theta: Tensors, rows: Tensor, x: Tensor, basis: Tensor, order: int, budget: int
) -> dict[int, Tensor]:
    """`{3: (S, n1, k, k)}` and for order 4 also `{4: (S, n1, k, k, k)}`.

    Args:
        rows: (B, n1, d). x: (B, n, d). basis: (B, n, k).
        budget: bytes for temporaries, at least those that `bytes_per_seed` counts for one row.
    """
    seeds, count = len(x) // net.copies, rows.shape[1]
    _, n, k = basis.shape
    block = count
    while block > 1 and seeds * bytes_per_seed(net, block, n, k, order, x.element_size()) > budget:
        block = (block + 1) // 2
    points = signals(net, theta, x, 1)
    steps = _steps(net, points, basis)
    _respond(net, theta, points, steps)
    blocks = [_kernels(net, theta, rows[:, i : i + block], points, steps, basis, order) for i in range(0, count, block)]
    return {
        r: combine_copies(net, torch.cat([found[r] for found in blocks], dim=1), power=r).mul_(net.mobility ** (r - 1))
        for r in range(3, order + 1)
    }


def bytes_per_seed(net: FullyConnected, rows: int, points: int, directions: int, order: int, itemsize: int) -> int:
    """Temporaries for one seed, its parameters counted, if it works in blocks of so many rows."""
    responses = net.copies * directions * net.width * (4 * net.depth + 3) * (rows + (order - 2) * points)
    steps = (1 if order == 3 else 3) * directions * net.parameter_count
    kernels = 4 * net.copies * rows * int(directions ** (order - 1))
    held = (rows + points) * floats_per_point(net, arrays=8)
    one_row = directions * net.depth * points
    grams = 6 * net.copies * max(min(GRAM_BYTES // itemsize, rows * one_row), one_row)
    return itemsize * (net.parameter_count + responses + steps + kernels + held + grams)


def _kernels(
    net: FullyConnected, theta: Tensors, rows: Tensor, points: Responses, steps: Steps, basis: Tensor, order: int
) -> dict[int, Tensor]:
    """The contracted kernels of the copies for a block of rows, before weights and mobility."""
    found = signals(net, theta, rows, 1)
    _respond(net, theta, found, steps)
    responses = [jet[1] for jet in points.hidden[1:]], [jet[1] for jet in points.back[:-1]]
    kernels = {3: _hessian_products(net, found, steps) + _gradient_products(net, found, points, *responses, basis)}
    if order == 4:
        kernels[4] = _cross_products(net, found, points, basis)
        weights = [_triple_weights(*jets) for jets in zip(found.slopes, found.z, found.upstream, strict=True)]
        for i in range(basis.shape[-1]):
            again = _steps_again(net, points, basis, i)
            responses = _respond_again(net, theta, points, steps, again, i)
            kernels[4][:, :, :, i] += _gradient_products(net, found, points, *responses, basis)
            # z_ir . (H_a v_p) and, of the terms of T_a, those with v_i in the middle, both (B, a, p, r).
            curvature, triples = _hessian_products(net, found, again), _triples(net, found, weights, steps, i)
            triples = triples + triples.mT
            kernels[4][:, :, i] += curvature + curvature.mT + triples
            kernels[4][:, :, :, i] += curvature + triples
            kernels[4][..., i] += triples
    return kernels


def _steps(net: FullyConnected, points: Responses, basis: Tensor) -> Steps:
    """`v_i`."""
    steps = Steps([], [])
    for layer, (hidden, *_), (back, *_) in zip(net.layers, points.hidden, points.back, strict=True):
        weighted = back.unsqueeze(1) * basis.mT.unsqueeze(-1)
        steps.weight.append(torch.matmul(weighted.mT, hidden.unsqueeze(1)).mul_(layer.weight_multiplier**2))
        steps.bias.append(weighted.sum(2, keepdim=True) * layer.bias_multiplier**2 if net.bias_variance > 0 else None)
    return steps


def _steps_again(net: FullyConnected, points: Responses, basis: Tensor, i: int) -> Steps:
    """`z_ij` for all j."""
    steps = Steps([], [])
    weights = basis[:, :, i : i + 1]
    for layer, (hidden, *hidden_response), (back, *back_response) in zip(net.layers, points.hidden, points.back, strict=True):
        weight = hidden.new_zeros(())
        bias = None
        for response in hidden_response:
            weight = torch.matmul((weights * back).mT.unsqueeze(1), response)
        for response in back_response:
            weighted = response * weights.unsqueeze(1)
            weight = weight + torch.matmul(weighted.mT, hidden.unsqueeze(1))
            bias = weighted.sum(2, keepdim=True) * layer.bias_multiplier**2 if net.bias_variance > 0 else None
        steps.weight.append(weight * layer.weight_multiplier**2)
        steps.bias.append(bias)
    return steps


def _respond(net: FullyConnected, theta: Tensors, found: Responses, steps: Steps) -> None:
    """Appends first-order responses along `steps` to the jets of `found`."""
    for l in range(1, net.depth + 1):
        hidden = found.hidden[l - 1]
        moved = steps.push(l, hidden[0])
        if len(hidden) > 1:
            moved += affine_response(net, theta, l, hidden[1])
        found.z[l - 1].append(moved)
        found.hidden[l].append(found.slopes[l - 1][1][0].unsqueeze(1) * moved)
    for l in range(net.depth, 0, -1):
        back, upstream, (_, slope, curvature, *_) = found.back[l], found.upstream[l - 1], found.slopes[l - 1]
        moved = steps.pull(l + 1, back[0])
        if len(back) > 1:
            moved += pull_back_response(net, theta, l + 1, back[1])
        upstream.append(moved)
        response = found.z[l - 1][1] * (curvature[0] * upstream[0]).unsqueeze(1)
        found.back[l - 1].append(response.addcmul_(slope[0].unsqueeze(1), moved))


def _respond_again(
    net: FullyConnected, theta: Tensors, points: Responses, steps: Steps, again: Steps, i: int
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
        _, slope, curvature, _ = (jet[0].unsqueeze(1) for jet in points.slopes[l - 1])
        first = points.z[l - 1][1]
        moved.append(z)
        hidden.append((slope * z).addcmul_(curvature * first[:, one], first))
    back: list[Tensor] = []
    for l in range(net.depth, 0, -1):
        u = again.pull(l + 1, points.back[l][0])
        for response in points.back[l][1:]:
            u += torch.matmul(response, steps.weight[l][:, one])
            u += torch.matmul(response[:, one], steps.weight[l])
            u += pull_back_response(net, theta, l + 1, back[0])
        _, slope, curvature, third = (jet[0].unsqueeze(1) for jet in points.slopes[l - 1])
        first, (upstream, upstream_first) = points.z[l - 1][1], points.upstream[l - 1]
        upstream = upstream.unsqueeze(1)
        delta = (slope * u).addcmul_(curvature * upstream, moved[l - 1])
        delta.addcmul_(curvature * first[:, one], upstream_first).addcmul_(curvature * upstream_first[:, one], first)
        back.insert(0, delta.addcmul_(third * upstream * first[:, one], first))
    return hidden, back


def _hessian_products(net: FullyConnected, found: Responses, steps: Steps) -> Tensor:
    """`s_r . (H_a v_p)` for the steps s_r, (B, a, p, r)."""
    terms = []
    for l in range(1, net.depth + 2):
        terms += [_per_point(response, steps.push(l, found.hidden[l - 1][0])) for response in found.back[l - 1][1:]]
        terms += [_per_point(response, steps.pull(l, found.back[l - 1][0])) for response in found.hidden[l - 1][1:]]
    return torch.stack(terms).sum(0)


def _per_point(x: Tensor, y: Tensor) -> Tensor:
    """Scalar products over units of x (B, p, a, u) and y (B, r, a, u): (B, a, p, r)."""
    return torch.matmul(x.transpose(1, 2), y.permute(0, 2, 3, 1))


def _triple_weights(slopes: list[Jet], z: Jet, upstream: Jet) -> Tensor:
    """What meets the products of two `z^{a|i}` at a layer: each unordered triple comes three times in six orders."""
    weights = upstream[1] * (0.5 * slopes[2][0]).unsqueeze(1)
    return weights.addcmul_(z[1], (slopes[3][0] * upstream[0]).unsqueeze(1), value=1 / 6)


def _triples(net: FullyConnected, found: Responses, weights: list[Tensor], steps: Steps, i: int) -> Tensor:
    """Terms (B, a, p, r) whose sum over the orders of (p, i, r) is `T_a(v_p, v_i, v_r)`."""
    one = slice(i, i + 1)
    terms = [_per_point(weight, z[1][:, one] * z[1]) for weight, z in zip(weights, found.z, strict=True)]
    for l in range(2, net.depth + 1):
        pushed = torch.matmul(found.hidden[l - 1][1], steps.weight[l - 1][:, one].mT)
        terms.append(_per_point(found.back[l - 1][1], pushed))
    return torch.stack(terms).sum(0)


def _gradient_products(
    net: FullyConnected, found: Responses, points: Responses, hidden: list[Tensor], back: list[Tensor], basis: Tensor
) -> Tensor:
    """`sum_b u_bl g_a . g'_b`, (B, a, l, i), for responses g' of the points' gradients.

    Args:
        hidden: responses of `h_1, ..., h_{L-1}`, and back: of `delta_1, ..., delta_{L-1}`, (B, i, b, u).
    """
    parts = []
    for rows in _gram_blocks(found, points, hidden[0].shape[1]):
        for l in range(1, net.depth + 1):
            h, delta = found.hidden[l - 1][0][:, rows], found.back[l - 1][0][:, rows]
            layer = net.layers[l - 1]
            forward = torch.bmm(h, points.hidden[l - 1][0].mT).mul_(layer.weight_multiplier**2).add_(layer.bias_multiplier**2)
            products = _against(delta, back[l - 1]).mul_(forward.unsqueeze(2))
            if l == 1:
                total = products
            else:
                total += products
                backward = torch.bmm(delta, points.back[l - 1][0].mT).mul_(layer.weight_multiplier**2)
                total.addcmul_(_against(h, hidden[l - 2]), backward.unsqueeze(2))
        parts.append(torch.matmul(total, basis.unsqueeze(1)).mT)
    # The readout's back-propagated signal is one everywhere: its sum over b comes first.
    summed = torch.matmul(basis.mT.unsqueeze(1), hidden[-1])
    readout = torch.matmul(found.hidden[-1][0], summed.flatten(1, 2).mT).mul_(net.layers[-1].weight_multiplier ** 2)
    return torch.cat(parts, dim=1) + readout.view(*readout.shape[:2], *summed.shape[1:3]).mT


def _cross_products(net: FullyConnected, found: Responses, points: Responses, basis: Tensor) -> Tensor:
    """The terms of `g_a . y_lij` in which both factors of a gradient respond, one to i and one to j: (B, a, l, i, j)."""
    parts, count = [], found.hidden[0][0].shape[1]
    for rows in _gram_blocks(found, points, basis.shape[-1] * net.depth):
        grams = [
            (_against(delta[0][:, rows], delta_b[1]), _against(h[0][:, rows], h_b[1]).mul_(layer.weight_multiplier**2))
            for layer, delta, h, delta_b, h_b in zip(
                net.layers[1:-1], found.back[1:-1], found.hidden[1:-1], points.back[1:-1], points.hidden[1:-1], strict=True
            )
        ]
        along = []
        for i in range(basis.shape[-1]):
            one = slice(i, i + 1)
            both = basis.new_zeros(len(basis), len(range(*rows.indices(count))), basis.shape[-1], basis.shape[1])
            for back, hidden in grams:
                both.addcmul_(back[:, :, one], hidden).addcmul_(back, hidden[:, :, one])
            along.append(torch.matmul(both, basis.unsqueeze(1)).mT)
        parts.append(torch.stack(along, dim=3))
    return torch.cat(parts, dim=1)


def _against(signal: Tensor, response: Tensor) -> Tensor:
    """Scalar products of signals (B, a, u) and responses (B, i, b, u): (B, a, i, b)."""
    return torch.bmm(signal, response.flatten(1, 2).mT).view(*signal.shape[:2], *response.shape[1:3])


def _gram_blocks(found: Responses, points: Responses, arrays: int) -> Iterator[slice]:
    """Blocks of rows whose Gram matrices with `arrays` responses of the points have about `GRAM_BYTES` bytes."""
    rows, x = found.hidden[0][0], points.hidden[0][0]
    size = max(1, GRAM_BYTES // (len(x) * arrays * x.shape[1] * x.element_size()))
    for i in range(0, rows.shape[1], size):
        yield slice(i, i + size)
