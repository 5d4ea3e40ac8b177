"""Limiting kernels of convolutional networks (Garriga-Alonso et al. 2019; Novak et al. 2019; Arora et al. 2019, section 4).

At infinite width channels are independent, and what is left of a network is a kernel between positions, p of one image and p'
of another. With `M f(p, p')` the mean of `f(p + o, p' + o)` over the nine offsets o of the window (zero where either lies
outside a zero-padded image) and C input channels:

    Sigma^(1)(p, p') = v M (x(p).x'(p') / C) + b,    Sigma^(l+1) = v M E[sigma(u) sigma(u')] + b,
    Theta^(1) = Sigma^(1),                           Theta^(l+1) = Sigma^(l+1) + v M (Theta^(l) E[sigma'(u) sigma'(u')]).

The readout replaces M of the last layer by the mean over equal positions p = p' (`flatten`) or over all pairs
(`global_average`).

A window moves p and p' together, so that pairs of one displacement p' - p make up a problem of their own, of one array entry
per position: `flatten` needs displacement 0 only, `global_average` each in turn, by rolling the second image. With circular
padding that is exact as it stands; zero padding becomes circular in a frame one pixel wider, whose surplus row and column are
kept at zero. The cost is proportional to `n1 n2 p` for p positions, and to `n1 n2 p^2`.
"""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ntkbench.limits import recursion
from ntkbench.limits.arrays import inverse_root
from ntkbench.limits.limit import Limit, limit, variances
from ntkbench.limits.tiles import Run
from ntkbench.networks import KERNEL, Convolutional

Array = Any

_ARRAYS = 12
"""Arrays of one entry per pair of images and position that are alive at once."""

