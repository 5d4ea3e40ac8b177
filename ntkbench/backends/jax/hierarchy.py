"""K3 and K4 from first-order responses (the 2n+1 rule of perturbation theory).

With `g_a = grad f_a`, `H_a` the Hessian of `f_a`, `w_ac = H_a g_c` and `T_a` the third derivative along three gradients,

    K3_abc  = w_ac.g_b + w_bc.g_a
    K4_abcd = T_a(b,c,d) + T_b(a,c,d) + w_ac.w_bd + w_ad.w_bc + w_ab.w_cd + w_ba.w_cd

and all of it follows from the first-order responses of activations and signals of point a along `g_c`. Every inner product of
parameter-sized vectors is a sum over layers of products of inner products, as for the NTK. Dots mark derivatives; an
array with axes (unit, a, c) holds the response of point a along `g_c`.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkbench.backends.jax.network import Activations, Signals, Theta, add, combine, linearize, over_networks
from ntkbench.hierarchy import right_hand_side, runge_kutta_step
from ntkbench.integrators import Tableau
from ntkbench.networks import FullyConnected


class Responses(NamedTuple):
    """Along every gradient, for hidden layers l = 1..depth at `[l - 1]`, (width, n, n) each."""

    z: tuple[Array, ...]
    h: tuple[Array, ...]
    u: tuple[Array, ...]
    delta: tuple[Array, ...]


class LayerProducts(NamedTuple):
    """Inner products over the units of one layer l; None where a response vanishes identically.

    Attributes:
        delta: `delta_l^a . delta_l^b`, (n, n).
        metric: `c_l^2 h_{l-1}^a . h_{l-1}^b + e_l^2`, (n, n).
        ddelta_delta: `[a, c, b]`, response of `delta_l^a` along `g_c` with `delta_l^b`; None for the readout.
        dh_h: `[a, c, b]`, `c_l^2` times the response of `h_{l-1}^a` along `g_c` with `h_{l-1}^b`; None for the first layer.
    """

    delta: Array
    metric: Array
    ddelta_delta: Array | None
    dh_h: Array | None


@partial(jax.jit, static_argnums=(0, 3))
def hierarchy(net: FullyConnected, theta: Theta, x: Array, order: int) -> dict[int, Array]:
    """`{2: K2, .., order: K_order}` of all seeds, order 3 or 4."""
    copies = over_networks(lambda one, points: _one_network(net, one, points, order), theta, x)
    return {r: combine(net, kernels, r) for r, kernels in copies.items()}


def _one_network(net: FullyConnected, theta: Theta, x: Array, order: int) -> dict[int, Array]:
    activations, signals = linearize(net, theta, x)
    metrics = [
        layer.weight_multiplier**2 * (h.T @ h) + layer.bias_multiplier**2
        for layer, h in zip(net.layers, activations.h, strict=True)
    ]
    grams = [delta.T @ delta for delta in signals.delta]
    responses = _responses(net, theta, activations, signals, metrics, grams)
    products = _products(net, activations, signals, responses, metrics, grams)
    kernels = {2: add(p.delta * p.metric for p in products), 3: _third(products)}
    if order == 4:
        kernels[4] = _fourth(net, activations, signals, responses, products)
    return kernels


def _responses(
    net: FullyConnected, theta: Theta, activations: Activations, signals: Signals, metrics: list[Array], grams: list[Array]
) -> Responses:
    """One forward and one backward tangent pass for all pairs (a, c)."""
    dz: list[Array] = []
    dh: list[Array] = []
    for l in range(1, net.depth + 1):
        along = signals.delta[l - 1][:, None, :] * metrics[l - 1]
        if l > 1:
            along = along + net.layers[l - 1].weight_multiplier * jnp.tensordot(theta[f"W{l}"], dh[-1], axes=1)
        dz.append(along)
        dh.append(activations.derivatives[l - 1][1][:, :, None] * along)
    du: list[Array] = []
    ddelta: list[Array] = []
    for l in range(net.depth, 0, -1):
        c = net.layers[l].weight_multiplier
        along = c**2 * activations.h[l][:, None, :] * grams[l]
        if l < net.depth:
            along = along + c * jnp.tensordot(theta[f"W{l + 1}"].T, ddelta[-1], axes=1)
        _, first, second, _ = activations.derivatives[l - 1]
        du.append(along)
        ddelta.append((second * signals.u[l - 1])[:, :, None] * dz[l - 1] + first[:, :, None] * along)
    return Responses(tuple(dz), tuple(dh), tuple(reversed(du)), tuple(reversed(ddelta)))


def _products(
    net: FullyConnected,
    activations: Activations,
    signals: Signals,
    responses: Responses,
    metrics: list[Array],
    grams: list[Array],
) -> list[LayerProducts]:
    products = []
    for l, layer in enumerate(net.layers, start=1):
        ddelta_delta = jnp.einsum("uac,ub->acb", responses.delta[l - 1], signals.delta[l - 1]) if l <= net.depth else None
        dh_h = None
        if l > 1:
            dh_h = layer.weight_multiplier**2 * jnp.einsum("uac,ub->acb", responses.h[l - 2], activations.h[l - 1])
        products.append(LayerProducts(grams[l - 1], metrics[l - 1], ddelta_delta, dh_h))
    return products


def _third(products: list[LayerProducts]) -> Array:
    """K3 from `w_ac.g_b`, held at [a, c, b]."""
    terms = [p.ddelta_delta * p.metric[:, None, :] for p in products if p.ddelta_delta is not None]
    terms += [p.dh_h * p.delta[:, None, :] for p in products if p.dh_h is not None]
    hessian_gradient = add(terms)
    return jnp.einsum("acb->abc", hessian_gradient) + jnp.einsum("bca->abc", hessian_gradient)


def _fourth(
    net: FullyConnected, activations: Activations, signals: Signals, responses: Responses, products: list[LayerProducts]
) -> Array:
    w = _hessian_products(net, responses, products)
    third = _third_derivatives(activations, signals, responses, products)
    return (
        third
        + jnp.einsum("bacd->abcd", third)
        + jnp.einsum("acbd->abcd", w)
        + jnp.einsum("adbc->abcd", w)
        + w
        + jnp.einsum("bacd->abcd", w)
    )


def _hessian_products(net: FullyConnected, responses: Responses, products: list[LayerProducts]) -> Array:
    """`w_ac.w_bd` at [a, c, b, d]."""
    terms = []
    for l, (layer, p) in enumerate(zip(net.layers, products, strict=True), start=1):
        if p.ddelta_delta is not None:
            terms.append(_pair_gram(responses.delta[l - 1]) * p.metric[:, None, :, None])
        if p.dh_h is not None:
            terms.append(layer.weight_multiplier**2 * _pair_gram(responses.h[l - 2]) * p.delta[:, None, :, None])
        if p.ddelta_delta is not None and p.dh_h is not None:
            crossed = p.ddelta_delta[:, :, :, None] * jnp.einsum("bda->abd", p.dh_h)[:, None, :, :]
            terms += [crossed, jnp.einsum("bdac->acbd", crossed)]
    return add(terms)


def _pair_gram(response: Array) -> Array:
    """Inner products of all pairs of responses: (units, n, n) to (n, n, n, n)."""
    units, n, _ = response.shape
    flat = response.reshape(units, n * n)
    return (flat.T @ flat).reshape(n, n, n, n)


def _third_derivatives(
    activations: Activations, signals: Signals, responses: Responses, products: list[LayerProducts]
) -> Array:
    """`T_a(b, c, d)` at [a, b, c, d]; symmetric in b, c, d.

    Two responses fix it: of the weights' own bilinear coupling, and of the activations' curvature.
    """
    curvature = add(
        _curvature(third * u, second, dz, du)
        for (_, _, second, third), u, dz, du in zip(activations.derivatives, signals.u, responses.z, responses.u, strict=True)
    )
    rotations = ("abcd", "adbc", "acdb")
    terms = [jnp.einsum(f"{order}->abcd", curvature) for order in rotations]
    couplings = [
        p.ddelta_delta[:, :, :, None] * jnp.einsum("akj->ajk", p.dh_h)[:, None, :, :]
        for p in products
        if p.ddelta_delta is not None and p.dh_h is not None
    ]
    if couplings:
        coupling = add(couplings)
        terms += [jnp.einsum(f"{order}->abcd", coupling) for order in ("abcd", "abdc", "acbd", "acdb", "adbc", "adcb")]
    return add(terms)


def _curvature(cubic: Array, quadratic: Array, dz: Array, du: Array) -> Array:
    """`sum_units dz^ab dz^ac (cubic dz^ad / 3 + quadratic du^ad)` at [a, b, c, d].

    Point by point, since the products of all pairs of responses of all points would take n^3 units.
    """

    def one_point(point: tuple[Array, Array, Array, Array]) -> Array:
        cubic_a, quadratic_a, dz_a, du_a = point
        n = dz_a.shape[1]
        pairs = (dz_a[:, :, None] * dz_a[:, None, :]).reshape(-1, n * n)
        along = cubic_a[:, None] * dz_a / 3 + quadratic_a[:, None] * du_a
        return (pairs.T @ along).reshape(n, n, n)

    points = (cubic.T, quadratic.T, jnp.moveaxis(dz, 1, 0), jnp.moveaxis(du, 1, 0))
    found: Array = jax.lax.map(one_point, points)
    return found


def bytes_per_seed(net: FullyConnected, n: int, order: int, itemsize: int) -> int:
    """Temporaries of `hierarchy` for one seed: responses of every layer, and the kernels with their permutations."""
    responses = 6 * net.depth * net.width * n * n
    return itemsize * net.copies * (net.parameter_count + responses + 10 * math.prod([n] * order))


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance(method: Tableau, state: tuple[Array, ...], top: Array, y: Array, step: float, count: int) -> tuple[Array, ...]:
    """The truncated hierarchy's state `(f, K2, .., K_{p-1})`, `count` steps later; `state` is overwritten."""

    def slope(at: tuple[Array, ...]) -> tuple[Array, ...]:
        return right_hand_side(at, top, y)

    def one_step(_: Array, at: tuple[Array, ...]) -> tuple[Array, ...]:
        return runge_kutta_step(slope, at, step, method)

    found: tuple[Array, ...] = jax.lax.fori_loop(0, count, one_step, state)
    return found
