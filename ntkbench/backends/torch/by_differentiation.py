"""Any architecture by automatic differentiation of its forward pass, vectorized over networks."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch.func import grad, jacrev, vmap

from ntkbench.backends import checks
from ntkbench.backends.torch import along_directions
from ntkbench.backends.torch.architecture import Architecture, Kernels
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies
from ntkbench.networks import Network

Result = TypeVar("Result")


def differentiable(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function outside of inference mode, in which nothing can be differentiated, on copies of its tensors."""

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: copied(entry) for name, entry in value.items()}
        return value.clone() if isinstance(value, Tensor) and value.is_inference() else value

    @wraps(function)
    def run(*arguments: Any) -> Result:
        with torch.inference_mode(mode=False):
            return function(*map(copied, arguments))

    return run


class ByDifferentiation(Architecture):
    """See above.

    Args:
        forward: outputs (n, O) of one network, from its specification, its parameters `W1`, .. of shape (fan_out, fan_in) and,
            with biases, `b1`, .., and points (n, d); made of operations that can be differentiated again and again, and
            vectorized by `vmap`: nothing changed in place, no branch on values.
    """

    def __init__(self, forward: Callable[[Any, Tensors, Tensor], Tensor]):
        self._forward = forward

    def outputs(self, net: Any, theta: Tensors, x: Tensor) -> Tensor:
        """All points at once."""
        return combine_copies(net, vmap(lambda one, points: self._forward(net, one, points))(theta, x))

    def write_kernels(self, net: Any, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor, workspace: int) -> None:
        """Products of the gradients of single points."""
        groups = total.shape[1]
        rows = self._gradients(net, theta, x1, groups)
        columns = rows if x2 is None else self._gradients(net, theta, x2, groups)
        found = total.zero_().view(len(total), groups * total.shape[2], groups * total.shape[4])
        for name, gradients in rows.items():
            found.baddbmm_(gradients, columns[name].mT, alpha=net.mobility)

    def _gradients(self, net: Network, theta: Tensors, x: Tensor, groups: int) -> Tensors:
        """Of every output at every point, by parameter, (B, G n, entries); of one group those of all outputs in one row."""

        def of_point(one: Tensors, point: Tensor) -> Tensors:
            found: Tensors = jacrev(lambda at: self._forward(net, at, point.unsqueeze(0))[0])(one)
            return found

        found: Tensors = differentiable(vmap(vmap(of_point, (None, 0))))(theta, x)
        if groups == 1:
            return {name: gradient.flatten(2) for name, gradient in found.items()}
        return {name: gradient.flatten(3).transpose(1, 2).flatten(1, 2) for name, gradient in found.items()}

    def write_slope(self, net: Any, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
        """All points at once."""

        def descent(at: Tensors, x: Tensor, y: Tensor) -> Tensor:
            loss: Tensor = (self.outputs(net, at, x) - y).square().sum() / (2 * x.shape[1])
            return -float(net.mobility) * loss

        for name, values in differentiable(grad(descent))(theta, x, y).items():
            slope[name].copy_(values)

    def floats_per_point(self, net: Any, arrays: int) -> int:
        """Every layer at every position."""
        units = net.positions * sum(layer.fan_out for layer in net.layers[:-1])
        return int(net.copies * (net.input_dim + arrays * (units + net.output_dim)))

    def floats_besides(self, net: Any, rows1: int, rows2: int, groups: int) -> int:
        """Gradients, twice while they are put in order."""
        return int(2 * (rows1 + rows2) * net.output_dim * net.parameter_count)

    def tensors(self, net: Any, points: int, order: int, itemsize: int, budget: int) -> None:
        """Contractions with the identity."""

    def contraction(self, net: Any, rows: int, points: int, vectors: int, order: int, itemsize: int, budget: int) -> Kernels:
        """By forward mode along dense gradients, in blocks of points and of directions."""
        sizes = rows, vectors, order, itemsize
        least = along_directions.bytes_per_seed(net, 1, 1, *sizes)
        checks.one_seed_fits(f"K{order} of {rows} points along {vectors} directions at width {net.width}", least, budget)
        blocks = along_directions.block_sizes(net, max(rows, points), *sizes, budget)

        def compute(theta: Tensors, rows: Tensor, x: Tensor, basis: Tensor) -> dict[int, Tensor]:
            at_rows = None if rows is x else rows
            return differentiable(along_directions.kernels)(self._forward, net, theta, at_rows, x, basis, order, blocks)

        return Kernels(along_directions.bytes_per_seed(net, *blocks, *sizes), compute)
