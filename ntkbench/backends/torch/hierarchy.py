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
from itertools import permutations

import torch

from ntkbench.backends.torch.higher_orders import Jet, Overlaps, Responses, dots, response_jet, responses, times
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies, floats_per_point
from ntkbench.hierarchy import right_hand_side, runge_kutta_step
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected

BLOCK_BYTES = 2**24
"""Size of one layer's responses to a block of directions: larger ones leave the cache between one step and the next."""

CACHE_BYTES = 2**19
"""Size of temporaries that are made and used again at once: they should not leave the processor's cache."""


def kernels(net: FullyConnected, theta: Tensors, x: Tensor, order: int, budget: int) -> dict[int, Tensor]:
    """`{2: K2, ..., order: K_order}`, each (S,) + (n,) * r, for x of shape (B, n, d) and order 3 to 6.

    Args:
        budget: bytes for temporaries, at least those that `bytes_per_seed` counts for blocks of one point.
    """
    points, seeds = x.shape[1], len(x) // net.copies
    # Every block of K3's directions computes the signals anew, which costs as much as one direction.
    near = BLOCK_BYTES // (len(x) * points * net.width * x.element_size())
    block = min(points, max(near, 16)) if order == 3 else points
    while block > 1 and seeds * bytes_per_seed(net, points, order, x.element_size(), block) > budget:
        block = (block + 1) // 2
    blocks = [slice(i, min(points, i + block)) for i in range(0, points, block)]
    found = _third(net, theta, x, blocks) if order == 3 else _higher(net, theta, x, order, blocks)
    return {r: combine_copies(net, kernel, power=r).mul_(net.mobility ** (r - 1)) for r, kernel in found.items()}


