"""K3 and K4 from first-order responses (the 2n+1 rule of perturbation theory), in blocks of points.

With `g_a = grad f_a`, `H_a` the Hessian of `f_a`, `w_ac = H_a g_c` and `T_a` the third derivative along three gradients,

    K3_abc  = w_ac.g_b + w_bc.g_a
    K4_abcd = T_a(b,c,d) + T_b(a,c,d) + w_ac.w_bd + w_ad.w_bc + w_ab.w_cd + w_ba.w_cd

and all of it follows from the first-order responses of activations and signals of point a along `g_c`. Every inner product of
parameter-sized vectors is a sum over layers of products of inner products, as for the NTK. Dots mark derivatives; an
array with axes (unit, a, c) holds the response of point a along `g_c`.

The compiled functions give `w_ac.g_b`, `T_a` and `w_ac.w_bd` for points a and b of two blocks, c and d running over all;
`assembly` adds them to the kernels on the host, so that nothing on the device is larger than a block asks for.
"""

from functools import partial
from itertools import starmap
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import Activations, Signals, Theta, add, combine, linearize, over_networks
from ntkbench.backends.jax.stepping import steps
from ntkbench.hierarchy import right_hand_side
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected

PAIRS = 2**16
"""Products of two responses held at once, about: what a processor's cache takes."""


class Pieces(NamedTuple):
    """What the kernels are sums of, points a of one block and b of another; None where not asked for.

    Attributes:
        second: K2 at [a, b], all b.
        third: `w_ac.g_b` at [a, c, b], all b.
        fourth: `T_a(b, c, d)` at [a, b, c, d], all b.
        squares: `w_ac.w_bd` at [a, c, b, d].
    """

    second: Array | None = None
    third: Array | None = None
    fourth: Array | None = None
    squares: Array | None = None


class LayerProducts(NamedTuple):
    """Inner products over the units of one layer l, points a of a block; None where a response vanishes identically.

    Attributes:
        delta: `delta_l^a . delta_l^b`, (block, n).
        metric: `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2`, (block, n).
        ddelta_delta: `[a, c, b]`, response of `delta_l^a` along `g_c` with `delta_l^b`; None for the readout.
        dh_h: `[a, c, b]`, `c_l^2` times the response of `h_{l-1}^a` along `g_c` with `h_{l-1}^b`; None for the first layer.
    """

    delta: Array
    metric: Array
    ddelta_delta: Array | None
    dh_h: Array | None


class Responses(NamedTuple):
    """Of a block of points along every gradient, hidden layers l = 1..depth at `[l - 1]`.

    Attributes:
        z, h, u, delta: (width, block, n) each.
        cubic, quadratic: `sigma''' u` and `sigma''` at the points themselves, (width, block) each.
        products: of all layers.
    """

    z: list[Array]
    h: list[Array]
    u: list[Array]
    delta: list[Array]
    cubic: list[Array]
    quadratic: list[Array]
    products: list[LayerProducts]


class Factors(NamedTuple):
    """What the pieces of K4 are sums of products of: the arguments of one product each.

    `T_a` is fixed by two sums over layers, of the activations' curvature and of the weights' own bilinear coupling.

    Attributes:
        curvatures: of `products_of_curvatures`, hidden layers.
        couplings: of `products_of_couplings`, inner layers.
        grams: of `products_of_responses`, all layers.
        crossings: of `products_across`, inner layers.
    """

    curvatures: list[tuple[Array, ...]]
    couplings: list[tuple[Array, ...]]
    grams: list[tuple[Array, ...]]
    crossings: list[tuple[Array, ...]]


@partial(jax.jit, static_argnums=(0, 3))
def lower_orders(net: FullyConnected, theta: Theta, x: Array, order: int, first: Array, second: Array | None = None) -> Pieces:
    """Pieces of K2, K3 and, for order 4, K4, of all seeds; see `pieces`."""
    copies = over_networks(lambda one, points: pieces(net, one, points, order, first, second), theta, x)
    return Pieces(*(None if k is None else combine(net, k, r) for r, k in zip((2, 3, 4, 4), copies, strict=True)))


