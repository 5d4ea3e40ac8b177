"""Kernels of the Neural Tangent Hierarchy from first-order responses.

With `g_a` the gradient of the output at point a, `H_a` its Hessian, `T_a` its third derivative and `w_ac = H_a g_c`,

    K3_abc  = w_ac.g_b + w_bc.g_a
    K4_abcd = T_a(g_b, g_c, g_d) + T_b(g_a, g_c, g_d) + w_ac.w_bd + w_ad.w_bc + w_ab.w_cd + w_ba.w_cd

and all of it follows from how activations and back-propagated signals of point a respond to first order to a step along `g_c`
(the 2n+1 rule of perturbation theory: first-order responses give the third derivative). Layer l of `w_ac` is
`c_l (ddot_l^{a|c} h_{l-1}^a^T + delta_l^a hdot_{l-1}^{a|c}^T)`, of rank two, so every scalar product is one of Gram matrices.

Indices of the arrays: B seeds times copies; a, b the points of the kernel's first two slots; c, d, i, j, k directions; u units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch

from ntkbench.backends.torch.network import (
    Tensor,
    Tensors,
    back_propagate,
    combine_copies,
    floats_per_point,
    propagate,
    pull_back,
)
from ntkbench.hierarchy import right_hand_side, runge_kutta_step
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected


@dataclass(frozen=True)
class Signals:
    """What the responses are built from; lists run over the layers l = 1..L.

    Attributes:
        hidden: `h_{l-1}`, (B, a, u).
        slopes: `(sigma', sigma'', ...)(z_l)` of the hidden layers, each (B, a, u).
        back: `delta_l`, (B, a, u).
        forward_gram: `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2`, (B, a, b).
        backward_gram: `delta_l^a . delta_l^b`, (B, a, b).
    """

    hidden: list[Tensor]
    slopes: list[tuple[Tensor, ...]]
    back: list[Tensor]
    forward_gram: list[Tensor]
    backward_gram: list[Tensor]


@dataclass(frozen=True)
class Response:
    """First-order responses at layer l of every point a along every direction c, (B, a, c, u); None where they vanish.

    Attributes:
        h_below: of `h_{l-1}`; None for l = 1.
        z: of `z_l`; u: of `u_l`, the signal before it passes the activation; delta: of `delta_l`; None for l = L.
        upstream: `u_l` itself, (B, a, u); None for l = L.
    """

    h_below: Tensor | None
    z: Tensor | None = None
    u: Tensor | None = None
    delta: Tensor | None = None
    upstream: Tensor | None = None


def kernels(net: FullyConnected, theta: Tensors, x: Tensor, order: int) -> dict[int, Tensor]:
    """`{2: K2, ..., order: K_order}`, each (S,) + (n,) * r, for x of shape (B, n, d) and order 2, 3 or 4."""
    signals = _signals(net, theta, x, highest=max(1, order - 1))
    found = {2: torch.stack([f * b for f, b in zip(signals.forward_gram, signals.backward_gram, strict=True)]).sum(0)}
    if order > 2:
        found |= _higher_kernels(net, theta, signals, order)
    return {r: combine_copies(net, kernel, power=r).mul_(net.mobility ** (r - 1)) for r, kernel in found.items()}


def bytes_per_seed(net: FullyConnected, points: int, order: int, itemsize: int) -> int:
    """Temporaries of `kernels` for one seed, its parameters counted."""
    floats = net.parameter_count + points * floats_per_point(net, arrays=order + 2) + net.copies * 6 * int(points**order)
    if order > 2:
        floats += net.copies * points**2 * net.width * (net.depth + 6)
    return itemsize * floats


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


def _signals(net: FullyConnected, theta: Tensors, x: Tensor, highest: int) -> Signals:
    hidden, slopes, g = propagate(net, theta, x, highest)
    back = back_propagate(net, theta, slopes, torch.ones_like(g))
    forward_gram = [
        torch.baddbmm(h.new_full((1,), layer.bias_multiplier**2), h, h.mT, alpha=layer.weight_multiplier**2)
        for layer, h in zip(net.layers, hidden, strict=True)
    ]
    return Signals(hidden, slopes, back, forward_gram, [torch.bmm(d, d.mT) for d in back])


def _higher_kernels(net: FullyConnected, theta: Tensors, signals: Signals, order: int) -> dict[int, Tensor]:
    """K3 and, for order 4, K4 of the copies, before weights and mobility."""
    batch, n, _ = signals.hidden[0].shape
    hessian_gradient = signals.hidden[0].new_zeros((batch,) + (n,) * 3)
    if order > 3:
        hessian_hessian = signals.hidden[0].new_zeros((batch,) + (n,) * 4)
        third = torch.zeros_like(hessian_hessian)
    for l, response in _responses(net, theta, signals):
        delta_gradient = _against_points(response.delta, signals.back[l - 1])
        h_gradient = _against_points(response.h_below, signals.hidden[l - 1])
        _add_hessian_gradient(net, signals, l, delta_gradient, h_gradient, hessian_gradient)
        if order > 3:
            _add_hessian_hessian(net, signals, l, response, delta_gradient, h_gradient, hessian_hessian)
            _add_third_derivative(net, signals, l, response, delta_gradient, h_gradient, third)
    half = hessian_gradient.transpose(2, 3)
    found = {3: half + half.transpose(1, 2)}
    if order > 3:
        half = hessian_hessian + hessian_hessian.transpose(2, 3)
        for slots in permutations((2, 3, 4)):
            half += third.permute(0, 1, *slots)
        found[4] = half + half.transpose(1, 2)
    return found


def _responses(net: FullyConnected, theta: Tensors, signals: Signals) -> Iterator[tuple[int, Response]]:
    """(l, response) from the readout l = L down to l = 1."""
    z_responses = _forward_responses(net, theta, signals)
    yield net.depth + 1, Response(_h_response(signals, z_responses, net.depth))
    delta: Tensor | None = None
    for l in range(net.depth, 0, -1):
        squared_scale = net.layers[l].weight_multiplier ** 2
        overlap = signals.backward_gram[l].unsqueeze(-1) * squared_scale
        u = signals.hidden[l].unsqueeze(1) * overlap
        if delta is not None:
            u += pull_back(net, theta, l + 1, delta.flatten(1, 2)).view_as(u)
        z = z_responses.pop()
        slope, curvature = signals.slopes[l - 1][:2]
        upstream = pull_back(net, theta, l + 1, signals.back[l])
        delta = (z * (curvature * upstream).unsqueeze(2)).addcmul_(slope.unsqueeze(2), u)
        yield l, Response(_h_response(signals, z_responses, l - 1), z, u, delta, upstream)


def _h_response(signals: Signals, z_responses: list[Tensor], l: int) -> Tensor | None:
    """Response of `h_l`, the last in `z_responses` being that of `z_l`; the input `h_0` has none."""
    return signals.slopes[l - 1][0].unsqueeze(2) * z_responses[-1] if l > 0 else None


def _forward_responses(net: FullyConnected, theta: Tensors, signals: Signals) -> list[Tensor]:
    """Responses of `z_1`, ..., `z_{L-1}`."""
    responses: list[Tensor] = []
    for l in range(1, net.depth + 1):
        z = signals.back[l - 1].unsqueeze(1) * signals.forward_gram[l - 1].unsqueeze(-1)
        h = _h_response(signals, responses, l - 1)
        if h is not None:
            z.flatten(1, 2).baddbmm_(h.flatten(1, 2), theta[f"W{l}"].mT, alpha=net.layers[l - 1].weight_multiplier)
        responses.append(z)
    return responses


def _against_points(response: Tensor | None, signal: Tensor) -> Tensor | None:
    """`response^{a|c} . signal^b`, (B, a, c, b)."""
    if response is None:
        return None
    n = signal.shape[1]
    return torch.bmm(response.flatten(1, 2), signal.mT).view(-1, n, n, n)


def _pairwise(response: Tensor) -> Tensor:
    """`response^{a|c} . response^{b|d}`, (B, a, c, b, d)."""
    n = response.shape[1]
    flat = response.flatten(1, 2)
    return torch.bmm(flat, flat.mT).view(-1, n, n, n, n)


def _add_hessian_gradient(
    net: FullyConnected, signals: Signals, l: int, delta_gradient: Tensor | None, h_gradient: Tensor | None, total: Tensor
) -> None:
    """Layer l of `w_ac . g_b`, added to `total` at (a, c, b)."""
    if delta_gradient is not None:
        total.addcmul_(delta_gradient, signals.forward_gram[l - 1].unsqueeze(2))
    if h_gradient is not None:
        total.addcmul_(h_gradient, signals.backward_gram[l - 1].unsqueeze(2), value=net.layers[l - 1].weight_multiplier ** 2)


def _add_hessian_hessian(
    net: FullyConnected,
    signals: Signals,
    l: int,
    response: Response,
    delta_gradient: Tensor | None,
    h_gradient: Tensor | None,
    total: Tensor,
) -> None:
    """Layer l of `w_ac . w_bd`, added to `total` at (a, c, b, d)."""
    squared_scale = net.layers[l - 1].weight_multiplier ** 2
    if response.delta is not None:
        total.addcmul_(signals.forward_gram[l - 1][:, :, None, :, None], _pairwise(response.delta))
    if response.h_below is not None:
        total.addcmul_(signals.backward_gram[l - 1][:, :, None, :, None], _pairwise(response.h_below), value=squared_scale)
    if delta_gradient is not None and h_gradient is not None:
        for one, other in ((delta_gradient, h_gradient), (h_gradient, delta_gradient)):
            total.addcmul_(one.unsqueeze(-1), other.permute(0, 3, 1, 2).unsqueeze(2), value=squared_scale)


def _add_third_derivative(
    net: FullyConnected,
    signals: Signals,
    l: int,
    response: Response,
    delta_gradient: Tensor | None,
    h_gradient: Tensor | None,
    total: Tensor,
) -> None:
    """Layer l of an array at (a, i, j, k) whose sum over the orders of (i, j, k) is `T_a(g_i, g_j, g_k)`."""
    if delta_gradient is not None and h_gradient is not None:
        squared_scale = net.layers[l - 1].weight_multiplier ** 2
        total.addcmul_(delta_gradient.unsqueeze(-1), h_gradient.mT.unsqueeze(2), value=squared_scale)
    if response.z is None or response.u is None or response.upstream is None:
        return
    _, curvature, third = signals.slopes[l - 1]
    # Each unordered triple meets the six orders twice over its three distinct terms: halve; and share sigma''' among the three.
    weighted = response.u * (0.5 * curvature).unsqueeze(2)
    weighted.addcmul_(response.z, (third * response.upstream).unsqueeze(2), value=1 / 6)
    n = total.shape[1]
    for a in range(n):
        along = response.z[:, a]
        pairs = (along.unsqueeze(2) * along.unsqueeze(1)).flatten(1, 2)
        total[:, a] += torch.bmm(weighted[:, a], pairs.mT).view(-1, n, n, n)
