"""Kernels of the Neural Tangent Hierarchy from nested responses.

With `g_a` the gradient of the output at point a, `H_a` its Hessian, `T_a` its third derivative and `w_ac = H_a g_c`,

    K3_abc  = w_ac.g_b + w_bc.g_a
    K4_abcd = T_a(g_b, g_c, g_d) + T_b(g_a, g_c, g_d) + w_ac.w_bd + w_ad.w_bc + w_ab.w_cd + w_ba.w_cd

and all of it follows from how activations and back-propagated signals of point a respond to first order to a step along `g_c`
(the 2n+1 rule of perturbation theory: first-order responses give the third derivative). Layer l of `w_ac` is
`c_l (delta_l^{a|c} h_{l-1}^a^T + delta_l^a h_{l-1}^{a|c}^T)`, of rank two, so every scalar product is one of Gram matrices.
K5 and K6 are derivatives of that K4 along gradients that move with the parameters (Huang & Yau 2019, Theorem 2.3): the same
formula on jets, from second- and third-order responses.

Indices of the arrays: B seeds times copies; a, b the points of the kernel's first two slots; c, d, i, j, k directions; u units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch

from ntkbench.backends.torch.higher_orders import Jet, Responses, dots, response_jet, responses, times
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies, floats_per_point
from ntkbench.hierarchy import right_hand_side, runge_kutta_step
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected


@dataclass(frozen=True)
class Grams:
    """Jets of the scalar products at one layer, with own axes in brackets.

    Attributes:
        forward: `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2` (a, b); back: `delta_l^a . delta_l^b` (a, b).
        forward_response: `c_l^2 h_{l-1}^{a|c} . h_{l-1}^b` (c, a, b); back_response: `delta_l^{a|c} . delta_l^b` (c, a, b).
    """

    forward: Jet
    back: Jet
    forward_response: Jet
    back_response: Jet


def kernels(net: FullyConnected, theta: Tensors, x: Tensor, order: int, budget: int) -> dict[int, Tensor]:
    """`{2: K2, ..., order: K_order}`, each (S,) + (n,) * r, for x of shape (B, n, d) and order 2 to 6.

    Args:
        budget: bytes for temporaries, at least those that `bytes_per_seed` counts for blocks of one point.
    """
    points, seeds = x.shape[1], len(x) // net.copies
    block = points
    while block > 1 and seeds * bytes_per_seed(net, points, order, x.element_size(), block) > budget:
        block = (block + 1) // 2
    blocks = [slice(i, min(points, i + block)) for i in range(0, points, block)]
    match order:
        case 2:
            found = {2: _second_kernel(_grams(net, responses(net, theta, x, 0, slice(None)), 0))}
        case 3:
            found = _lower_kernels(net, theta, x, blocks)
        case _:
            found = _higher_kernels(net, theta, x, order, blocks)
    return {r: combine_copies(net, kernel, power=r).mul_(net.mobility ** (r - 1)) for r, kernel in found.items()}


def bytes_per_seed(net: FullyConnected, points: int, order: int, itemsize: int, block: int) -> int:
    """Temporaries of `kernels` for one seed, its parameters and kernels counted, if it works in blocks of so many points."""
    signals = points * floats_per_point(net, arrays=12)
    kernels = (net.copies + 2) * sum(int(points**r) for r in range(2, order + 1))
    units = net.copies * net.width
    match order:
        case 2:
            blocks = 2 * net.copies * points**2
        case 3:
            blocks = units * block * points * (5 * net.depth + 3) + 4 * net.copies * block * points**2
        case _:
            resident = int(points ** (order - 2)) * (units * (5 * net.depth + 4) + 5 * net.copies * (net.depth + 1))
            blocks = resident + block * (2 * units * int(points ** (order - 2)) + 5 * net.copies * int(points ** (order - 1)))
    return itemsize * (net.parameter_count + signals + kernels + blocks)


def integrate(
    state: tuple[Tensor, ...], top: Tensor, y: Tensor, counts: Sequence[int], step: float, method: Tableau
) -> tuple[Tensor, Tensor]:
    """The truncated hierarchy after `counts[0]` steps, after `counts[1]` more, and so on.

    Args:
        state: `(f, K2, ..., K_{p-1})` at t = 0. top: `K_p`, frozen. y: (n,) or (S, n).

    Returns:
        f (S, T, n) and K2 (S, T, n, n).
    """
    f, K2 = [], []
    for count in counts:
        for _ in range(count):
            state = runge_kutta_step(lambda now: right_hand_side(now, top, y), state, step, method)
        f.append(state[0])
        K2.append(state[1] if len(state) > 1 else top)
    return torch.stack(f, dim=1), torch.stack(K2, dim=1)


def _lower_kernels(net: FullyConnected, theta: Tensors, x: Tensor, blocks: list[slice]) -> dict[int, Tensor]:
    """K2 and K3 of the copies, before weights and mobility, by blocks of K3's direction c."""
    batch, n, _ = x.shape
    K3 = x.new_empty((batch, n, n, n))
    for directions in blocks:
        grams = _grams(net, responses(net, theta, x, 1, directions), 0)
        K3[..., directions] = _third_kernel(grams)
    return {2: _second_kernel(grams), 3: K3}


