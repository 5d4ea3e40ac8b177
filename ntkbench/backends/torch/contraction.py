"""K3 and K4 contracted with basis vectors in every slot but the first, without a kernel of three slots.

Every output of a point is a point of its own here, (x_a, o), of the function `f_o(x_a)`. The directions
`v_i = sum_c u_ci grad f_c` move with the parameters. With `H_a`, `T_a` the second and third derivative of `f_a`,
`H_l`, `T_l` those of `sum_b u_bl f_b`, and `z_li = H_l v_i` the response of `v_l` to a step along `v_i`,

    K3[a, l, i]    = v_l . (H_a v_i) + g_a . z_li
    K4[a, l, i, j] = T_a(v_l, v_i, v_j) + z_lj . (H_a v_i) + z_li . (H_a v_j) + z_ij . (H_a v_l) + g_a . y_lij
    y_lij          = T_l(v_i, v_j) + H_l z_ij = D_j D_i v_l

with l, i, j in the slots b, c, d. Rows a respond to first order only (the 2n+1 rule), and `z . (H_a v)` takes one product of
the matrices z with the signals of a. The last term is `sum_b u_bl g_a . (D_j D_i g_b)`: gradients at a point are of rank one
per layer, so that responses of the points b meet the signals of the rows in Gram matrices, those of activations being shared
by all outputs. There are O(k^2) matrix products.

Indices: B seeds times copies; i, j, l, p directions; o, q outputs of rows a and of points b; u units. Signals and responses are
those of `dense_responses`, and kernels (B, o, a, directions).
"""

from collections.abc import Iterator

import torch

from ntkbench.backends.torch.dense_responses import Points, Steps, respond, respond_again, signals, steps_again, steps_along
from ntkbench.backends.torch.higher_orders import Jet
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies, floats_per_point
from ntkbench.networks import FullyConnected

GRAM_BYTES = 2**24
"""Size of the blocks of Gram matrices: they are met elementwise, which is fast where they stay in a cache."""


def kernels(
    net: FullyConnected, theta: Tensors, rows: Tensor, x: Tensor, basis: Tensor, order: int, budget: int
) -> dict[int, Tensor]:
    """`{3: (S, n1 O, k, k)}` and for order 4 also `{4: (S, n1 O, k, k, k)}`.

    Args:
        rows: (B, n1, d). x: (B, n, d). basis: (B, n O, k).
        budget: bytes for temporaries, at least those that `bytes_per_seed` counts for one row.
    """
    seeds, count, (_, n, _), k = len(x) // net.copies, rows.shape[1], x.shape, basis.shape[-1]
    block = count
    while block > 1 and seeds * bytes_per_seed(net, block, n, k, order, x.element_size()) > budget:
        block = (block + 1) // 2
    basis = basis.view(len(x), n, -1, k).transpose(1, 2).contiguous()
    span = torch.linalg.qr(x.mT).Q if n < net.input_dim else None
    points = _linearized(net, theta, x, span)
    steps = steps_along(net, points, basis)
    respond(net, theta, points, steps)
    found = (_linearized(net, theta, rows[:, i : i + block], span) for i in range(0, count, block))
    blocks = [_kernels(net, theta, one, points, steps, basis, order) for one in found]
    return {
        r: combine_copies(net, _by_row([found[r] for found in blocks]), power=r).mul_(net.mobility ** (r - 1))
        for r in range(3, order + 1)
    }


def _linearized(net: FullyConnected, theta: Tensors, x: Tensor, span: Tensor | None) -> Points:
    """Signals at x, with coordinates in place of inputs: all directions move `W_1` within the span (B, d, n) of the points."""
    found = signals(net, theta, x)
    if span is not None:
        found.hidden[0] = [x @ span]
    return found


def _by_row(blocks: list[Tensor]) -> Tensor:
    """(B, o, a, directions) in blocks of rows to (B, (a, o), directions)."""
    return torch.cat([block.transpose(1, 2) for block in blocks], dim=1).flatten(1, 2)