_OFFSETS = [(i - KERNEL // 2, j - KERNEL // 2) for i in range(KERNEL) for j in range(KERNEL)]


class _Patch:
    """The window on a torus of positions, the two leading axes; `mask` is 0 outside the image, None if there is no outside."""

    single = False

    def __init__(self, mask: Array | None):
        self._mask = mask

    def keep(self, f: Array) -> Array:
        return f if self._mask is None else f * self._mask

    def average(self, xp: Any, f: Array) -> Array:
        for axis in (0, 1):
            f = f + xp.roll(f, 1, axis=axis) + xp.roll(f, -1, axis=axis)
        return f * (1 / KERNEL**2)

    def neighbours(self, xp: Any, f: Array) -> list[Array]:
        f = f * (1 / KERNEL)
        return [xp.roll(f, (-i, -j), axis=(0, 1)) for i, j in _OFFSETS]


class ImagePairs:
    """Kernels of a convolutional network, tile by tile (`ntkbench.limits.tiles.Pairs`).

    Args:
        x1, x2: (n1, d) and (n2, d), of one dtype, rows in the order (height, width, channel).
        run: as in `ntkbench.limits.kernels`.
    """

    def __init__(self, net: Convolutional, x1: np.ndarray, x2: np.ndarray, run: Run):
        self._net, self._run = net, run
        self._images = [_framed(net, x) for x in (x1, x2)]
        squares = (_Patch(None).average(np, np.sum(images * images, axis=-1)) for images in self._images)
        self._limit = limit(net, max(float(square.max()) for square in squares) + net.bias_variance)
        inside = np.zeros((*self._images[0].shape[:2], 1, 1), x1.dtype)
        inside[: net.image[0], : net.image[1]] = 1
        self._masks = () if net.padding == "circular" else (inside, inside)
        average = net.readout == "global_average"
        self._displacements = np.argwhere(np.ones(inside.shape[:2] if average else (1, 1)))
        self._entries = net.positions**2 if average else net.positions

    def bytes_per_tile(self, rows: int, columns: int) -> int:
        """Temporaries of one tile."""
        height, width, _, channels = self._images[0].shape
        per_image = KERNEL**2 * (channels + self._net.depth + 1) + 4 * max(self._limit.terms)
        entries = height * width * (_ARRAYS * rows * columns + per_image * (rows + columns))
        return int(self._images[0].itemsize * entries)

    def tile(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """NNGP and NTK of the images in `rows` with those in `columns`."""
        x1, x2 = self._images[0][:, :, rows], self._images[1][:, :, columns]
        function = relu_tile if self._net.activation == "relu" else smooth_tile
        sums = [np.zeros((x1.shape[2], x2.shape[2]), x1.dtype) for _ in range(2)]
        for displacement in self._displacements:
            masks = [np.roll(mask, -s * displacement, (0, 1)) for s, mask in enumerate(self._masks)]
            moved = np.roll(x2, -displacement, axis=(0, 1))
            for total, part in zip(sums, self._run(function, self._limit, x1, moved, *masks), strict=True):
                total += part
        return sums[0] / self._entries + self._limit.bias_variance, sums[1] / self._entries + self._limit.constant


def _framed(net: Convolutional, x: np.ndarray) -> np.ndarray:
    """Images times `sqrt(v / C)`, positions in front: (height, width, n, C), both sides one longer for zero padding."""
    height, width, channels = net.image
    images = np.moveaxis(x.reshape(-1, height, width, channels), 0, 2) * x.dtype.type(math.sqrt(net.weight_variance / channels))
    frame = int(net.padding == "zero")
    return np.pad(images, ((0, frame), (0, frame), (0, 0), (0, 0)))


def smooth_tile(limit: Limit, x1: Array, x2: Array, *masks: Array) -> tuple[Array, Array]:
    """Sums over positions of `v E[sigma sigma]` and of the NTK's last hidden layer, each (n1, n2).

    Args:
        x1, x2: (height, width, n1, C) and (height, width, n2, C); masks: none, or which positions are in either image.
    """
    xp = array_namespace(x1, x2)
    pair, windows = _windows(masks)
    q = [_first_variances(xp, limit, x, window) for x, window in zip((x1, x2), windows, strict=True)]
    sides1, sides2 = (
        variances(xp, limit, side, window) for side, window in zip((q[0], xp.matrix_transpose(q[1])), windows, strict=True)
    )
    c = pair.keep(pair.average(xp, x1 @ xp.matrix_transpose(x2)) + limit.bias_variance)
    return _sums(xp, recursion.smooth(xp, limit, sides1, sides2, c, pair))


def relu_tile(limit: Limit, x1: Array, x2: Array, *masks: Array) -> tuple[Array, Array]:
    """As `smooth_tile`, for ReLU; haversines of the angles between patches from their differences."""
    xp = array_namespace(x1, x2)
    pair, windows = _windows(masks)
    q = [_first_variances(xp, limit, x, window) for x, window in zip((x1, x2), windows, strict=True)]
    units = [_unit_patches(xp, limit, x, q_, window) for x, q_, window in zip((x1, x2), q, windows, strict=True)]
    haversine = xp.zeros_like(x1[..., :1] * xp.matrix_transpose(x2[..., :1]))
    opposite = xp.zeros_like(haversine)
    for w1, w2 in zip(*units, strict=True):
        w2 = xp.matrix_transpose(w2)
        for_difference, for_sum = w1 - w2, w1 + w2
        for_difference *= for_difference
        for_sum *= for_sum
        haversine += for_difference
        opposite += for_sum
    root = xp.sqrt(haversine) * xp.sqrt(opposite)
    sides1, sides2 = (
        variances(xp, limit, side, window) for side, window in zip((q[0], xp.matrix_transpose(q[1])), windows, strict=True)
    )
    return _sums(xp, recursion.relu(xp, limit, sides1, sides2, haversine, root, pair))


def _windows(masks: tuple[Array, ...]) -> tuple[_Patch, tuple[_Patch, _Patch]]:
    """The window for pairs of positions, and those of either image."""
    if not masks:
        return _Patch(None), (_Patch(None), _Patch(None))
    return _Patch(masks[0] * masks[1]), (_Patch(masks[0]), _Patch(masks[1]))


def _first_variances(xp: Any, limit: Limit, x: Array, window: _Patch) -> Array:
    """Variances of the first preactivations, (height, width, n, 1)."""
    return window.keep(window.average(xp, xp.sum(x * x, axis=-1, keepdims=True)) + limit.bias_variance)


def _unit_patches(xp: Any, limit: Limit, x: Array, q: Array, window: _Patch) -> list[Array]:
    """Half the unit vectors along the patches with `sqrt(b)` for the bias, entry by entry, each (height, width, n, 1)."""
    inverse = 0.5 * inverse_root(xp, q)
    patches = [patch * inverse for patch in window.neighbours(xp, x)]
    entries = [patch[..., k : k + 1] for patch in patches for k in range(x.shape[-1])]
    return [*entries, math.sqrt(limit.bias_variance) * inverse]


def _sums(xp: Any, hidden: tuple[Array, Array]) -> tuple[Array, Array]:
    nngp, ntk = hidden
    return xp.sum(nngp, axis=(0, 1)), xp.sum(ntk, axis=(0, 1))