def pieces(net: FullyConnected, theta: Theta, x: Array, order: int, first: Array, second: Array | None) -> Pieces:
    """Of one network. `first` and `second` hold the blocks' points; only if `second` is None, meaning `first`, is all made."""
    if second is not None:
        return Pieces(squares=_squares(factors(net, theta, x, first, second)))
    one = _responses(net, theta, *linearize(net, theta, x), first)
    K2, third = add(p.delta * p.metric for p in one.products), _third(one.products)
    if order == 3:
        return Pieces(K2, third)
    of = _factors(net, one, first, one, first)
    coupling = add(starmap(products_of_couplings, of.couplings)) if of.couplings else None
    return Pieces(K2, third, symmetrized(add(starmap(products_of_curvatures, of.curvatures)), coupling), _squares(of))


def factors(net: FullyConnected, theta: Theta, x: Array, first: Array, second: Array | None) -> Factors:
    """Of one network; those of `T_a` only if `second` is None, meaning `first`."""
    points = linearize(net, theta, x)
    one = _responses(net, theta, *points, first)
    if second is None:
        return _factors(net, one, first, one, first)
    return _factors(net, one, first, _responses(net, theta, *points, second), second)


def _responses(net: FullyConnected, theta: Theta, activations: Activations, signals: Signals, block: Array) -> Responses:
    """One forward and one backward tangent pass for all pairs (a, c)."""
    h_at, delta_at = [h[:, block] for h in activations.h], [delta[:, block] for delta in signals.delta]
    metrics = [
        layer.weight_multiplier**2 * (at.T @ h) + layer.bias_multiplier**2
        for layer, at, h in zip(net.layers, h_at, activations.h, strict=True)
    ]
    grams = [at.T @ delta for at, delta in zip(delta_at, signals.delta, strict=True)]
    first, second, third = ([derivatives[order][:, block] for derivatives in activations.derivatives] for order in (1, 2, 3))
    u_at = [u[:, block] for u in signals.u]
    dz: list[Array] = []
    dh: list[Array] = []
    for l in range(1, net.depth + 1):
        along = signals.delta[l - 1][:, None, :] * metrics[l - 1]
        if l > 1:
            along = along + net.layers[l - 1].weight_multiplier * _apply(theta[f"W{l}"], dh[-1])
        dz.append(along)
        dh.append(first[l - 1][:, :, None] * along)
    du: list[Array] = []
    ddelta: list[Array] = []
    for l in range(net.depth, 0, -1):
        c = net.layers[l].weight_multiplier
        along = c**2 * activations.h[l][:, None, :] * grams[l]
        if l < net.depth:
            along = along + c * _apply(theta[f"W{l + 1}"].T, ddelta[0])
        du.insert(0, along)
        ddelta.insert(0, (second[l - 1] * u_at[l - 1])[:, :, None] * dz[l - 1] + first[l - 1][:, :, None] * along)
    cubic = [curvature * u for curvature, u in zip(third, u_at, strict=True)]
    products = _products(net, activations, signals, dh, ddelta, metrics, grams)
    return Responses(dz, dh, du, ddelta, cubic, second, products)


def _apply(weights: Array, response: Array) -> Array:
    """Matrix times (fan_in, block, n)."""
    units, *pairs = response.shape
    return (weights @ response.reshape(units, -1)).reshape(-1, *pairs)


def _products(
    net: FullyConnected,
    activations: Activations,
    signals: Signals,
    dh: list[Array],
    ddelta: list[Array],
    metrics: list[Array],
    grams: list[Array],
) -> list[LayerProducts]:
    products = []
    for l, layer in enumerate(net.layers, start=1):
        ddelta_delta = jnp.einsum("uac,ub->acb", ddelta[l - 1], signals.delta[l - 1]) if l <= net.depth else None
        dh_h = layer.weight_multiplier**2 * jnp.einsum("uac,ub->acb", dh[l - 2], activations.h[l - 1]) if l > 1 else None
        products.append(LayerProducts(grams[l - 1], metrics[l - 1], ddelta_delta, dh_h))
    return products


def _third(products: list[LayerProducts]) -> Array:
    """`w_ac.g_b` at [a, c, b]."""
    terms = [p.ddelta_delta * p.metric[:, None, :] for p in products if p.ddelta_delta is not None]
    terms += [p.dh_h * p.delta[:, None, :] for p in products if p.dh_h is not None]
    return add(terms)