def _higher_kernels(net: FullyConnected, theta: Tensors, x: Tensor, order: int, blocks: list[slice]) -> dict[int, Tensor]:
    """K2 to K_order, order 4 to 6, of the copies, before weights and mobility, by blocks of the first slot's points."""
    batch, n, _ = x.shape
    highest = order - 4
    found = responses(net, theta, x, order - 3, slice(None))
    grams = _grams(net, found, highest)
    kernels = {4 + k: x.new_empty((batch,) + (n,) * (4 + k)) for k in range(highest + 1)}
    for rows in blocks:
        hessians, third = (
            _hessian_hessian(net, found, grams, rows, highest),
            _third_derivative(net, found, grams, rows, highest),
        )
        for k, kernel in enumerate(kernels.values()):
            kernel[:, rows] = _half(hessians[k], third[k], k)
    for kernel in kernels.values():
        _symmetrize(kernel, blocks)
    return {2: _second_kernel(grams), 3: _third_kernel(grams), **kernels}


def _grams(net: FullyConnected, found: Responses, highest: int) -> list[Grams]:
    """By layer, jets up to order `highest`."""
    grams = []
    for layer, hidden, back in zip(net.layers, found.hidden, found.back, strict=True):
        forward = dots(hidden, hidden, highest, layer.weight_multiplier**2)
        forward[0] += layer.bias_multiplier**2
        forward_response = _response_grams(hidden, highest, layer.weight_multiplier**2)
        grams.append(Grams(forward, dots(back, back, highest), forward_response, _response_grams(back, highest, 1.0)))
    return grams


def _response_grams(signal: Jet, highest: int, scale: float) -> Jet:
    points = signal[0].shape[1]
    return [g.unflatten(-2, (-1, points)) for g in dots(response_jet(signal), signal, highest, scale)]


def _second_kernel(grams: list[Grams]) -> Tensor:
    return torch.stack([gram.forward[0] * gram.back[0] for gram in grams]).sum(0)


def _third_kernel(grams: list[Grams]) -> Tensor:
    """(B, a, b, c): `w_ac.g_b`, and with a and b exchanged."""
    terms = [response[0] * gram[0].unsqueeze(1) for g in grams for response, gram in _partners(g) if response]
    half = torch.stack(terms).sum(0).movedim(1, -1)
    return half + half.transpose(1, 2)


def _partners(grams: Grams) -> tuple[tuple[Jet, Jet], tuple[Jet, Jet]]:
    """What multiplies what where a gradient meets one."""
    return (grams.back_response, grams.forward), (grams.forward_response, grams.back)


