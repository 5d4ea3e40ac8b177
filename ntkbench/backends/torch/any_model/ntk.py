"""The NTK of any torch model: layer by layer where its modules allow it, by contraction of Jacobians elsewhere.

    K[i, j, o, o'] = sum_p  d f_o(x_i) / d theta_p  d f_o'(x_j) / d theta_p

is a sum over parameters, and each parameter takes its own route. Two examples decide which: they are passed through the model
alone, one by one, and the gradients by automatic differentiation are compared with those that the modules' inputs and signals
give (`modules.py`). A parameter for which the two agree is contracted layer by layer, the others by Jacobians of single
examples (`routes.py`).
"""

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ntkbench import names
from ntkbench.backends.base import OUTPUTS
from ntkbench.backends.torch.any_model.function import (
    Function,
    Tensor,
    Tensors,
    one_by_one,
    refuse_infinite_gradients,
)
from ntkbench.backends.torch.any_model.per_example import CHUNK_BYTES, add_products, mirror
from ntkbench.backends.torch.any_model.routes import Gradients, Part, Probe
from ntkbench.scalars import is_whole


def empirical_ntk(
    model: nn.Module | Callable[[Tensors, Tensor], Tensor],
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    outputs: str = "trace",
    memory_bytes: int = 2**31,
) -> Tensor:
    """The empirical NTK `<grad f_o(x1), grad f_o'(x2)>` of any model, exactly.

    Args:
        model: an `nn.Module`, differentiated in its parameters that require grad, at its buffers as they are; or, with
            `params`, a function `f(params, x)`. Either maps a batch of examples, along the leading axis, to outputs (n,) or
            (n, ...), each example by itself; axes beyond the first are flattened to O outputs in row-major order.
        x1, x2: examples, (n1, ...) and (n2, ...), of one shape, floating point or integer (tokens); None means `x1`.
        params: named tensors, all differentiated that are floating point.
        outputs: `trace`, the sum (not the mean) of the kernels of each output with itself; `full`; or `one`, which is `trace`
            but refuses a model of several outputs.
        memory_bytes: budget of temporaries: the work is cut into blocks of examples and, where one example alone is too
            large, of outputs and of parameters.

    Returns:
        (n1, n2), and (n1, n2, O, O) for `full`, in the dtype and on the device of the model. Parameters without influence
        on the outputs contribute zero.

    Raises:
        ValueError: for a model in which examples interact (batch normalization in training mode) or that is random (dropout
            in training mode), fails, or changes its parameters when called, outputs, gradients or products of them that are
            not finite, complex parameters or outputs, outputs without an axis of examples or without entries, an unknown
            `outputs`, and a budget below what one example, output and parameter take.

    Source: Jacot et al. 2018, section 4; Novak et al. 2022 for the routes and their costs.
    """
    names.check("outputs", outputs, OUTPUTS)
    if not is_whole(memory_bytes) or memory_bytes < 1:
        raise ValueError(f"memory_bytes must be a whole number of at least 1, got {memory_bytes!r}")
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # torch asks users to report operations that it vectorizes by a loop: slower, but nothing that they can mend.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        function = Function(model, params)
        x1 = _examples("x1", x1)
        x2 = None if x2 is None else _examples("x2", x2)
        probe = Probe(function, _pair(x1, x1 if x2 is None else x2))
        if outputs == "one" and probe.outputs != 1:
            raise ValueError(f"outputs 'one' asks for one output, the model has {probe.outputs}: choose 'trace' or 'full'")
        total = _Sum(probe, x1, x2, outputs != "full", memory_bytes)
        for part in total.parts():
            total.add(part)
        total.refuse_infinite()
    kernel = total.kernel
    return kernel[:, 0, :, 0] if outputs != "full" else kernel.transpose(1, 2).contiguous()


def _examples(name: str, x: object) -> Tensor:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is a {type(x).__name__}: give a tensor whose leading axis counts examples")
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: give one example at least, along the leading axis")
    return x.detach()


def _pair(x1: Tensor, x2: Tensor) -> Tensor:
    """The first example, and the one that differs from it in most entries: equal ones would hide that they interact."""
    of1, of2 = ((x.shape[1:], x.dtype, x.device) for x in (x1, x2))
    if of1 != of2:
        said = [f"{tuple(shape)}, {dtype}, {device}" for shape, dtype, device in (of1, of2)]
        raise ValueError(f"an example of x1 is {said[0]}, of x2 {said[1]}: give examples of one shape and dtype, on one device")
    differences = [(x != x1[:1]).reshape(len(x), -1).sum(1) for x in (x1, x2)]
    x, counts = max(zip((x1, x2), differences, strict=True), key=lambda side: int(side[1].max()))
    return torch.stack([x1[0], x[int(counts.argmax())]])


