"""Slow versions of the limiting kernels, and finite networks, in plain numpy and mpmath."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
from scipy.special import erf, ndtr

from ntkbench.networks import Convolutional, FullyConnected, Residual

Function = Callable[[np.ndarray], np.ndarray]

FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "identity": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
    "erf": (erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2))),
    "gelu": (lambda x: x * ndtr(x), lambda x: ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "softplus": (lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x))),
}
"""Activations and their derivatives."""

STEP = 0.06
Z = STEP * np.arange(-170, 171)
WEIGHT = STEP * np.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi)


def expectation_by_grid(function: Function, q1: float, q2: float, c: float) -> float:
    """`E[g(u) g(v)]` by the trapezoidal rule in two dimensions over independent normals; for smooth g."""
    u = math.sqrt(q1) * Z[:, None]
    slope = c / math.sqrt(q1) if q1 > 0 else 0.0
    v = slope * Z[:, None] + math.sqrt(max(0.0, q2 - slope**2)) * Z[None, :]
    return float(WEIGHT @ (function(u) * function(v)) @ WEIGHT)


def kernels_by_grid(net: FullyConnected | Residual, x1: np.ndarray, x2: np.ndarray) -> tuple[float, float]:
    """NNGP kernel and NTK of one pair of points by the recursion that Jacot et al. print (`ntk`), for smooth activations.

    A hidden layer of a residual network adds to what it sees.
    """
    v, b = net.weight_variance, net.bias_variance
    function, slope = FUNCTIONS[net.activation]
    q1, q2, c = (v * float(a @ b_) / net.input_dim + b for a, b_ in ((x1, x1), (x2, x2), (x1, x2)))
    theta = c
    for l in range(net.depth):
        kept = isinstance(net, Residual) and l < net.depth - 1
        derivative = expectation_by_grid(slope, q1, q2, c)
        term = v * expectation_by_grid(function, q1, q2, c) + b
        theta = kept * theta + term + v * theta * derivative
        c = kept * c + term
        q1, q2 = (kept * q + v * expectation_by_grid(function, q, q, q) + b for q in (q1, q2))
    return c, theta


def relu_kernels(net: FullyConnected | Residual, x1: np.ndarray, x2: np.ndarray) -> tuple[float, float]:
    """The same for ReLU from the arc-cosine formula, with 60 digits, so that arccos loses nothing that matters."""
    with mpmath.workdps(60):
        v, b = mpmath.mpf(net.weight_variance), mpmath.mpf(net.bias_variance)

        def first(a: np.ndarray, other: np.ndarray) -> mpmath.mpf:
            return (
                v * mpmath.fsum(mpmath.mpf(float(s)) * mpmath.mpf(float(t)) for s, t in zip(a, other, strict=True)) / len(a) + b
            )

        q1, q2, c = first(x1, x1), first(x2, x2), first(x1, x2)
        theta = c
        for l in range(net.depth):
            kept = isinstance(net, Residual) and l < net.depth - 1
            norms = mpmath.sqrt(q1 * q2)
            angle = mpmath.acos(max(min(c / norms, mpmath.mpf(1)), mpmath.mpf(-1)))
            term = v * norms / (2 * mpmath.pi) * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) + b
            theta = kept * theta + term + v * theta * (mpmath.pi - angle) / (2 * mpmath.pi)
            c = kept * c + term
            q1, q2 = (kept * q + v * q / 2 + b for q in (q1, q2))
        return float(c), float(theta)


def _relu_expectations(q1: mpmath.mpf, q2: mpmath.mpf, c: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    norms = mpmath.sqrt(q1 * q2)
    if norms == 0:
        return mpmath.mpf(0), mpmath.mpf(0)
    angle = mpmath.acos(max(min(c / norms, mpmath.mpf(1)), mpmath.mpf(-1)))
    product = norms / (2 * mpmath.pi) * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle))
    return product, (mpmath.pi - angle) / (2 * mpmath.pi)


def _expectations(activation: str, q1: float, q2: float, c: float) -> tuple[float, float]:
    """`E[sigma(u) sigma(v)]` and `E[sigma'(u) sigma'(v)]`; ReLU in mpmath's numbers."""
    if activation == "relu":
        return _relu_expectations(q1, q2, c)
    function, slope = FUNCTIONS[activation]
    return expectation_by_grid(function, q1, q2, c), expectation_by_grid(slope, q1, q2, c)


