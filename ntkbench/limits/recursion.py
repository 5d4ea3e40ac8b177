"""The layerwise recursion of the NNGP kernel and the limiting NTK."""

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from ntkbench.limits.angles import parallelogram_areas
from ntkbench.limits.expectations import EXPECTATIONS, Expectation, Pairs
from ntkbench.networks import FullyConnected

Array = Any

_ARRAYS_PER_BLOCK = 16
"""Arrays of the block's shape (rows, n2) that are alive at once, counted generously."""


def kernels(net: FullyConnected, x1: Array, x2: Array | None = None, *, memory_bytes: int = 2**28) -> tuple[Array, Array]:
    """NNGP kernel and limiting NTK of `net` as its width goes to infinity; its own `width` plays no part.

    With `v`, `b` the weight and bias variance, and expectations over (u, u') ~ N(0, Sigma^(l)):

        Sigma^(1) = v x.x'/d + b,    Sigma^(l+1) = v E[sigma(u) sigma(u')] + b,
        Theta^(1) = Sigma^(1),       Theta^(l+1) = Sigma^(l+1) + v Theta^(l) E[sigma'(u) sigma'(u')];

    returned are `Sigma^(depth+1)` and `Theta^(depth+1)` (Jacot et al. 2018, Proposition 1 and Theorem 1).

    What the specification changes:

    - `ntk` is the recursion as it stands.
    - `mean_field` divides the output by `gamma sqrt(width)` and multiplies the kernel by `gamma^2 width`: the same NTK at every
      width. Its output vanishes in the limit, so the NNGP is that of the undivided output.
    - `standard` keeps the scales inside the parameters. Per weight matrix its gradients' Gram product is that of `ntk` times
      `fan_in / v`, per bias that of `ntk` over `b`. The mobility `1 / width` leaves `1/v` for a hidden or readout matrix
      (fan-in `width`), and `d / (v width)`, `1 / (b width)` for the input matrix and the biases, which vanish. Hence
      `Theta^(1) = 0`, `Theta^(l+1) = E[sigma sigma] + v Theta^(l) E[sigma' sigma']`, with a correction of order 1 / width.
    - `antisymmetric` leaves the NTK, an average over equal copies, as it is. Its output is zero at t = 0, so the NNGP is that
      of one copy.
    - Outputs are independent and share one kernel: `output_dim` plays no part.

    Accuracy in float64, for preactivation variances of order one: 1e-14 relative to the kernels' diagonal, also on the
    diagonal itself and for nearly coincident or antipodal points. An input of zero without biases gives ReLU zeros,
    whatever is taken for its derivative at 0.

    Args:
        x1: (n1, d) inputs, floating point; x2: (n2, d) of the same kind and dtype, None for `x1`.
        memory_bytes: budget of the temporaries, which are made for a block of rows at a time.

    Returns:
        `(nngp, ntk)`, each (n1, n2), arrays of the kind, dtype and device of the inputs.

    Raises:
        ValueError: for inputs of another shape or dtype, without points, or not finite; for variances so large that the
            series for tanh or softplus would be too long.
    """
    x2 = x1 if x2 is None else x2
    xp = array_namespace(x1, x2)
    for name, x in (("x1", x1), ("x2", x2)):
        _check(xp, net, x, name)
    if x1.dtype != x2.dtype:
        raise ValueError(f"x1 is {x1.dtype} and x2 is {x2.dtype}: give both the same dtype")
    u1, u2 = _preactivation_factors(xp, net, x1), _preactivation_factors(xp, net, x2)
    bytes_per_row = _ARRAYS_PER_BLOCK * u2.shape[0] * xp.finfo(u2.dtype).bits // 8
    rows = max(1, memory_bytes // bytes_per_row)
    blocks = [_block(xp, net, u1[i : i + rows, :], u2, memory_bytes) for i in range(0, u1.shape[0], rows)]
    return xp.concat([nngp for nngp, _ in blocks]), xp.concat([ntk for _, ntk in blocks])


def _check(xp: Any, net: FullyConnected, x: Array, name: str) -> None:
    if x.ndim != 2 or x.shape[1] != net.input_dim or x.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; the network asks for (n, {net.input_dim}) with n at least 1")
    if not xp.isdtype(x.dtype, "real floating"):
        raise ValueError(f"{name} has dtype {x.dtype}; give real floating-point inputs")
    if not bool(xp.all(xp.isfinite(x))):
        raise ValueError(f"{name} has entries that are not finite")


def _preactivation_factors(xp: Any, net: FullyConnected, x: Array) -> Array:
    """Rows whose inner products are `Sigma^(1)`: `(sqrt(v / d) x, sqrt(b))`, (n, d + 1)."""
    bias = xp.full((x.shape[0], 1), math.sqrt(net.bias_variance), dtype=x.dtype, device=x.device)
    return xp.concat([math.sqrt(net.weight_variance / net.input_dim) * x, bias], axis=1)


@dataclass(frozen=True)
class _Terms:
    """What the gradients of one layer's parameters add to the NTK: `products` times E[sigma sigma'] and `constant`."""

    first: float
    products: float
    constant: float


def _gradient_terms(net: FullyConnected) -> _Terms:
    if net.parametrization == "standard":
        return _Terms(first=0.0, products=1.0, constant=0.0)
    return _Terms(first=1.0, products=net.weight_variance, constant=net.bias_variance)


def _block(xp: Any, net: FullyConnected, u1: Array, u2: Array, memory_bytes: int) -> tuple[Array, Array]:
    activation = EXPECTATIONS[net.activation]
    gradient = _gradient_terms(net)
    c = u1 @ u2.T
    area = parallelogram_areas(xp, u1, u2, c, memory_bytes) if activation.needs_area else None
    pairs = Pairs(xp.sum(u1**2, axis=1)[:, None], xp.sum(u2**2, axis=1)[None, :], c, area)
    ntk = gradient.first * c
    for _ in range(net.depth):
        expectation = activation.pairs(xp, pairs)
        ntk = gradient.products * expectation.product + gradient.constant + net.weight_variance * ntk * expectation.derivative
        a1, a2 = activation.square(xp, pairs.q1), activation.square(xp, pairs.q2)
        pairs = _affine(xp, net, a1, a2, expectation)
    return pairs.c, ntk


def _affine(xp: Any, net: FullyConnected, a1: Array, a2: Array, e: Expectation) -> Pairs:
    """The next layer's preactivations: every covariance times `v`, plus `b`.

    The squared area `(v a1 + b)(v a2 + b) - (v e + b)^2 = v^2 (a1 a2 - e^2) + v b (a1 + a2 - 2 e)` is rewritten with the defect
    `sqrt(a1 a2) - e` as a sum of terms that are not negative.
    """
    v, b = net.weight_variance, net.bias_variance
    area = None
    if e.defect is not None:
        root1, root2 = xp.sqrt(a1), xp.sqrt(a2)
        area = xp.sqrt(v**2 * e.defect * (root1 * root2 + e.product) + v * b * ((root1 - root2) ** 2 + 2 * e.defect))
    return Pairs(v * a1 + b, v * a2 + b, v * e.product + b, area)