def _hessian_hessian(net: FullyConnected, found: Responses, grams: list[Grams], rows: slice, highest: int) -> Jet:
    """`w_ac . w_bd`, own axes (c, a, d, b), for the points a in `rows`."""
    batch, n, _ = found.hidden[0][0].shape
    block = len(range(*rows.indices(n)))
    total = [found.hidden[0][0].new_zeros((batch,) + (n,) * (k + 1) + (block, n, n)) for k in range(highest + 1)]
    for layer, hidden, back, gram in zip(net.layers, found.hidden, found.back, grams, strict=True):
        for signal, other, scale in ((back, gram.forward, 1.0), (hidden, gram.back, layer.weight_multiplier**2)):
            along_rows = response_jet([s[..., rows, :] for s in signal])
            pairs = dots(along_rows, response_jet(signal), highest, scale)
            _accumulate(
                total,
                [p.unflatten(-1, (n, n)).unflatten(-3, (n, block)) for p in pairs],
                [g[..., None, rows, None, :] for g in other],
            )
        for one, other in ((gram.back_response, gram.forward_response), (gram.forward_response, gram.back_response)):
            _accumulate(
                total, [g[..., rows, None, :] for g in one], [g[..., rows].movedim(-1, -3).unsqueeze(-4) for g in other]
            )
    return total


def _third_derivative(net: FullyConnected, found: Responses, grams: list[Grams], rows: slice, highest: int) -> Jet:
    """Jets, directions behind (B, a), of arrays (i, j, k) whose sum over the orders of (i, j, k) is `T_a(g_i, g_j, g_k)`."""
    batch, n, _ = found.hidden[0][0].shape
    block = len(range(*rows.indices(n)))
    total = [found.hidden[0][0].new_zeros((batch, block) + (n,) * (k + 3)) for k in range(highest + 1)]
    for gram in grams:
        back = [g[..., rows, :].movedim(-2, 1).unsqueeze(-1) for g in gram.back_response]
        forward = [g[..., rows, :].movedim(-2, 1).mT.unsqueeze(-3) for g in gram.forward_response]
        _accumulate(total, back, forward, skip=1)
    for z, slopes, upstream in zip(found.z, found.slopes, found.upstream, strict=True):
        along, pulled = (_by_point(response_jet(s), rows, n) for s in (z, upstream))
        curvature, third, signal = (
            [s[..., rows, :].movedim(-2, 1).flatten(0, 1).unsqueeze(-2) for s in jet]
            for jet in (slopes[2], slopes[3], upstream)
        )
        # Each unordered triple meets the six orders twice over its three distinct terms: halve; share sigma''' among the three.
        weights = [times(third, signal, k) for k in range(highest + 1)]
        weighted = [times(along, weights, k, times(pulled, curvature, k) * 0.5, 1 / 6) for k in range(highest + 1)]
        one, other = [s.unsqueeze(-2) for s in along], [s.unsqueeze(-3) for s in along]
        pairs = [times(one, other, k).flatten(-3, -2) for k in range(highest + 1)]
        for k, triples in enumerate(dots(weighted, pairs, highest)):
            total[k] += triples.reshape(total[k].shape)
    return total


def _by_point(response: Jet, rows: slice, points: int) -> Jet:
    """A response's jet with B and the point a, one of `rows`, as one axis, and own axes (c, u)."""
    apart = (s.unflatten(-2, (-1, points))[..., rows, :] for s in response)
    return [s.movedim(-2, 1).flatten(0, 1) for s in apart]


def _accumulate(total: Jet, x: Jet, y: Jet, skip: int = 0) -> None:
    for k in range(len(total)):
        times(x, y, k, into=total[k], skip=skip)


def _half(hessians: Tensor, third: Tensor, k: int) -> Tensor:
    """The half of K_{4+k} from which exchanging a and b makes the whole: (B, a, b, c, d, k directions)."""
    c, a, d, b = range(k + 1, k + 5)
    directions = range(1, k + 1)
    half = hessians.permute(0, a, b, c, d, *directions) + hessians.permute(0, a, c, b, d, *directions)
    for slots in permutations(range(k + 2, k + 5)):
        half += third.permute(0, 1, *slots, *range(2, k + 2))
    return half


def _symmetrize(kernel: Tensor, blocks: list[slice]) -> None:
    """Adds to the kernel, in place, what it is with the first two slots exchanged."""
    for i, first in enumerate(blocks):
        for second in blocks[i:]:
            both = kernel[:, first, second] + kernel[:, second, first].transpose(1, 2)
            kernel[:, first, second] = both
            kernel[:, second, first] = both.transpose(1, 2)