Tile = tuple[slice, slice, slice, slice]
"""Examples and outputs of the rows, examples and outputs of the columns."""


class _Sum:
    """The kernel as it is summed up, tile by tile.

    Args:
        together: whether outputs are summed.
        budget: bytes of temporaries.
    """

    def __init__(self, probe: Probe, x1: Tensor, x2: Tensor | None, together: bool, budget: int):
        self.probe, self.x1, self.x2 = probe, x1, x1 if x2 is None else x2
        self.symmetric, self.together, self.budget = x2 is None, together, budget
        axis = 1 if together else probe.outputs
        self.kernel = probe.f.new_zeros(len(self.x1), axis, len(self.x2), axis)

    def parts(self) -> list[Part]:
        """All parameters; ValueError if one output of one example does not fit a quarter of the budget."""
        parts = list(self.probe.parts(len(self.x1), len(self.x2), self.together, self.budget // 4))
        needed = 4 * max(part.fixed + part.per_output for part in parts)
        if needed > self.budget:
            raise ValueError(f"one output of one example needs {needed} bytes, memory_bytes is {self.budget}: raise it")
        return parts

    def add(self, part: Part) -> None:
        """Add the contribution of some parameters."""
        rows, outputs = self._block_sizes(part)
        sides = [(i, o) for i in _slices(len(self.x1), rows) for o in _slices(self.probe.outputs, outputs)]
        others = [(j, o) for j in _slices(len(self.x2), rows) for o in _slices(self.probe.outputs, outputs)]
        for place, (i, o) in enumerate(sides):
            first = part.gradients(self.x1[i], self._cotangents(o))
            for j, q in others[place:] if self.symmetric else others:
                if self.together and o != q:
                    continue
                diagonal = self.symmetric and (i, o) == (j, q)
                second = None if diagonal else part.gradients(self.x2[j], self._cotangents(q))
                self._add_tile(part, (i, o, j, q), first, second)

    def refuse_infinite(self) -> None:
        """ValueError if the kernel is not finite; the gradients of the examples of one such entry tell why."""
        unfit = (~self.kernel.isfinite()).nonzero()
        if len(unfit) == 0:
            return
        i, _, j, _ = unfit[0].tolist()
        function = self.probe.function
        for example in (self.x1[i : i + 1], self.x2[j : j + 1]):
            for o in range(self.probe.outputs):
                found = one_by_one(function, list(function.params), example, self._cotangents(slice(o, o + 1)))
                for gradient in found.values():
                    refuse_infinite_gradients(gradient)
        raise ValueError(
            f"products of the gradients overflow {self.kernel.dtype}, the gradients do not: take a wider dtype, float32 for "
            "half precision"
        )

    def _add_tile(self, part: Part, tile: Tile, first: Gradients, second: Gradients | None) -> None:
        places = (tile[0], slice(0, 1), tile[2], slice(0, 1)) if self.together else tile
        found = torch.zeros_like(self.kernel[places])
        for name, gram in part.gram.items():
            one = first(name)
            two = None if second is None else second(name)
            if one is not None and (second is None or two is not None):
                add_products(found, one, two, gram, min(CHUNK_BYTES, self.budget // 8))
        if second is None:
            mirror(found)
        self.kernel[places] += found
        if self.symmetric and second is not None:
            transposed = places[2:] + places[:2]
            self.kernel[transposed] += found.permute(2, 3, 0, 1)

    def _cotangents(self, outputs: slice) -> Tensor:
        return torch.eye(self.probe.outputs, dtype=self.kernel.dtype, device=self.kernel.device)[outputs]

    def _block_sizes(self, part: Part) -> tuple[int, int]:
        """Examples and outputs per side of a tile: a quarter of the budget for each side, a quarter for the tile."""
        share, outputs = self.budget // 4, self.probe.outputs
        while (rows := self._rows(part, outputs, share)) < 1:
            outputs = -(-outputs // 2)
        return rows, outputs

    def _rows(self, part: Part, outputs: int, share: int) -> int:
        side = math.isqrt(share // self.kernel.element_size()) // (1 if self.together else outputs)
        return min(side, share // (part.fixed + part.per_output * outputs))


def _slices(total: int, size: int) -> list[slice]:
    """As few slices of at most `size` as cover the axis, of about equal sizes."""
    equal = -(-total // -(-total // size))
    return [slice(start, min(total, start + equal)) for start in range(0, total, equal)]
