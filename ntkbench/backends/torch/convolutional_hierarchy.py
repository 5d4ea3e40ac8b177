"""K3 and K4 of convolutional networks, contracted with basis vectors in every slot but the first.

With `u_i` the columns of the basis, the vector fields `v_i = sum_b u_bi grad f_b` and `L_i` the derivative along `v_i`,

    K2(a, .) . u_i = L_i f_a,    K3[a, i, j] = L_j L_i f_a,    K4[a, i, j, k] = L_k L_j L_i f_a

(Huang & Yau 2019, Theorem 2.3), and the identity as basis gives the tensors themselves. The innermost derivative is one product
of per-example gradients by reverse mode, for all a and i at once: `L_i f_a = grad f_a . sum_b u_bi grad f_b`. The outer ones
are forward mode through it, which differentiates `v_i` and `v_j` as well. Gradients are dense: that of a convolution has a
rank of up to the number of positions, so that responses of low rank, as fully connected networks have them, would save nothing.

Everything is of one network, batched by `vmap` over networks and over directions; nothing is changed in place.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.func import grad, jvp, vmap

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies
from ntkbench.networks import KERNEL, Convolutional

DIRECTIONS = 8
"""Taken at once by one derivative, at most: with more the arrays of small networks leave the processor's cache."""


def kernels(
    net: Convolutional,
    theta: Tensors,
    rows: Tensor | None,
    x: Tensor,
    basis: Tensor,
    order: int,
    blocks: tuple[int, int],
) -> dict[int, Tensor]:
    """`{3: (S, n1, k, k)}` and for order 4 also `{4: (S, n1, k, k, k)}`.

    Args:
        rows: (B, n1, d), None for x. x: (B, n, d). basis: (B, n, k).
        blocks: points and directions taken at a time, as `block_sizes` gives them.
    """
    points, directions = blocks

    def of_network(at: Tensors, spots: Tensor, x: Tensor, basis: Tensor) -> list[Tensor]:
        one = _OneNetwork(net, spots, x, basis, points, rows is None)

        def along_all(function: Callable[[Tensors], Tensor], now: Tensors) -> Tensor:
            """The derivatives along every `v_j`, on the last axis."""
            each = vmap(lambda u: jvp(function, (now,), (one.field(now, u),))[1], chunk_size=directions)
            found: Tensor = each(basis.mT)
            return found.movedim(0, -1)

        def third(now: Tensors) -> Tensor:
            return along_all(one.first, now)

        return [third(at), along_all(third, at)] if order == 4 else [third(at)]

    with warnings.catch_warnings():
        # torch's forward mode warns of its own use of a deprecated compiler when first called.
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        found = vmap(of_network)(theta, x if rows is None else rows, x, basis)
    return {r: combine_copies(net, kernel, power=r).mul_(net.mobility ** (r - 1)) for r, kernel in enumerate(found, start=3)}


