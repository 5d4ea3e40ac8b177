"""Nested responses of activations and back-propagated signals to steps along gradients.

With `D_c` the derivative along the field `g_c = grad f_c`, which moves with the parameters itself, the responses of a signal
`s` of point a are `s^{a|c} = D_c s^a`, `s^{a|ce} = D_e D_c s^a`, and so on: direction axes in the order of differentiation.
Arrays of responses of orders 0, 1, ..., one more direction axis each, are a `Jet`, and products of jets follow Leibniz' rule.
What the weights do is of rank one,

    D_c (c_l W_l s) = c_l W_l s^{|c} + delta_l^c (c_l^2 h_{l-1}^c . s)

and is differentiated again as the product of jets that it is, so that no array has the shape of a weight matrix. A response
below the first along an array without responses vanishes: a jet simply ends where the rest is zero (the inputs, `delta_L`).

Axes of a jet's coefficient of order k: (B, k directions, own axes).
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import torch

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.network import Tensor, Tensors, affine, pull_back, scaled_product
from ntkbench.networks import FullyConnected

Jet = list[Tensor]
"""`[s, s^{|c}, s^{|ce}, ...]`, as far as not zero."""


class Overlaps:
    """Scalar products of a signal with its own responses, `scale * s^b . s^{a|s_0 .. s_{i-1}} + constant`, each computed once.

    Args:
        signal: a jet, to which orders may be added later.
        constant: there for i = 0, what a bias adds.
    """

    def __init__(self, signal: Jet, scale: float, constant: float = 0.0):
        self.signal, self.scale, self.constant = signal, scale, constant
        self._known: dict[int, Jet] = {}

    def up_to(self, order: int, i: int) -> Jet:
        """The jet up to `order`, with own axes (b, (s_0 .. s_{i-1}, a)); empty where there is no such response."""
        known = self._known.setdefault(i, [])
        last = min(order, 2 * (len(self.signal) - 1) - i) if i < len(self.signal) else -1
        if len(known) <= last:
            response = response_jet(self.signal, i)
            fresh = [dot(self.signal, response, k, self.scale) for k in range(len(known), last + 1)]
            if self.constant and i == 0 and not known:
                fresh[0] = fresh[0] + self.constant
            known += fresh
        return known[: order + 1]


@dataclass(frozen=True)
class Responses:
    """Jets of one copy's signals; lists run over the layers l = 1..L, those marked * over the hidden ones.

    Attributes:
        hidden: `h_{l-1}`; z*: `z_l`; slopes*: `[sigma(z_l), sigma'(z_l), ...]`; back: `delta_l`; upstream*: `c_{l+1} W_{l+1}^T
            delta_{l+1}`, all with own axes (a, u).
        forward: of `h_{l-1}`, times `c_l^2` and plus `e_l^2`. backward: of `delta_l`.
    """

    hidden: list[Jet]
    z: list[Jet]
    slopes: list[list[Jet]]
    back: list[Jet]
    upstream: list[Jet]
    forward: list[Overlaps]
    backward: list[Overlaps]


def responses(net: FullyConnected, theta: Tensors, x: Tensor, order: int, directions: slice) -> Responses:
    """Nested responses up to `order`, 1 to 3, along the gradients at the points `directions`; beyond order 1 all points.

    Args:
        x: (B, n, d).
    """
    found = signals(net, theta, x, order)
    for k in range(1, order + 1):
        for l in range(1, net.depth + 1):
            below = found.hidden[l - 1]
            moved = affine_response(net, theta, l, below[k]) if len(below) > k else None
            moved = _through_weights(found.forward[l - 1], found.back[l - 1], 1.0, k, directions, moved)
            found.z[l - 1].append(moved)
            for j, slope in enumerate(found.slopes[l - 1]):
                if k <= min(order - (j > 1), order + 2 - j):
                    slope.append(_chain(found.slopes[l - 1][j + 1], found.z[l - 1], k))
        for l in range(net.depth, 0, -1):
            above, squared_scale = found.back[l], net.layers[l].weight_multiplier ** 2
            moved = pull_back_response(net, theta, l + 1, above[k]) if len(above) > k else None
            moved = _through_weights(found.backward[l], found.hidden[l], squared_scale, k, directions, moved)
            found.upstream[l - 1].append(moved)
            found.back[l - 1].append(times(found.slopes[l - 1][1], found.upstream[l - 1], k))
    return found


def signals(net: FullyConnected, theta: Tensors, x: Tensor, order: int) -> Responses:
    """Jets of order 0, of all derivatives of the activation that responses up to `order` need."""
    found = Responses([[x]], [], [], [[torch.ones_like(x[..., :1])]], [], [], [])
    for l in range(1, net.depth + 1):
        z = affine(net, theta, l, found.hidden[-1][0])
        found.z.append([z])
        found.slopes.append([[value] for value in derivatives(net.activation, z, order + 2)])
        found.hidden.append(found.slopes[-1][0])
    for l in range(net.depth, 0, -1):
        upstream = pull_back(net, theta, l + 1, found.back[0][0])
        found.upstream.insert(0, [upstream])
        found.back.insert(0, [upstream * found.slopes[l - 1][1][0]])
    for layer, hidden, back in zip(net.layers, found.hidden, found.back, strict=True):
        found.forward.append(Overlaps(hidden, layer.weight_multiplier**2, layer.bias_multiplier**2))
        found.backward.append(Overlaps(back, 1.0))
    return found


def affine_response(net: FullyConnected, theta: Tensors, l: int, response: Tensor) -> Tensor:
    """`c_l W_l response` for a response (B, ..., m_{l-1})."""
    pushed = scaled_product(response.flatten(1, -2), theta[f"W{l}"].mT, net.layers[l - 1].weight_multiplier)
    return pushed.view(*response.shape[:-1], -1)


def pull_back_response(net: FullyConnected, theta: Tensors, l: int, response: Tensor) -> Tensor:
    """`c_l W_l^T response` for a response (B, ..., m_l)."""
    return pull_back(net, theta, l, response.flatten(1, -2)).view(*response.shape[:-1], -1)


def _through_weights(overlaps: Overlaps, carrier: Jet, scale: float, k: int, directions: slice, into: Tensor | None) -> Tensor:
    """Order k of what moving weights W_l do to a signal: h_{l-1}, carried by delta_l, or backward the other way round.

    Term i: the weights move first along direction s_i, after the signal has responded to those before it.

    Args:
        into: what the terms are added to.
    """
    if directions != slice(None):
        carrier = [c[..., directions, :] for c in carrier]

    def term(i: int, into: Tensor | None) -> Tensor:
        found = overlaps.up_to(k - 1 - i, i)
        if directions != slice(None):
            found = [o[..., directions, :] for o in found]
        # Own axes of the overlaps are (s_i, (s_0 .. s_{i-1}, a)), those of the result (s_0 .. s_i, later directions, a, u).
        apart = [o.view(*o.shape[: q + 2], *[o.shape[q + 1]] * i, -1) for q, o in enumerate(found)]
        first = [*range(1, i + 2)]
        moving = [_moved(o, [*range(q + 2, q + 2 + i), q + 1], first).unsqueeze(-1) for q, o in enumerate(apart)]
        carried = [_moved(c, [c.ndim - 2], [1])[(slice(None), *[None] * i)].unsqueeze(-2) for c in carrier]
        return times(carried, moving, k - 1 - i, into, scale, skip=i + 1)

    moved = term(0, into)
    for i in range(1, min(k, len(overlaps.signal))):
        moved = term(i, moved)
    return moved


def response_jet(jet: Jet, i: int = 1) -> Jet:
    """The response to the first `i` directions as a jet of its own, with own axes (those directions and a, u)."""
    if i == 0:
        return jet
    first = [*range(1, i + 1)]
    return [_moved(s, first, [*range(s.ndim - 2 - i, s.ndim - 2)]).flatten(-2 - i, -2) for s in jet[i:]]


def _moved(s: Tensor, source: list[int], target: list[int]) -> Tensor:
    """`s.movedim`, but nothing is asked of torch where nothing moves: at small sizes calls are what takes the time."""
    return s if source == target else s.movedim(source, target)


@cache
def _splits(k: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """All ways to deal k directions to two factors."""
    inside = [axes for size in range(k, -1, -1) for axes in combinations(range(k), size)]
    return tuple((axes, tuple(a for a in range(k) if a not in axes)) for axes in inside)


def _spread(coefficient: Tensor, axes: tuple[int, ...], k: int, skip: int) -> Tensor:
    """A coefficient with direction axes `axes` and axes of length 1 for the other of k directions, behind B and `skip` axes."""
    return coefficient if len(axes) == k else coefficient[_index(axes, k, skip)]


@cache
def _index(axes: tuple[int, ...], k: int, skip: int) -> tuple[slice | None, ...]:
    return (slice(None),) * (1 + skip) + tuple(slice(None) if a in axes else None for a in range(k))


@cache
def _order_of_axes(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Brings (B, one's directions, rows, other's directions, columns) into the order (B, directions, rows, columns)."""
    k = len(one) + len(other)
    places = (0, *(a + 1 for a in one), k + 1, *(a + 1 for a in other), k + 2)
    return tuple(places.index(axis) for axis in range(k + 3))


