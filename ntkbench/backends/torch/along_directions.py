"""K3 and K4 of any architecture, contracted with basis vectors in every slot but the first.

With `u_i` the columns of the basis, the vector fields `v_i = sum_b u_bi grad f_b` and `L_i` the derivative along `v_i`,

    K2(a, .) . u_i = L_i f_a,    K3[a, i, j] = L_j L_i f_a,    K4[a, i, j, k] = L_k L_j L_i f_a

(Huang & Yau 2019, Theorem 2.3), and the identity as basis gives the tensors themselves. The innermost derivative is one product
of per-example gradients by reverse mode, for all a and i at once: `L_i f_a = grad f_a . sum_b u_bi grad f_b`. The outer ones
are forward mode through it, which differentiates `v_i` and `v_j` as well. Gradients are dense: nothing is known of the
architecture but its forward pass, and that of a convolution, for one, has a rank of up to the number of positions, so that
responses of low rank, as fully connected networks have them, would save nothing.

Everything is of one network, batched by `vmap` over networks and over directions; nothing is changed in place.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.func import grad, jvp, vmap

from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies
from ntkbench.networks import Network

DIRECTIONS = 8
"""Taken at once by one derivative, at most: with more the arrays of small networks leave the processor's cache."""


def kernels(
    forward: Callable[[Network, Tensors, Tensor], Tensor],
    net: Network,
    theta: Tensors,
    rows: Tensor | None,
    x: Tensor,
    basis: Tensor,
    order: int,
    blocks: tuple[int, int],
) -> dict[int, Tensor]:
    """`{3: (S, n1, k, k)}` and for order 4 also `{4: (S, n1, k, k, k)}`.

    Args:
        forward: outputs (n, 1) of one network at points (n, d).
        rows: (B, n1, d), None for x. x: (B, n, d). basis: (B, n, k).
        blocks: points and directions taken at a time, as `block_sizes` gives them.
    """
    points, directions = blocks

    def of_network(at: Tensors, spots: Tensor, x: Tensor, basis: Tensor) -> list[Tensor]:
        one = _OneNetwork(lambda now, at_points: forward(net, now, at_points)[:, 0], spots, x, basis, points, rows is None)

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
        outputs: (n,), of parameters and points (n, d).
        spots: (n1, d), x: (n, d), basis: (n, k); together: whether spots are x.
        points: taken at a time.
    """

    outputs: Callable[[Tensors, Tensor], Tensor]
    spots: Tensor
    x: Tensor
    basis: Tensor
    points: int
    together: bool

    def first(self, at: Tensors) -> Tensor:
        """`L_i f_a`, (n1, k)."""
        if self.together and self.points >= len(self.x):
            gradients = self._gradients(at, self.x)
            return _products(gradients, _contract(self.basis, gradients))
        fields = _sum(_contract(u, self._gradients(at, x)) for x, u in self._parts(self.basis))
        return torch.cat([_products(self._gradients(at, spots), fields) for spots in torch.split(self.spots, self.points)])

    def field(self, at: Tensors, u: Tensor) -> Tensors:
        """`sum_b u_b grad f_b`, u (n,)."""

        def part(now: Tensors, x: Tensor, weights: Tensor) -> Tensor:
            return torch.dot(weights, self.outputs(now, x))

        return _sum(grad(part)(at, x, weights) for x, weights in self._parts(u))

    def _gradients(self, at: Tensors, x: Tensor) -> Tensors:
        """`grad f_a` of every point, by parameter: (n, entries)."""
        found = vmap(grad(lambda now, point: self.outputs(now, point.unsqueeze(0))[0]), (None, 0))(at, x)
        return {name: gradient.flatten(1) for name, gradient in found.items()}

    def _parts(self, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(torch.split(self.x, self.points), torch.split(weights, self.points), strict=True)


def _sum(parts: Iterator[Tensors]) -> Tensors:
    total = next(parts)
    for part in parts:
        total = {name: value + part[name] for name, value in total.items()}
    return total


def _contract(weights: Tensor, gradients: Tensors) -> Tensors:
    """`sum_b weights_bi gradients_b`, (k, entries)."""
    return {name: weights.mT @ gradient for name, gradient in gradients.items()}


def _products(gradients: Tensors, fields: Tensors) -> Tensor:
    """Summed over all parameters, (n, k)."""
    return torch.stack([gradient @ fields[name].mT for name, gradient in gradients.items()]).sum(0)


# Memory


def block_sizes(net: Network, most: int, rows: int, k: int, order: int, itemsize: int, budget: int) -> tuple[int, int]:
    """Points of a block, `most` or fewer, and directions, as many as the budget of one seed allows (one of each at least)."""
    points, directions = most, min(DIRECTIONS, k)
    while points * directions > 1 and bytes_per_seed(net, points, directions, rows, k, order, itemsize) > budget:
        points, directions = (points, -(-directions // 2)) if directions > 1 else (-(-points // 2), 1)
    return points, directions


def bytes_per_seed(net: Network, points: int, directions: int, rows: int, k: int, order: int, itemsize: int) -> int:
    """Temporaries of `kernels` for one seed, its parameters and kernels counted, in blocks of so many points and directions."""
    parameters = net.parameter_count // net.copies
    maps = net.positions * sum(2 * layer.fan_in + 6 * layer.fan_out for layer in net.layers[:-1])
    moving = 2 * (points * (parameters + maps) + (k + 2) * parameters)
    kernels = 4 * rows * int(k ** (order - 1))
    return itemsize * (net.parameter_count + net.copies * (int((2 * directions) ** (order - 2)) * moving + kernels))