@dataclass(frozen=True)
class _OneNetwork:
    """What is differentiated, as functions of one network's parameters.

    Attributes:
        spots: (n1, d), x: (n, d), basis: (n, k); together: whether spots are x.
        points: taken at a time.
    """

    net: Convolutional
    spots: Tensor
    x: Tensor
    basis: Tensor
    points: int
    together: bool

    def first(self, at: Tensors) -> Tensor:
        """`L_i f_a`, (n1, k)."""
        if self.together and self.points >= len(self.x):
            gradients = _gradients(self.net, at, self.x)
            return _products(gradients, _contract(self.basis, gradients))
        fields = _sum(_contract(u, _gradients(self.net, at, x)) for x, u in self._parts(self.basis))
        return torch.cat([_products(_gradients(self.net, at, spots), fields) for spots in torch.split(self.spots, self.points)])

    def field(self, at: Tensors, u: Tensor) -> Tensors:
        """`sum_b u_b grad f_b`, u (n,)."""

        def part(now: Tensors, x: Tensor, weights: Tensor) -> Tensor:
            return torch.dot(weights, _outputs(self.net, now, x))

        return _sum(grad(part)(at, x, weights) for x, weights in self._parts(u))

    def _parts(self, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(torch.split(self.x, self.points), torch.split(weights, self.points), strict=True)


def _sum(parts: Iterator[Tensors]) -> Tensors:
    total = next(parts)
    for part in parts:
        total = {name: value + part[name] for name, value in total.items()}
    return total


# One network at some points


def _outputs(net: Convolutional, theta: Tensors, x: Tensor) -> Tensor:
    """`g`, (n,), for x (n, d)."""
    h = x.reshape(-1, *net.image)
    for l in range(1, net.depth + 1):
        (h,) = derivatives(net.activation, _affine(net, theta, l, _windows(net, h)), 0)
    read = h.mean(dim=(1, 2)) if net.readout == "global_average" else h.flatten(1)
    return _affine(net, theta, net.depth + 1, read)[:, 0]


def _affine(net: Convolutional, theta: Tensors, l: int, h: Tensor) -> Tensor:
    layer = net.layers[l - 1]
    z = layer.weight_multiplier * (h @ theta[f"W{l}"].mT)
    return z + layer.bias_multiplier * theta[f"b{l}"] if net.bias_variance > 0 else z


def _windows(net: Convolutional, h: Tensor) -> Tensor:
    """What every window sees, (n, H, W, C) to (n, H, W, 9 C): the maps moved by every offset of the window."""
    moves = [(row, column) for row in range(KERNEL) for column in range(KERNEL)]
    seen = torch.stack([h.roll((KERNEL // 2 - row, KERNEL // 2 - column), (1, 2)) for row, column in moves], dim=3)
    if net.padding == "zero":
        seen = seen * _inside(net, seen)
    return seen.flatten(3)


def _inside(net: Convolutional, like: Tensor) -> Tensor:
    """1 where a place of a window lies inside the image, else 0: (H, W, 9, 1)."""
    places = (torch.arange(side).unsqueeze(1) + torch.arange(KERNEL) - KERNEL // 2 for side in net.image[:2])
    rows, columns = ((place >= 0) & (place < len(place)) for place in places)
    both = rows[:, None, :, None] & columns[None, :, None, :]
    return both.flatten(2).unsqueeze(3).to(like)


def _gradients(net: Convolutional, theta: Tensors, x: Tensor) -> Tensors:
    """`grad f_a` of every point, by parameter: (n, entries)."""
    found = vmap(grad(lambda now, point: _outputs(net, now, point.unsqueeze(0))[0]), (None, 0))(theta, x)
    return {name: gradient.flatten(1) for name, gradient in found.items()}


def _contract(weights: Tensor, gradients: Tensors) -> Tensors:
    """`sum_b weights_bi gradients_b`, (k, entries)."""
    return {name: weights.mT @ gradient for name, gradient in gradients.items()}


def _products(gradients: Tensors, fields: Tensors) -> Tensor:
    """Summed over all parameters, (n, k)."""
    return torch.stack([gradient @ fields[name].mT for name, gradient in gradients.items()]).sum(0)


# Memory


def block_sizes(net: Convolutional, most: int, rows: int, k: int, order: int, itemsize: int, budget: int) -> tuple[int, int]:
    """Points of a block, `most` or fewer, and directions, as many as the budget of one seed allows (one of each at least)."""
    points, directions = most, min(DIRECTIONS, k)
    while points * directions > 1 and bytes_per_seed(net, points, directions, rows, k, order, itemsize) > budget:
        points, directions = (points, -(-directions // 2)) if directions > 1 else (-(-points // 2), 1)
    return points, directions


def bytes_per_seed(net: Convolutional, points: int, directions: int, rows: int, k: int, order: int, itemsize: int) -> int:
    """Temporaries of `kernels` for one seed, its parameters and kernels counted, in blocks of so many points and directions."""
    parameters = net.parameter_count // net.copies
    maps = net.positions * sum(2 * layer.fan_in + 6 * layer.fan_out for layer in net.layers[:-1])
    moving = 2 * (points * (parameters + maps) + (k + 2) * parameters)
    kernels = 4 * rows * int(k ** (order - 1))
    return itemsize * (net.parameter_count + net.copies * (int((2 * directions) ** (order - 2)) * moving + kernels))
