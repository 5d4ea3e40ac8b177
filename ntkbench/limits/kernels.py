"""The NNGP kernel and the limiting NTK of a network specification."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ntkbench.limits import fully_connected, residual
from ntkbench.limits.convolutional import ImagePairs
from ntkbench.limits.fully_connected import PointPairs
from ntkbench.limits.tiles import CACHE_BYTES, Pairs, Run, assemble, in_numpy
from ntkbench.networks import Convolutional, FullyConnected, Network, Residual

LIMITS: Mapping[type[Network], Callable[[Any, np.ndarray, np.ndarray, int, Run], Pairs]] = {
    FullyConnected: partial(PointPairs, fully_connected.LAYERS),
    Convolutional: lambda net, x1, x2, memory_bytes, run: ImagePairs(net, x1, x2, run),
    Residual: partial(PointPairs, residual.LAYERS),
}
"""Of an architecture, its pairs of points for (net, x1, x2, memory_bytes, run). A new one is a line here."""


def kernels(
    net: Network, x1: np.ndarray, x2: np.ndarray | None = None, *, memory_bytes: int = CACHE_BYTES, run: Run = in_numpy
) -> tuple[np.ndarray, np.ndarray]:
    """NNGP kernel and limiting NTK of `net` as its width goes to infinity; its own `width` plays no part.

    With `v`, `b` the weight and bias variance, and expectations over (u, u') ~ N(0, Sigma^(l)):

        Sigma^(1) = v x.x'/d + b,    Sigma^(l+1) = v E[sigma(u) sigma(u')] + b,
        Theta^(1) = Sigma^(1),       Theta^(l+1) = Sigma^(l+1) + v Theta^(l) E[sigma'(u) sigma'(u')];

    returned are `Sigma^(depth+1)` and `Theta^(depth+1)` (Jacot et al. 2018, Proposition 1 and Theorem 1). Convolutional
    networks: `ntkbench.limits.convolutional`; residual ones: `ntkbench.limits.residual`.

    What the specification changes:

    - `ntk` is the recursion as it stands.
    - `mean_field` divides the output by `gamma sqrt(width)` and multiplies the kernel by `gamma^2 width`: the same NTK at every
      width. Its output vanishes in the limit, so the NNGP is that of the undivided output.
    - `standard` keeps the scales inside the parameters. Per weight matrix its gradients' Gram product is that of `ntk` times
      `fan_in / v`, per bias that of `ntk` over `b`. With the mobility `1 / width` the input matrix and the biases vanish, and
      every other matrix has the factor `fan_in / (v width)`: `1/v` fully connected and for the readout of a global average,
      `9/v` for a convolution, `positions/v` for a flattened readout. Hence, fully connected, `Theta^(1) = 0`,
      `Theta^(l+1) = E[sigma sigma] + v Theta^(l) E[sigma' sigma']`, with a correction of order 1 / width.
    - `antisymmetric` leaves the NTK, an average over equal copies, as it is. Its output is zero at t = 0, so the NNGP is that
      of one copy.
    - Outputs are independent and share one kernel: `output_dim` plays no part.

    Accuracy in float64, for preactivation variances of order one: 1e-14 relative to the kernels' diagonal, also on the
    diagonal itself and for nearly coincident or antipodal points. Where weights are so large that nearby inputs part from layer
    to layer, so do roundings: smooth networks that are deep then lose the digits of the diagonal, in the end all. An input of
    zero without biases gives ReLU zeros, whatever is taken for its derivative at 0.

    Args:
        x1: (n1, d) inputs, floating point; x2: (n2, d) of the same dtype, None for `x1`.
        memory_bytes: budget of the temporaries, which are made for a tile of pairs at a time; on a CPU, tiles that stay in its
            cache are several times faster than large ones.
        run: computes one tile in a framework: called with an array-API function, what it may be compiled for, and numpy arrays.

    Returns:
        `(nngp, ntk)`, each (n1, n2), in the dtype of the inputs.

    Raises:
        ValueError: for inputs of another shape or dtype, without points, or not finite; for an architecture whose limit is not
            known; for variances so large that the series for tanh or softplus would be too long, or that the dtype does
            not suffice for the kernels; for a budget below the temporaries of one pair.
    """
    x2 = x1 if x2 is None else x2
    for name, x in (("x1", x1), ("x2", x2)):
        _check(net, x, name)
    if x1.dtype != x2.dtype:
        raise ValueError(f"x1 is {x1.dtype} and x2 is {x2.dtype}: give both the same dtype")
    if type(net) not in LIMITS:
        raise ValueError(
            f"no limiting kernels are known of {type(net).__name__}: write its recursion in `ntkbench/limits/` and enter it in "
            "`ntkbench/limits/kernels.py`, or ask for kernels of finite width"
        )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what is not finite is refused below
        pairs = LIMITS[type(net)](net, x1, x2, memory_bytes, run)
        found = assemble(pairs, (len(x1), len(x2)), x1.dtype, x2 is x1, memory_bytes)
    if not all(np.isfinite(kernel).all() for kernel in found):
        raise ValueError(
            f"{x1.dtype} does not suffice for the limiting kernels of {type(net).__name__} with {net.activation}, depth "
            f"{net.depth} and weight_variance {net.weight_variance}: lower depth or weight_variance, or scale the inputs to "
            "norm sqrt(d)"
        )
    return found


def _check(net: Network, x: np.ndarray, name: str) -> None:
    if x.ndim != 2 or x.shape[1] != net.input_dim or x.shape[0] == 0:
        raise ValueError(f"{name} has shape {x.shape}; the network asks for (n, {net.input_dim}) with n at least 1")
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; give real floating-point inputs")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has entries that are not finite")
