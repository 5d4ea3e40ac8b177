"""The NTK of any jax function of a pytree of parameters, by contraction of Jacobians in blocks.

    K[i, j, o, o'] = sum_p  d f_o(x_i) / d theta_p  d f_o'(x_j) / d theta_p

jax sees a function through its derivatives alone, not its layers, so the layerwise contraction that the backend's networks
enjoy is not to be had here. Examples are differentiated one by one, vectorized (reverse mode, `vmap`), and the Jacobians
of two blocks are contracted parameter by parameter. All blocks have one size, the last ones being filled up, so that each
function here is compiled once per call, and not again for the next call with the same function and shapes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench import names
from ntkbench.backends.base import OUTPUTS
from ntkbench.backends.jax.any_model.function import (
    Function,
    Jacobian,
    Outputs,
    Tree,
    examples,
    function_of,
    jacobian,
    outputs_of,
    pair_of,
    refuse_interaction,
    saved_bytes,
)
from ntkbench.backends.jax.any_model.per_example import added, products
from ntkbench.scalars import is_whole


def empirical_ntk(
    f: Callable[[Any, Any], Array],
    params: Tree,
    x1: Tree,
    x2: Tree | None = None,
    *,
    outputs: str = "trace",
    memory_bytes: int = 2**31,
) -> Array:
    """The empirical NTK `<grad f_o(x1), grad f_o'(x2)>` of any function, exactly.

    Args:
        f: `f(params, x)`, traceable by jax, maps a batch of examples, along the leading axis, to outputs (n,) or (n, ...), each
            example by itself; axes beyond the first are flattened to O outputs in row-major order.
        params: any pytree; floating-point leaves are differentiated, other arrays (integers, keys) are held fixed.
        x1, x2: examples of one shape, arrays or pytrees of arrays, with a leading axis of n1 and n2 examples; None means `x1`.
        outputs: `trace`, the sum (not the mean) of the kernels of each output with itself; `full`; or `one`, which is `trace`
            but refuses a function of several outputs.
        memory_bytes: budget of temporaries: the work is cut into blocks of examples and, where one example alone is too
            large, of outputs and of parameters.

    Returns:
        (n1, n2), and (n1, n2, O, O) for `full`, in the dtype and on the device of the function's outputs. Parameters without
        influence on the outputs contribute zero.

    Raises:
        ValueError: for a function in which examples interact (batch normalization by the batch) or that fails, outputs,
            gradients or products of them that are not finite, leaves that are no arrays, complex parameters or outputs,
            outputs without an axis of examples or without entries, an unknown `outputs`, and a budget below what one
            example, output and parameter take.

    Source: Jacot et al. 2018, section 4.
    """
    names.check("outputs", outputs, OUTPUTS)
    if not is_whole(memory_bytes) or memory_bytes < 1:
        raise ValueError(f"memory_bytes must be a whole number of at least 1, got {memory_bytes!r}")
    x1 = examples("x1", x1)
    other = x1 if x2 is None else examples("x2", x2)
    function, leaves = function_of(f, params)
    pair = pair_of(x1, other)
    found = outputs_of(function, leaves, pair)
    if outputs == "one" and found.count != 1:
        raise ValueError(f"outputs 'one' asks for one output, the function has {found.count}: choose 'trace' or 'full'")
    refuse_interaction(function, leaves, pair)
    total = _Sum(function, leaves, found, (x1, other), x2 is None, outputs != "full", memory_bytes)
    for places in total.groups():
        total.add(places)
    total.refuse_infinite()
    kernel = total.kernel
    return kernel[:, 0, :, 0] if outputs != "full" else kernel.transpose(0, 2, 1, 3)


class _Sum:
    """The kernel as it is summed up: over groups of parameters, and tile by tile.

    Args:
        sides: examples of the rows and of the columns.
        symmetric: whether they are the same.
        together: whether outputs are summed.
        budget: bytes of temporaries: a quarter for each of two Jacobians, half for tiles.
    """

    def __init__(
        self,
        function: Function,
        leaves: list[Array],
        outputs: Outputs,
        sides: tuple[Tree, Tree],
        symmetric: bool,
        together: bool,
        budget: int,
    ):
        self._function, self._leaves, self._outputs, self._sides = function, leaves, outputs, sides
        self._symmetric, self._together, self._budget = symmetric, together, budget
        self._saved = saved_bytes(function, leaves, sides[0])
        n1, n2 = (jax.tree.leaves(side)[0].shape[0] for side in sides)
        axis = 1 if together else outputs.count
        self.kernel = jnp.zeros((n1, axis, n2, axis), outputs.dtype)
        self._finite: list[Array] = []

    def refuse_infinite(self) -> None:
        """ValueError if outputs or the kernel are not finite; the gradients of the examples of one such entry tell why."""
        if not all(bool(flag) for flag in self._finite):
            raise ValueError("the function's outputs are not finite, each example taken as a batch of its own")
        unfit = jnp.argwhere(~jnp.isfinite(self.kernel))
        if len(unfit) == 0:
            return
        i, _, j, _ = unfit[0].tolist()
        dtype, places = self.kernel.dtype, self._function.differentiated
        for (side, row), cotangent in product(((0, i), (1, j)), jnp.eye(self._outputs.count, dtype=dtype)):
            gradients = self._jacobian(places, side, slice(row, row + 1), cotangent[None])
            if not all(bool(jnp.isfinite(g).all()) for g in gradients):
                raise ValueError(
                    "the gradients of the outputs are not finite: the function is not differentiable at these examples, or "
                    f"they overflow {dtype}"
                )
        raise ValueError(
            f"products of the gradients overflow {dtype}, the gradients do not: take a wider dtype, float32 for half precision"
        )

    def groups(self) -> Iterator[tuple[int, ...]]:
        """The leaves to differentiate, in groups that fit; ValueError if one output of one example does not."""
        places = self._function.differentiated
        needed = 4 * (2 * self._saved + max(self._bytes((place,)) for place in places))
        if needed > self._budget:
            raise ValueError(f"one output of one example needs {needed} bytes, memory_bytes is {self._budget}: raise it")
        group: list[int] = []
        for place in places:
            if group and 2 * self._saved + self._bytes([*group, place]) > self._budget // 4:
                yield tuple(group)
                group = []
            group.append(place)
        yield tuple(group)

    def add(self, places: tuple[int, ...]) -> None:
        """Add the contribution of a group of leaves."""
        (n1, axis, n2, _), count = self.kernel.shape, self._outputs.count
        rows, outputs = self._block_sizes(places)
        blocks = _equal(n1, rows), _equal(n2, rows), _equal(count, outputs)
        starts1, starts2, starts = (range(0, n, size) for n, size in zip((n1, n2, count), blocks, strict=True))
        cotangents = jnp.eye(blocks[2] * len(starts), count, dtype=self.kernel.dtype)
        padded = 1 if self._together else len(cotangents)
        found = jnp.zeros((blocks[0] * len(starts1), padded, blocks[1] * len(starts2), padded), self.kernel.dtype)
        others = list(product(starts2, starts))
        for done, (i, o) in enumerate(product(starts1, starts)):
            first = self._jacobian(places, 0, slice(i, i + blocks[0]), cotangents[o : o + blocks[2]])
            for j, q in others[done if self._symmetric else 0 :]:
                if self._together and q != o:
                    continue
                diagonal = self._symmetric and (i, o) == (j, q)
                second = None if diagonal else self._jacobian(places, 1, slice(j, j + blocks[1]), cotangents[q : q + blocks[2]])
                tile = products(first, second, self._together)
                place = (i, 0, j, 0) if self._together else (i, o, j, q)
                found = added(found, tile, place)
                if self._symmetric and not diagonal:
                    found = added(found, tile.transpose(2, 3, 0, 1), place[2:] + place[:2])
        self.kernel += found[:n1, :axis, :n2, :axis]

    def _jacobian(self, places: tuple[int, ...], side: int, rows: slice, cotangents: Array) -> Jacobian:
        """Of a block of examples, filled up by the last one."""
        block = jax.tree.map(lambda a: a[jnp.minimum(jnp.arange(rows.start, rows.stop), a.shape[0] - 1)], self._sides[side])
        found: Jacobian
        found, finite = jacobian(self._function, places, self._leaves, block, cotangents)
        self._finite.append(finite)
        return found

    def _block_sizes(self, places: tuple[int, ...]) -> tuple[int, int]:
        """The largest blocks of examples and of outputs that the budget allows."""
        outputs = self._outputs.count
        while (rows := self._rows(places, outputs)) < 1:
            outputs = -(-outputs // 2)
        return rows, outputs

    def _rows(self, places: tuple[int, ...], outputs: int) -> int:
        tile = math.isqrt(self._budget // (4 * self.kernel.itemsize)) // (1 if self._together else outputs)
        return min(tile, self._budget // (4 * (self._saved + outputs * (self._saved + self._bytes(places)))))

    def _bytes(self, places: Sequence[int]) -> int:
        return self.kernel.itemsize * sum(self._leaves[place].size for place in places)


def _equal(total: int, largest: int) -> int:
    """The size of equal blocks, as few as cover an axis with at most `largest` entries each."""
    return -(-total // -(-total // largest))