def bytes_per_seed(net: FullyConnected, points: int, order: int, itemsize: int, block: int) -> int:
    """Temporaries of `kernels` for one seed, its parameters and kernels counted, if it works in blocks of so many points."""
    signals = points * floats_per_point(net, arrays=12)
    kernels = (net.copies + 2) * sum(int(points**r) for r in range(2, order + 1))
    units = net.copies * net.width
    if order == 3:
        blocks = units * block * points * (5 * net.depth + 3) + 4 * net.copies * block * points**2
    else:
        tuples = int(points ** (order - 2))
        blocks = tuples * (units * (5 * net.depth + 6) + 5 * net.copies * ((net.depth + 1) + block * points))
        blocks += 3 * units * tuples * min(block, max(1, CACHE_BYTES // (itemsize * units * tuples)))
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


def _third(net: FullyConnected, theta: Tensors, x: Tensor, blocks: list[slice]) -> dict[int, Tensor]:
    """K2 and K3 of the copies, before weights and mobility, by blocks of K3's direction c."""
    batch, n, _ = x.shape
    K3 = x.new_empty((batch, n, n, n))
    for directions in blocks:
        found = responses(net, theta, x, 1, directions if len(blocks) > 1 else slice(None))
        K3[..., directions] = _third_kernel(found)
    return {2: _second_kernel(found), 3: K3}


def _higher(net: FullyConnected, theta: Tensors, x: Tensor, order: int, blocks: list[slice]) -> dict[int, Tensor]:
    """K2 to K_order, order 4 to 6, of the copies, before weights and mobility, by blocks of the first slot's points."""
    batch, n, _ = x.shape
    highest = order - 4
    found = responses(net, theta, x, order - 3, slice(None))
    overlaps = _response_overlaps(found, highest)
    kernels = {4 + k: x.new_empty((batch,) + (n,) * (4 + k)) for k in range(highest + 1)}
    for rows in blocks:
        hessians = _hessian_hessian(net, found, overlaps, rows, highest)
        third = _third_derivative(found, overlaps, rows, highest)
        for k, kernel in enumerate(kernels.values()):
            kernel[:, rows] = _half(hessians[k], third[k], k)
    for kernel in kernels.values():
        _symmetrize(kernel, blocks)
    return {2: _second_kernel(found), 3: _third_kernel(found), **kernels}


def _second_kernel(found: Responses) -> Tensor:
    terms = [f.up_to(0, 0)[0] * b.up_to(0, 0)[0] for f, b in zip(found.forward, found.backward, strict=True)]
    return torch.stack(terms).sum(0)


def _third_kernel(found: Responses) -> Tensor:
    """(B, a, b, c): `w_ac.g_b`, and with a and b exchanged."""
    terms = []
    for forward, backward, (one, other) in zip(found.forward, found.backward, _response_overlaps(found, 0), strict=True):
        terms += [response * backward.up_to(0, 0)[0].unsqueeze(1) for response in one]
        terms += [response * forward.up_to(0, 0)[0].unsqueeze(1) for response in other]
    half = torch.stack(terms).sum(0).movedim(1, -1)
    return half + half.transpose(1, 2)


def _response_overlaps(found: Responses, highest: int) -> list[tuple[Jet, Jet]]:
    """By layer `c_l^2 h_{l-1}^{a|c} . h_{l-1}^b` and `delta_l^{a|c} . delta_l^b`, own axes (c, a, b), up to order `highest`."""

    def apart(overlaps: Overlaps) -> Jet:
        return [o.view(*o.shape[:-1], -1, o.shape[-2]).movedim(-3, -1) for o in overlaps.up_to(highest, 1)]

    return [(apart(forward), apart(backward)) for forward, backward in zip(found.forward, found.backward, strict=True)]


def _hessian_hessian(net: FullyConnected, found: Responses, overlaps: list[tuple[Jet, Jet]], rows: slice, highest: int) -> Jet:
    """`w_ac . w_bd`, own axes (c, a, d, b), for the points a in `rows`."""
    batch, n, _ = found.hidden[0][0].shape
    block = len(range(*rows.indices(n)))
    total = [found.hidden[0][0].new_zeros((batch,) + (n,) * (k + 1) + (block, n, n)) for k in range(highest + 1)]
    for layer, forward, backward, meet in zip(net.layers, found.forward, found.backward, overlaps, strict=True):
        for one, other, scale in ((backward, forward, 1.0), (forward, backward, layer.weight_multiplier**2)):
            along_rows = response_jet([s[..., rows, :] for s in one.signal])
            pairs = dots(along_rows, response_jet(one.signal), highest, scale)
            between = [o[..., None, rows, None, :] for o in other.up_to(highest, 0)]
            _accumulate(total, [p.view(*p.shape[:-2], n, block, n, n) for p in pairs], between)
        for one_response, other_response in (meet, meet[::-1]):
            at_b = [o[..., rows].movedim(-1, -3).unsqueeze(-4) for o in other_response]
            _accumulate(total, [o[..., rows, None, :] for o in one_response], at_b)
    return total


def _third_derivative(found: Responses, overlaps: list[tuple[Jet, Jet]], rows: slice, highest: int) -> Jet:
    """Jets, directions behind (B, a), of arrays (i, j, k) whose sum over the orders of (i, j, k) is `T_a(g_i, g_j, g_k)`."""
    batch, n, width = found.z[0][0].shape
    block = len(range(*rows.indices(n)))
    total = [found.hidden[0][0].new_zeros((batch, block) + (n,) * (k + 3)) for k in range(highest + 1)]
    for forward, backward in overlaps:
        back = [o[..., rows, :].movedim(-2, 1).unsqueeze(-1) for o in backward]
        hidden = [o[..., rows, :].movedim(-2, 1).mT.unsqueeze(-3) for o in forward]
        _accumulate(total, back, hidden, skip=1)
    chunk = max(1, CACHE_BYTES // (batch * width * int(n ** (highest + 2)) * total[0].element_size()))
    for start in range(0, block, chunk):
        some = slice(start, min(block, start + chunk))
        points = slice(rows.start + some.start, rows.start + some.stop)
        for layer in zip(found.z, found.slopes, found.upstream, strict=True):
            for k, triples in enumerate(_unit_triples(*layer, points, highest)):
                total[k][:, some] += triples.view(total[k][:, some].shape)
    return total


def _unit_triples(z: Jet, slopes: list[Jet], upstream: Jet, points: slice, highest: int) -> Jet:
    """What the activations of a hidden layer add to `_third_derivative`, B and a as one axis, and j and k."""
    along, pulled = (_by_point(s[1:], points) for s in (z, upstream))
    curvature, third, signal = (_by_point([s.unsqueeze(1) for s in jet], points) for jet in (slopes[2], slopes[3], upstream))
    # Each unordered triple meets the six orders twice over its three distinct terms: halve; share sigma''' among the three.
    weights = [times(third, signal, k) for k in range(highest + 1)]
    weighted = [times(along, weights, k, times(pulled, curvature, k) * 0.5, 1 / 6) for k in range(highest + 1)]
    one, other = [s.unsqueeze(-2) for s in along], [s.unsqueeze(-3) for s in along]
    pairs = [times(one, other, k).flatten(-3, -2) for k in range(highest + 1)]
    return dots(weighted, pairs, highest)


def _by_point(response: Jet, points: slice) -> Jet:
    """Coefficients (B, c, directions, a, u) with the own axes (c, u), and B and a as one axis, for a in `points`."""
    return [s[..., points, :].movedim((-2, 1), (1, -2)).flatten(0, 1) for s in response]


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
