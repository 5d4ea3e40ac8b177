"""What the truncation of the hierarchy leaves out, from how its orders differ.

With `f_0` the outputs at t = 0, `f_p` those of order p and |.| the root mean square over all outputs, the steps

    s_2 = |f_2 - f_0|,    s_p = |f_p - f_{p-1}|,    p = 3, 4, ...

begin as t^(p-1) and fall with the width as m^(-floor((p-1)/2)), in pairs (Huang & Yau 2019, Theorem 2.6; Dyer & Gur-Ari
2020, whose power counting makes odd kernels as small as the next even ones). For even q the first neglected steps, s_{q+1} and
s_{q+2}, are of order m^(-q/2). A step of order r + 2 follows from one of order r by the growth of kernels two orders apart,
seen in s_q / s_{q-2}; odd ones in the scale of outputs besides, since odd kernels are odd in the readout weights as f_0 is
(those of linear networks are linear in f_0). So

    error of f_q = 1.5 (s_q max ratio + s_{q-1} s_3 / scale),    ratio = (s_{q-1} + s_q) / s_{q-2},

the largest ratio so far: the right powers of width, time and residual, also after antisymmetric initialization, where odd
steps vanish. An order p < q errs by that and by |f_q - f_p|. Where the ratio is no small number, higher orders come no closer:
that is the horizon.
"""

from collections.abc import Mapping

import numpy as np

FACTORS = {2: 2.0, 3: 2.0, 4: 20.0, 5: 2.0, 6: 20.0}
"""By order: the true error lies within this factor of the estimate for most networks inside of the horizon."""

HORIZON = 0.3
"""Largest ratio of steps two orders apart inside of the horizon."""

_CENTRE = 1.5
"""Makes the estimate too small about as often as too large, for random networks."""


def top(order: int) -> int:
    """The even order, 4 at least, whose outputs the estimate for `order` asks for."""
    return max(4, order + order % 2)


def estimate(outputs: Mapping[int, np.ndarray], order: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The error that truncation leaves at every time, and the largest ratio of steps so far.

    Args:
        outputs: by order, 2 to `top(order)`, each (T, R), at increasing times of which the first is 0.
        scale: of outputs and residuals at t = 0.

    Returns:
        Two arrays (T,), infinite from where outputs of an order are not finite.
    """
    q = top(order)
    before = {**outputs, 1: outputs[2][:1]}
    steps = {p: _size(before[p] - before[p - 1]) for p in range(2, q + 1)}
    moved = steps[q - 1] + steps[q]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.maximum.accumulate(np.where(moved == 0, 0.0, moved / steps[q - 2]))
        error = _CENTRE * (steps[q] * ratio + steps[q - 1] * steps[3] / scale)
    if order < q:
        error = error + _size(outputs[q] - outputs[order])
    lost = np.logical_or.accumulate(~np.isfinite(ratio) | ~np.isfinite(error))
    return np.where(lost, np.inf, error), np.where(lost, np.inf, ratio)


def horizon(times: np.ndarray, ratio: np.ndarray) -> float:
    """The last of the times before the ratio leaves what it is inside of the horizon; infinite if it does not."""
    outside = ~(ratio <= HORIZON)
    return float(times[max(int(outside.argmax()) - 1, 0)]) if outside.any() else np.inf


def _size(outputs: np.ndarray) -> np.ndarray:
    """Root mean square over outputs, (T,)."""
    size: np.ndarray = np.linalg.norm(outputs, axis=1) / np.sqrt(outputs.shape[1])
    return size
