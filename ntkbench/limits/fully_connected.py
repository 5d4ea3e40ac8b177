"""Limiting kernels of fully connected networks: one tile of pairs of points."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from ntkbench.limits import recursion
from ntkbench.limits.limit import Limit, NoWindow, limit, variances
from ntkbench.limits.tiles import Run
from ntkbench.networks import Network

Array = Any

_NEARLY_PARALLEL = 0.05
"""Half the sine of the angle below which it is computed from differences of vectors; above it `1 - cos^2` loses one digit."""

_ARRAYS = 10
"""Arrays of a tile's shape that are alive at once."""


class Layers(NamedTuple):
    """How the kernels of an architecture of dense layers go from layer to layer.

    Attributes:
        limit: of a network and its largest variance.
        smooth: `smooth_tile`, or its like. relu: `relu_tile`, or its like.
        near: of `relu`, what follows once the angles of the inputs are known.
    """

    limit: Callable[[Network, float], Limit]
    smooth: Callable[..., tuple[Array, Array]]
    relu: Callable[..., tuple[Array, Array, Array]]
    near: Callable[..., tuple[Array, Array]]


class PointPairs:
    """Kernels of a network of dense layers, tile by tile (`ntkbench.limits.tiles.Pairs`).

    Args:
        layers: those of its architecture.
        x1, x2: (n1, d) and (n2, d), of one dtype.
        memory_bytes: budget for the differences of nearly parallel vectors.
        run: as in `ntkbench.limits.kernels`.
    """

    def __init__(self, layers: Layers, net: Network, x1: np.ndarray, x2: np.ndarray, memory_bytes: int, run: Run):
        factors = [_preactivation_factors(net, x1)]
        factors.append(factors[0] if x2 is x1 else _preactivation_factors(net, x2))
        self._q = [np.einsum("ni,ni->n", u, u)[:, None] for u in factors]
        self._layers = layers
        self._limit = layers.limit(net, max(float(q.max()) for q in self._q))
        self._chunk = max(1, memory_bytes // (4 * factors[0].strides[0]))
        self._run = run
        if net.activation == "relu":
            scales = [np.sqrt(np.where(q > 0, q, 1.0)).astype(q.dtype) for q in self._q]
            units = [factors[0] / scales[0]]
            factors = [*units, units[0] if x2 is x1 else factors[1] / scales[1]]
        self._factors = factors

    def bytes_per_tile(self, rows: int, columns: int) -> int:
        """Temporaries of one tile."""
        itemsize, series = self._factors[0].itemsize, 4 * max(self._limit.terms)
        return int(itemsize * (_ARRAYS * rows * columns + (2 * self._factors[0].shape[1] + series) * (rows + columns)))

    def tile(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """NNGP and NTK of the points in `rows` with those in `columns`."""
        u1, u2, q1, q2 = self._factors[0][rows], self._factors[1][columns], self._q[0][rows], self._q[1][columns]
        function = self._layers.relu if self._limit.activation == "relu" else self._layers.smooth
        nngp, ntk, *near = self._run(function, self._limit, u1, u2, q1, q2)
        if near and near[0].any():
            nngp, ntk = np.require(nngp, requirements="W"), np.require(ntk, requirements="W")
            i, j = np.nonzero(near[0])
            for start in range(0, len(i), self._chunk):
                a, b = i[start : start + self._chunk], j[start : start + self._chunk]
                nngp[a, b], ntk[a, b] = self._nearly_parallel(u1[a], u2[b], q1[a], q2[b])
        return nngp, ntk

    def _nearly_parallel(self, u1: np.ndarray, u2: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> tuple[Array, Array]:
        """Of pairs (m,) from differences and sums of unit vectors: `h = |u1 - u2|^2 / 4`, `1 - h = |u1 + u2|^2 / 4`."""
        haversine, opposite = (np.einsum("ni,ni->n", w, w)[:, None] / 4 for w in (u1 - u2, u1 + u2))
        root = np.sqrt(haversine) * np.sqrt(opposite)
        nngp, ntk = self._layers.near(np, self._limit, q1, q2, haversine, root)
        return nngp[:, 0], ntk[:, 0]


def _preactivation_factors(net: Network, x: np.ndarray) -> np.ndarray:
    """Rows whose inner products are `Sigma^(1)`: `(sqrt(v / d) x, sqrt(b))`, (n, d + 1), or (n, d) without biases."""
    scaled: np.ndarray = x * x.dtype.type(math.sqrt(net.weight_variance / net.input_dim))
    if net.bias_variance == 0:
        return scaled
    return np.concatenate([scaled, np.full((len(x), 1), math.sqrt(net.bias_variance), x.dtype)], axis=1)


def smooth_tile(limit: Limit, u1: Array, u2: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """NNGP and NTK, (n1, n2), from factors (n1, k), (n2, k) and variances (n1, 1), (n2, 1)."""
    xp, window = array_namespace(u1, u2), NoWindow()
    sides1, sides2 = (variances(xp, limit, q, window) for q in (q1, q2.T))
    return readout(limit, recursion.smooth(xp, limit, sides1, sides2, u1 @ u2.T, window))


def relu_tile(limit: Limit, u1: Array, u2: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """As `smooth_tile` from unit vectors, and which pairs are too nearly parallel for that, (n1, n2)."""
    xp = array_namespace(u1, u2)
    haversine, root, near = angles(xp, u1, u2)
    return *_relu(xp, limit, q1, q2.T, haversine, root), near


def angles(xp: Any, u1: Array, u2: Array) -> tuple[Array, Array, Array]:
    """Haversines h of unit vectors, `sqrt(h (1 - h))`, and which are too small for that, (n1, n2)."""
    haversine = u1 @ u2.T
    haversine *= -0.5
    haversine += 0.5
    root = haversine * haversine
    root = haversine - root
    root = xp.sqrt(xp.abs(root))
    return haversine, root, root < _NEARLY_PARALLEL


def _relu(xp: Any, limit: Limit, q1: Array, q2: Array, haversine: Array, root: Array) -> tuple[Array, Array]:
    window = NoWindow()
    sides1, sides2 = (variances(xp, limit, q, window) for q in (q1, q2))
    return readout(limit, recursion.relu(xp, limit, sides1, sides2, haversine, root, window))


def readout(limit: Limit, hidden: tuple[Array, Array]) -> tuple[Array, Array]:
    """NNGP and NTK of the outputs from those of the last hidden layer, up to biases; in place."""
    nngp, ntk = hidden
    nngp += limit.bias_variance
    ntk += limit.constant
    return nngp, ntk


LAYERS = Layers(limit, smooth_tile, relu_tile, _relu)
"""Of fully connected networks."""