def times(x: Jet, y: Jet, k: int, into: Tensor | None = None, value: float = 1.0, skip: int = 0) -> Tensor:
    """Order k of the elementwise product, own axes aligned by the caller, times `value`; added to `into` where it is given."""
    for one, other in _splits(k):
        if len(one) < len(x) and len(other) < len(y):
            left, right = _spread(x[len(one)], one, k, skip), _spread(y[len(other)], other, k, skip)
            if into is not None:
                into.addcmul_(left, right, value=value)
            else:
                into = left * right if value == 1.0 else left * right * value
    if into is None:
        raise ValueError(f"a product of jets that end at orders {len(x) - 1} and {len(y) - 1} has no order {k}")
    return into


def dots(x: Jet, y: Jet, highest: int, scale: float = 1.0) -> Jet:
    """Scalar products over units of jets with own axes (rows, u) and (columns, u): own axes (rows, columns)."""
    if not x or not y:
        return []
    return [dot(x, y, k, scale) for k in range(min(highest, len(x) + len(y) - 2) + 1)]


def dot(x: Jet, y: Jet, k: int, scale: float) -> Tensor:
    """Order k of `dots`."""
    grams = []
    for one, other in _splits(k):
        if len(one) < len(x) and len(other) < len(y):
            left, right = x[len(one)], y[len(other)]
            rows, columns = left.flatten(1, -2), right.flatten(1, -2).mT
            gram = torch.bmm(rows, columns) if scale == 1.0 else scaled_product(rows, columns, scale)
            gram = gram.view(*left.shape[:-1], *right.shape[1:-1])
            grams.append(gram.permute(_order_of_axes(one, other)) if k else gram)
    total, *others = grams
    for gram in others:
        total += gram
    return total


def _chain(outer: Jet, z: Jet, k: int) -> Tensor:
    """Order k >= 1 of a function of z, `outer` being the jet of its derivative: `D_c s(z) = s'(z) z^{|c}`."""
    first = [s.unsqueeze(1) for s in outer]
    return times(first, z[1:], k - 1, skip=1)