def bytes_per_seed(net: FullyConnected, rows: int, points: int, directions: int, order: int, itemsize: int) -> int:
    """Temporaries for one seed, its parameters counted, if it works in blocks of so many rows."""
    outputs = net.output_dim
    per_direction = net.width * (2 * net.depth + 1 + outputs * (2 * net.depth + 2))
    responses = net.copies * directions * per_direction * (rows + (order - 2) * points)
    steps = (1 if order == 3 else 3) * directions * net.parameter_count
    kernels = 4 * net.copies * rows * outputs * int(directions ** (order - 1))
    held = outputs * (rows + points) * floats_per_point(net, arrays=8)
    one_row = directions * net.depth * points * outputs**2
    grams = 6 * net.copies * max(min(GRAM_BYTES // itemsize, rows * one_row), one_row)
    return itemsize * (net.parameter_count + responses + steps + kernels + held + grams)


def _kernels(
    net: FullyConnected, theta: Tensors, found: Points, points: Points, steps: Steps, basis: Tensor, order: int
) -> dict[int, Tensor]:
    """The contracted kernels of the copies for a block of rows, before weights and mobility."""
    respond(net, theta, found, steps)
    responses = [jet[1] for jet in points.hidden[1:]], [jet[1] for jet in points.back[:-1]]
    kernels = {3: _hessian_products(net, found, steps) + _gradient_products(net, found, points, *responses, basis)}
    if order == 4:
        kernels[4] = _cross_products(net, found, points, basis)
        weights = [_triple_weights(*layer) for layer in zip(found.slopes, found.z, found.upstream, strict=True)]
        for i in range(basis.shape[-1]):
            again = steps_again(net, points, basis, i)
            responses = respond_again(net, theta, points, steps, again, i)
            kernels[4][..., i, :] += _gradient_products(net, found, points, *responses, basis)
            # z_ir . (H_a v_p) and, of the terms of T_a, those with v_i in the middle, both (B, o, a, p, r).
            curvature, triples = _hessian_products(net, found, again), _triples(net, found, weights, steps, i)
            triples = triples + triples.mT
            kernels[4][..., i, :, :] += curvature + curvature.mT + triples
            kernels[4][..., i, :] += curvature + triples
            kernels[4][..., i] += triples
    return kernels


def _hessian_products(net: FullyConnected, found: Points, steps: Steps) -> Tensor:
    """`s_r . (H_a v_p)` for the steps s_r, (B, o, a, p, r)."""
    terms = []
    for l in range(1, net.depth + 2):
        for response in found.back[l - 1][1:]:
            terms.append(_per_point(response, steps.push(l, found.hidden[l - 1][0]).unsqueeze(2)))
        for response in found.hidden[l - 1][1:]:
            terms.append(_per_point(response.unsqueeze(2), steps.pull(l, found.back[l - 1][0])))
    return torch.stack(terms).sum(0)


def _per_point(x: Tensor, y: Tensor) -> Tensor:
    """Scalar products over units of x (B, p, o, a, u) and y (B, r, o, a, u): (B, o, a, p, r); outputs broadcast."""
    return torch.matmul(x.movedim(1, -2), y.movedim(1, -1))


def _triple_weights(slopes: tuple[Tensor, ...], z: Jet, upstream: Jet) -> Tensor:
    """What meets the products of two `z^{a|i}` at a layer: each unordered triple comes three times in six orders."""
    _, curvature, third = slopes
    weights = upstream[1] * (0.5 * curvature)[:, None, None]
    return weights.addcmul_(z[1].unsqueeze(2), (third.unsqueeze(1) * upstream[0]).unsqueeze(1), value=1 / 6)


def _triples(net: FullyConnected, found: Points, weights: list[Tensor], steps: Steps, i: int) -> Tensor:
    """Terms (B, o, a, p, r) whose sum over the orders of (p, i, r) is `T_a(v_p, v_i, v_r)`."""
    one = slice(i, i + 1)
    terms = [_per_point(weight, (z[1][:, one] * z[1]).unsqueeze(2)) for weight, z in zip(weights, found.z, strict=True)]
    for l in range(2, net.depth + 1):
        pushed = torch.matmul(found.hidden[l - 1][1], steps.weight[l - 1][:, one].mT)
        terms.append(_per_point(found.back[l - 1][1], pushed.unsqueeze(2)))
    return torch.stack(terms).sum(0)


def _gradient_products(
    net: FullyConnected, found: Points, points: Points, hidden: list[Tensor], back: list[Tensor], basis: Tensor
) -> Tensor:
    """`sum_b u_bl g_a . g'_b`, (B, o, a, l, i), for responses g' of the points' gradients.

    Args:
        hidden: responses of `h_1, ..., h_{L-1}`, (B, i, b, u); back: of `delta_1, ..., delta_{L-1}`, (B, i, q, b, u).
        basis: (B, q, b, l).
    """
    parts = []
    for rows in _gram_blocks(found, points, hidden[0].shape[1]):
        for l in range(1, net.depth + 1):
            h, delta = found.hidden[l - 1][0][:, rows], found.back[l - 1][0][:, :, rows]
            layer = net.layers[l - 1]
            forward = torch.bmm(h, points.hidden[l - 1][0].mT).mul_(layer.weight_multiplier**2).add_(layer.bias_multiplier**2)
            products = _against(delta, back[l - 1]).mul_(forward[:, None, :, None, None])
            if l == 1:
                total = products
            else:
                total += products
                backward = _against(delta, points.back[l - 1][0].unsqueeze(1)).mul_(layer.weight_multiplier**2)
                total.addcmul_(_against(h, hidden[l - 2])[:, None, :, :, None], backward)
        parts.append(_summed(total, basis))
    # The readout's back-propagated signal is the same everywhere: its sum over b comes first, for each output alone.
    summed = torch.matmul(basis.mT.unsqueeze(2), hidden[-1].unsqueeze(1))
    readout = _against(found.hidden[-1][0], summed.transpose(1, 2)).mul_(net.layers[-1].weight_multiplier ** 2)
    return torch.cat(parts, dim=2) + readout.permute(0, 3, 1, 4, 2)


def _cross_products(net: FullyConnected, found: Points, points: Points, basis: Tensor) -> Tensor:
    """The terms of `g_a . y_lij` in which both factors of a gradient respond, one to i and one to j: (B, o, a, l, i, j)."""
    parts = []
    for rows in _gram_blocks(found, points, basis.shape[-1] * net.depth):
        grams = [
            (
                _against(delta[0][:, :, rows], delta_b[1]),
                _against(h[0][:, rows], h_b[1]).mul_(layer.weight_multiplier**2)[:, None, :, :, None],
            )
            for layer, delta, h, delta_b, h_b in zip(
                net.layers[1:-1], found.back[1:-1], found.hidden[1:-1], points.back[1:-1], points.hidden[1:-1], strict=True
            )
        ]
        count = len(range(*rows.indices(found.hidden[0][0].shape[1])))
        along = []
        for i in range(basis.shape[-1]):
            one = slice(i, i + 1)
            both = basis.new_zeros(len(basis), net.output_dim, count, basis.shape[-1], *basis.shape[1:3])
            for back, hidden in grams:
                both.addcmul_(back[:, :, :, one], hidden).addcmul_(back, hidden[:, :, :, one])
            along.append(_summed(both, basis))
        parts.append(torch.stack(along, dim=4))
    return torch.cat(parts, dim=2)


def _summed(products: Tensor, basis: Tensor) -> Tensor:
    """Over the points with their weights, (B, o, a, i, q, b) with (B, q, b, l) to (B, o, a, l, i)."""
    found = torch.bmm(products.flatten(1, 3).flatten(2), basis.flatten(1, 2))
    return found.view(*products.shape[:4], -1).mT


def _against(signal: Tensor, response: Tensor) -> Tensor:
    """Scalar products over units of signals (B, .., u) and responses (B, *, u): (B, .., *)."""
    found = torch.bmm(signal.flatten(1, -2), response.flatten(1, -2).mT)
    return found.view(*signal.shape[:-1], *response.shape[1:-1])


def _gram_blocks(found: Points, points: Points, arrays: int) -> Iterator[slice]:
    """Blocks of rows whose Gram matrices with `arrays` responses of the points have about `GRAM_BYTES` bytes."""
    rows, x, outputs = found.hidden[0][0], points.hidden[0][0], points.back[0][0].shape[1]
    size = max(1, GRAM_BYTES // (len(x) * arrays * x.shape[1] * outputs**2 * x.element_size()))
    for i in range(0, rows.shape[1], size):
        yield slice(i, i + size)
