"""A jax function of a pytree of parameters as a function of its leaves, and Jacobians of its single examples."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Tree = Any
"""A pytree of arrays."""

Jacobian = list[Array]
"""By parameter, (n, B, P): the gradients of B outputs of n examples."""


@dataclass(frozen=True)
class Function:
    """`f` of a list of leaves; hashable, so that compilations serve the next call.

    Attributes:
        differentiated: places of the leaves to differentiate.
    """

    f: Callable[[Any, Any], Array]
    structure: jax.tree_util.PyTreeDef
    differentiated: tuple[int, ...]

    def __call__(self, leaves: Sequence[Array], x: Tree) -> Array:
        """Outputs (n, O)."""
        found = self.f(jax.tree.unflatten(self.structure, leaves), x)
        return found.reshape(found.shape[0], -1)

    def of_one(self, chosen: Sequence[Array], places: Sequence[int], leaves: Sequence[Array], example: Tree) -> Array:
        """Outputs (O,) of one example, `chosen` standing for the leaves at `places`."""
        given = list(leaves)
        for place, leaf in zip(places, chosen, strict=True):
            given[place] = leaf
        return self(given, jax.tree.map(lambda a: a[None], example))[0]


def function_of(f: Callable[[Any, Any], Array], params: Tree) -> tuple[Function, list[Array]]:
    """The function and its leaves; ValueError if some are complex or no arrays, or none to be differentiated."""
    leaves, structure = jax.tree.flatten(arrays("params", params))
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise ValueError("some parameters are complex: the NTK is defined for real ones")
    differentiated = tuple(i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size)
    if not differentiated:
        raise ValueError("params holds no floating-point array: there is nothing to differentiate")
    try:
        hash(f)
    except TypeError:
        f = partial(f)
    return Function(f, structure, differentiated), leaves


def arrays(name: str, tree: Tree) -> Tree:
    """The tree's leaves as arrays; ValueError that names a leaf which is none."""

    def array(path: tuple[Any, ...], leaf: object) -> Array:
        try:
            return jnp.asarray(leaf)
        except (TypeError, ValueError, OverflowError) as error:
            what = f"{name}{jax.tree_util.keystr(path)} is {leaf!r}"
            raise ValueError(f"{what}: give arrays or numbers, and close over everything else") from error

    return jax.tree_util.tree_map_with_path(array, tree)


def examples(name: str, x: Tree) -> Tree:
    """`x` as arrays; ValueError unless they have a common leading axis and no axis is empty."""
    x = arrays(name, x)
    shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
    if not shapes or any(not shape or 0 in shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(f"{name} has shapes {shapes}: give arrays with one leading axis of examples, one example at least")
    return x


def pair_of(x1: Tree, x2: Tree) -> Tree:
    """The first example, and the one that differs from it in most entries: equal ones would hide that they interact."""
    shapes = [jax.tree.map(lambda a: a.shape[1:], x) for x in (x1, x2)]
    if len({jax.tree.structure(x) for x in shapes}) > 1 or jax.tree.leaves(shapes[0]) != jax.tree.leaves(shapes[1]):
        raise ValueError(f"an example of x1 has shape {shapes[0]}, of x2 {shapes[1]}: give examples of one shape")

    def differences(x: Tree) -> np.ndarray:
        of_leaves = jax.tree.map(lambda a, b: np.asarray(a != b[:1]).reshape(len(a), -1).sum(1), x, x1)
        return np.asarray(sum(jax.tree.leaves(of_leaves)))

    x, counts = max(((x, differences(x)) for x in (x1, x2)), key=lambda side: int(side[1].max()))
    place = int(counts.argmax())
    return jax.tree.map(lambda a, b: jnp.stack([a[0], b[place]]), x1, x)


@dataclass(frozen=True)
class Outputs:
    """Number and dtype of the outputs of one example."""

    count: int
    dtype: jnp.dtype


def outputs_of(function: Function, leaves: list[Array], pair: Tree) -> Outputs:
    """Of the function; ValueError if it fails, or unless it gives one real array whose leading axis counts examples."""
    try:
        found = jax.eval_shape(lambda p, x: function.f(jax.tree.unflatten(function.structure, p), x), leaves, pair)
    except Exception as error:
        shapes = jax.tree.map(lambda a: a.shape, pair)
        raise ValueError(f"the model failed on 2 of the examples, shape {shapes}: {error}") from error
    shape = getattr(found, "shape", None)
    if shape is None or shape[:1] != (2,):
        what = type(found).__name__ if shape is None else f"shape {shape}"
        raise ValueError(f"f gives {what} for 2 examples: give one array, (n,) or (n, ...)")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"f's outputs have dtype {found.dtype}: the NTK is defined for real, floating-point ones")
    if 0 in shape:
        raise ValueError(f"f gives shape {shape}, no output at all: there is nothing to differentiate")
    return Outputs(math.prod(shape[1:]), found.dtype)