def _factors(net: FullyConnected, one: Responses, first: Array, two: Responses, second: Array) -> Factors:
    of = Factors([], [], [], [])
    for l, (layer, p, q) in enumerate(zip(net.layers, one.products, two.products, strict=True), start=1):
        if p.ddelta_delta is not None:
            of.grams.append((one.delta[l - 1], two.delta[l - 1], p.metric[:, second]))
        if p.dh_h is not None:
            of.grams.append((one.h[l - 2], two.h[l - 2], layer.weight_multiplier**2 * p.delta[:, second]))
        if p.ddelta_delta is not None and p.dh_h is not None and q.ddelta_delta is not None and q.dh_h is not None:
            of.crossings.append((p.ddelta_delta[:, :, second], q.dh_h[:, :, first]))
            of.crossings.append((p.dh_h[:, :, second], q.ddelta_delta[:, :, first]))
            if two is one:
                of.couplings.append((p.ddelta_delta, p.dh_h))
    if two is one:
        of.curvatures.extend(zip(one.cubic, one.quadratic, one.z, one.u, strict=True))
    return of


def _squares(of: Factors) -> Array:
    """`w_ac.w_bd` at [a, c, b, d]."""
    return add([*starmap(products_of_responses, of.grams), *starmap(products_across, of.crossings)])


def products_of_responses(one: Array, two: Array, factor: Array) -> Array:
    """Inner products of all pairs of responses times a factor of their points, at [a, c, b, d]."""
    units, *shape = one.shape
    grams = (one.reshape(units, -1).T @ two.reshape(units, -1)).reshape(*shape, *two.shape[1:])
    return grams * factor[:, None, :, None]


def products_across(one: Array, two: Array) -> Array:
    """From [a, c, b] and [b, d, a], at [a, c, b, d]."""
    return one[:, :, :, None] * jnp.einsum("bda->abd", two)[:, None]


def products_of_couplings(ddelta_delta: Array, dh_h: Array) -> Array:
    """The weights' own bilinear coupling, at [a, b, c, d] before it is made symmetric."""
    return ddelta_delta[:, :, :, None] * jnp.einsum("akj->ajk", dh_h)[:, None, :, :]


def products_of_curvatures(cubic: Array, quadratic: Array, dz: Array, du: Array) -> Array:
    """`sum_units dz^ab dz^ac (cubic dz^ad / 3 + quadratic du^ad)` at [a, b, c, d].

    A few points at a time, since the products of all pairs of responses of all points would take n^3 units.
    """

    def one_point(point: tuple[Array, Array, Array, Array]) -> Array:
        cubic_a, quadratic_a, dz_a, du_a = point
        n = dz_a.shape[1]
        pairs = (dz_a[:, :, None] * dz_a[:, None, :]).reshape(-1, n * n)
        along = cubic_a[:, None] * dz_a / 3 + quadratic_a[:, None] * du_a
        return (pairs.T @ along).reshape(n, n, n)

    points = (cubic.T, quadratic.T, jnp.moveaxis(dz, 1, 0), jnp.moveaxis(du, 1, 0))
    found: Array = jax.lax.map(one_point, points, batch_size=points_at_a_time(*dz.shape))
    return found


def symmetrized(curvature: Array, coupling: Array | None) -> Array:
    """`T_a(b, c, d)` at [.., a, b, c, d], symmetric in b, c, d, from the sums over layers; no coupling at depth 1."""
    terms = [jnp.einsum(f"...{slots}->...abcd", curvature) for slots in ("abcd", "adbc", "acdb")]
    if coupling is not None:
        terms += [jnp.einsum(f"...{slots}->...abcd", coupling) for slots in ("abcd", "abdc", "acbd", "acdb", "adbc", "adcb")]
    return add(terms)


def points_at_a_time(units: int, block: int, n: int) -> int:
    """Of a block, whose pairs of responses are held at once; a divisor of the block, so that all calls have one size."""
    fitting = [size for size in range(1, block + 1) if block % size == 0 and size * units * n**2 <= PAIRS]
    return max(fitting, default=1)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance(method: Tableau, state: tuple[Array, ...], top: Array, y: Array, step: float, count: int) -> tuple[Array, ...]:
    """The truncated hierarchy's state `(f, K2, .., K_{p-1})`, `count` steps later; `state` is overwritten."""

    def slope(at: tuple[Array, ...]) -> tuple[Array, ...]:
        return right_hand_side(at, top, y)

    return steps(slope, state, step, count, method)