class ConvolutionalOracle:
    """The recursion of Arora et al. 2019, section 4, for one pair of images, all pairs of positions one by one.

    Arrays over pairs are (positions, positions), arrays over positions (positions,); numbers are floats, or mpmath's for ReLU.
    """

    def __init__(self, net: Convolutional):
        self._net = net

    def kernels(self, x1: np.ndarray, x2: np.ndarray) -> tuple[float, float]:
        """NNGP and NTK."""
        net = self._net
        with mpmath.workdps(50):
            v, b = net.weight_variance, net.bias_variance
            standard = net.parametrization == "standard"
            factors = [layer.fan_in / (net.width * v) if standard else 1.0 for layer in net.layers[1:]]
            bias_term = 0.0 if standard else b
            one, two = (self._pixels(x) for x in (x1, x2))
            q1, q2 = (v * self._over_windows(self._products(x, x)) + b for x in (one, two))
            sigma = v * self._over_windows(self._products(one, two)) + b
            theta = 0.0 * sigma if standard else +sigma
            q1, q2 = np.diag(q1), np.diag(q2)
            for l, factor in enumerate(factors, start=1):
                pairs = [
                    [_expectations(net.activation, s, t, c) for t, c in zip(q2, row, strict=True)]
                    for s, row in zip(q1, sigma, strict=True)
                ]
                product, derivative = (np.array([[pair[k] for pair in row] for row in pairs]) for k in (0, 1))
                average = self._over_windows if l < net.depth else self._read_out
                sigma = v * average(product) + b
                theta = factor * v * average(product) + bias_term + v * average(theta * derivative)
                q1, q2 = (self._next_variances(q) for q in (q1, q2))
            return float(sigma), float(theta)

    def _pixels(self, x: np.ndarray) -> np.ndarray:
        number = mpmath.mpf if self._net.activation == "relu" else float
        return np.array([[number(float(value)) for value in pixel] for pixel in x.reshape(self._net.positions, -1)])

    @staticmethod
    def _products(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        return x1 @ x2.T / x1.shape[1]

    def _next_variances(self, q: np.ndarray) -> np.ndarray:
        squares = np.diag([_expectations(self._net.activation, value, value, value)[0] for value in q])
        return np.diag(self._net.weight_variance * self._over_windows(squares) + self._net.bias_variance)

    def _over_windows(self, f: np.ndarray) -> np.ndarray:
        height, width, _ = self._net.image
        mean = 0 * f
        for i, j, k, l, row, column in np.ndindex(height, width, height, width, 3, 3):
            moved = [i + row - 1, j + column - 1, k + row - 1, l + column - 1]
            sides = [height, width, height, width]
            if self._net.padding == "circular" or all(0 <= a < side for a, side in zip(moved, sides, strict=True)):
                a, b, c, d = (m % side for m, side in zip(moved, sides, strict=True))
                mean[i * width + j, k * width + l] += f[a * width + b, c * width + d] / 9
        return mean

    def _read_out(self, f: np.ndarray) -> float:
        return f.mean() if self._net.readout == "global_average" else np.diag(f).mean()


def finite_network(net: FullyConnected, root: int, seeds: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs g of one copy (seeds, n, O) and empirical NTK of the first output (seeds, n, n); back-propagation written out."""
    theta = net.initialize(root, range(seeds))
    function, slope = FUNCTIONS[net.activation]
    ntk = np.zeros((seeds, len(x), len(x)))
    for copy, copy_weight in enumerate(net.copy_weights):
        h, inputs, preactivations = np.broadcast_to(x, (seeds, *x.shape)), [], []
        for l, layer in enumerate(net.layers, start=1):
            inputs.append(h)
            z = layer.weight_multiplier * h @ theta[f"W{l}"][:, copy].swapaxes(1, 2)
            if net.bias_variance > 0:
                z = z + layer.bias_multiplier * theta[f"b{l}"][:, copy, None, :]
            preactivations.append(z)
            h = function(z)
        delta = np.zeros((seeds, len(x), net.output_dim))
        delta[:, :, 0] = copy_weight
        for l in reversed(range(len(net.layers))):
            layer = net.layers[l]
            gram = layer.weight_multiplier**2 * inputs[l] @ inputs[l].swapaxes(1, 2)
            if net.bias_variance > 0:
                gram = gram + layer.bias_multiplier**2
            ntk += net.mobility * (delta @ delta.swapaxes(1, 2)) * gram
            if l > 0:
                delta = layer.weight_multiplier * (delta @ theta[f"W{l + 1}"][:, copy]) * slope(preactivations[l - 1])
    return preactivations[-1], ntk