def refuse_interaction(function: Function, leaves: list[Array], pair: Tree) -> None:
    """ValueError if the gradient of either of two examples changes when the other joins its batch."""
    for x in (pair, jax.tree.map(lambda a: a[::-1], pair)):  # they may interact in one order only
        difference, largest = _interaction(function, leaves, x)
        rounding = float(jnp.spacing(jnp.ones((), difference.dtype)))
        if float(difference) > rounding**0.5 * float(largest):
            raise ValueError(
                "examples interact: the gradient of one example's outputs changes when another joins its batch; normalize by "
                "stored statistics, take randomness and interaction out, or see that the leading axis counts examples"
            )


@partial(jax.jit, static_argnums=0)
def _interaction(function: Function, leaves: list[Array], pair: Tree) -> tuple[Array, Array]:
    """How far the gradients of two examples alone are from those in a pair, and their largest entry."""

    def combined(chosen: list[Array], x: Tree) -> Array:
        given = list(leaves)
        for place, leaf in zip(function.differentiated, chosen, strict=True):
            given[place] = leaf
        f = function(given, x)
        return f @ jnp.cos(jnp.arange(1, f.shape[1] + 1, dtype=f.dtype))  # irregular, so that errors do not cancel

    chosen = [leaves[i] for i in function.differentiated]
    joined = jax.jacrev(combined)(chosen, pair)
    first, second = (jax.jacrev(combined)(chosen, jax.tree.map(lambda a, i=i: a[i : i + 1], pair)) for i in range(2))
    alone = jax.tree.map(lambda *rows: jnp.concatenate(rows), first, second)
    differences = jnp.stack([jnp.abs(a - b).max() for a, b in zip(alone, joined, strict=True)])
    largest = jnp.stack([jnp.abs(a).max() for a in alone])
    return differences.max(), largest.max()


@partial(jax.jit, static_argnums=(0, 1))
def jacobian(
    function: Function, places: tuple[int, ...], leaves: list[Array], x: Tree, cotangents: Array
) -> tuple[Jacobian, Array]:
    """Gradients of the products of the outputs with `cotangents` (B, O), and whether all outputs are finite."""

    def products(chosen: list[Array], example: Tree) -> tuple[Array, Array]:
        f = function.of_one(chosen, places, leaves, example)
        return cotangents @ f, jnp.isfinite(f).all()

    gradients, finite = jax.vmap(jax.jacrev(products, has_aux=True), (None, 0))([leaves[i] for i in places], x)
    return [g.reshape(*g.shape[:2], -1).astype(cotangents.dtype) for g in gradients], finite.all()


def saved_bytes(function: Function, leaves: list[Array], x: Tree) -> int:
    """What a forward pass of the first example keeps for the backward pass, parameters left aside."""
    example = jax.tree.map(lambda a: a[0], x)
    places = function.differentiated
    kept = jax.eval_shape(
        lambda chosen: jax.vjp(lambda c: function.of_one(c, places, leaves, example), chosen)[1], [leaves[i] for i in places]
    )
    own = Counter((leaf.shape, leaf.dtype) for leaf in leaves)
    sizes = Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(kept))
    return sum(count * math.prod(shape) * dtype.itemsize for (shape, dtype), count in (sizes - own).items())
