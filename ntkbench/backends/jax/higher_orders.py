"""K5 and K6: the pieces of K4, differentiated once or twice along the gradients.

`K_{r+1}(.., e) = <grad K_r, g_e>`, and everything that K4 is made of is a function of the parameters, the gradients inside
included. Along `g_e` the weights of a layer move by a product of rank one, `c_l delta_l^e h_{l-1}^e^T`, so that the moved
network is kept as `W_l + c_l Delta_l diag(eps) H_{l-1}^T` and differentiated in eps: no gradient is ever formed. For K6 the
factors of the inner movement are those of the network moved by the outer one.

It is compiled in stages: the factors of K4 with their derivatives (together, their jet), then by the chain rule every product
of factors, one compiled function for the products of all layers. In a single function the compiler repeats the cheap
operations of the first stage for every use in the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from ntkbench.backends.jax import hierarchy
from ntkbench.backends.jax.hierarchy import Factors, Pieces
from ntkbench.backends.jax.network import Theta, add, combine, linearize, over_networks
from ntkbench.networks import FullyConnected


@dataclass(frozen=True)
class Moved:
    """The matrix `base + left diag(eps) right^T`, for products with others."""

    base: "Array | Moved"
    left: Array
    eps: Array
    right: Array

    @property
    def T(self) -> "Moved":
        """Transposed."""
        return Moved(self.base.T, self.right, self.eps, self.left)

    def __matmul__(self, other: Array) -> Array:
        return self.base @ other + _movement(self.left, self.eps, self.right.T @ other)


@jax.custom_jvp
def _movement(left: Array, eps: Array, right: Array) -> Array:
    """`left diag(eps) right` at eps = 0, for its derivatives there: told so, nothing is multiplied by zeros."""
    return jnp.zeros((*left.shape[:-1], *right.shape[1:]), left.dtype)


def _movement_along(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """By the product rule; what does not move has a tangent of the type `SymbolicZero`."""
    (left, eps, right), (d_left, d_eps, d_right) = primals, tangents
    still = _movement(left, eps, right)
    terms = [jnp.zeros_like(still)] if isinstance(d_eps, SymbolicZero) else [left @ (d_eps[:, None] * right)]
    if not isinstance(d_left, SymbolicZero):
        terms.append(_movement(d_left, eps, right))
    if not isinstance(d_right, SymbolicZero):
        terms.append(_movement(left, eps, d_right))
    return still, add(terms)


_movement.defjvp(_movement_along, symbolic_zeros=True)


Jet = Any
"""A tree of arrays at the parameters, or a pair of jets: at the parameters, and its derivatives along the gradients."""


def higher_order(
    net: FullyConnected, theta: Theta, x: Array, order: int, last: Array, first: Array, second: Array | None = None
) -> Pieces:
    """Pieces of K5 or K6 of all seeds: those of K4 with the further points on axes behind, the last one in the block `last`."""
    jet = _factors(net, theta, x, order, last, first, second)

    def total(product: Callable[..., Array], name: str) -> Array | None:
        terms = _terms(jet, name)
        return add(_highest(product, order, term) for term in terms) if terms else None

    squares = [total(hierarchy.products_of_responses, "grams"), total(hierarchy.products_across, "crossings")]
    of_single = total(hierarchy.products_of_curvatures, "curvatures"), total(hierarchy.products_of_couplings, "couplings")
    found: Pieces = _assembled(net, order, squares, of_single)
    return found


def _terms(jet: Jet, name: str) -> list[Jet]:
    """The jets of the factors of each product."""
    lists: Jet = jax.tree.map(lambda of: getattr(of, name), jet, is_leaf=lambda node: isinstance(node, Factors))
    count = len(getattr(_lowest(jet), name))
    return [jax.tree.map(lambda terms, i=i: terms[i], lists, is_leaf=lambda node: isinstance(node, list)) for i in range(count)]


def _lowest(jet: Jet) -> Factors:
    """What is differentiated, at the parameters themselves."""
    while not isinstance(jet, Factors):
        jet = jet[0]
    return jet


def _directions(order: int, x: Array, last: Array) -> list[Array]:
    """Along one gradient each, of all points first and then of a block; x (.., n, d)."""
    eye = jnp.eye(x.shape[-2], dtype=x.dtype)
    return [eye, eye[last]][6 - order :]


@partial(jax.jit, static_argnums=(0, 1))
def _assembled(
    net: FullyConnected, order: int, squares: list[Array | None], fourth: tuple[Array | None, Array | None]
) -> Pieces:
    """Of all copies together, directions on the last axes."""

    def finished(kernels: Array) -> Array:
        directions = range(order - 3, 1, -1)
        return combine(net, jnp.moveaxis(kernels, tuple(directions), tuple(range(4 - order, 0))), order)

    curvature, coupling = fourth
    return Pieces(
        fourth=None if curvature is None else finished(hierarchy.symmetrized(curvature, coupling)),
        squares=finished(add(square for square in squares if square is not None)),
    )


@partial(jax.jit, static_argnums=(0, 3))
def _factors(net: FullyConnected, theta: Theta, x: Array, order: int, last: Array, first: Array, second: Array | None) -> Jet:
    """The jet of the factors of K4, of all seeds and copies."""

    def one_network(one: Theta, points: Array) -> Jet:
        def factors_at(at: Theta) -> Factors:
            return hierarchy.factors(net, at, points, first, second)

        function: Callable[[Theta], Jet] = factors_at
        for block in _directions(order, points, last):
            function = _with_derivatives(net, function, points, block)
        return function(one)

    found: Jet = over_networks(one_network, theta, x)
    return found


def _with_derivatives(
    net: FullyConnected, function: Callable[[Theta], Jet], points: Array, block: Array
) -> Callable[[Theta], Jet]:
    """A function of the parameters together with its derivatives along the `g_e` of a block, on a leading axis."""

    def both(theta: Theta) -> Jet:
        moved = _moved(net, theta, points)
        still = jnp.zeros(block.shape[1], block.dtype)

        def derivative(direction: Array) -> Jet:
            found: Jet = jax.jvp(lambda eps: function(moved(eps)), (still,), (direction,))
            return found

        found: Jet = jax.vmap(derivative, out_axes=(None, 0))(block)
        return found

    return both


@partial(jax.jit, static_argnums=(0, 1))
def _highest(product: Callable[..., Array], order: int, jet: Jet) -> Array:
    """The derivative of a product of factors from theirs, directions on axes behind the seeds and copies."""
    for _ in range(order - 4):
        product = _derivatives(product)
    found: Array = jax.vmap(jax.vmap(product))(*jet)
    return found


def _derivatives(function: Callable[..., Array]) -> Callable[..., Array]:
    """By the chain rule, of a function's arguments and their derivatives on a leading axis."""

    def found(at: Jet, along: Jet) -> Array:
        result: Array = jax.vmap(lambda tangent: jax.jvp(function, at, tangent)[1])(along)
        return result

    return found


def _moved(net: FullyConnected, theta: Theta, x: Array) -> Callable[[Array], Theta]:
    """The network at `theta + sum_e eps_e g_e`."""
    activations, signals = linearize(net, theta, x)

    def at(eps: Array) -> Theta:
        moved: dict[str, Any] = dict(theta)
        for l, (layer, delta, h) in enumerate(zip(net.layers, signals.delta, activations.h, strict=True), start=1):
            moved[f"W{l}"] = Moved(theta[f"W{l}"], layer.weight_multiplier * delta, eps, h)
            if f"b{l}" in theta:
                along = _movement(delta, eps, jnp.ones_like(eps[:, None]))[:, 0]
                moved[f"b{l}"] = theta[f"b{l}"] + layer.bias_multiplier * along
        return moved

    return at
