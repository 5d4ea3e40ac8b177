"""Training predicted from initialization alone, by the hierarchy truncated at an order of one's choice."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ntkbench import names
from ntkbench.backends import checks
from ntkbench.backends.base import Backend
from ntkbench.hierarchy import truncation_error
from ntkbench.hierarchy.cost import FORMS, choose
from ntkbench.hierarchy.expansion import Expansion
from ntkbench.hierarchy.one_network import OneNetwork, ntk_of_points
from ntkbench.networks import Network, Parameters
from ntkbench.scalars import is_finite


class HorizonWarning(UserWarning):
    """Some of the times that were asked for lie outside of the horizon of the truncated hierarchy."""


@dataclass(frozen=True)
class Prediction:
    """What the truncated hierarchy says of training.

    Attributes:
        times: (T,), units of gradient-flow time.
        f: (S, T, n), outputs on the training points; f_test: (S, T, n_test), None without test points. NaN from where the
            truncated hierarchy blew up, far outside of its horizon. (S, T, n, O) and (S, T, n_test, O) for O > 1 outputs.
        form: `tensors` or `tensor_free`.
        basis: (S,), vectors in the basis of the residual's path; n O for `tensors` and for order 2, which need none.
        error: (S,), estimate, and no bound, of the largest error of an output that basis and integrator leave, in the
            outputs' units. It is the sum of what changes where the basis lacks its last vectors, of the share of the
            residual outside of the basis times the largest correction to the frozen NTK's outputs, and of what changes where
            the integrator is ten times coarser; rounding at the least. Infinite where those that are compared differ in when
            they blow up; outputs that are NaN in both are left aside. Neither the truncation of the hierarchy is in it, nor
            the rounding of the backend's outputs and kernels.
        truncation: (S, T), estimate of the error that the truncation of the hierarchy leaves, root mean square over all
            outputs, training and test: the size of the first neglected terms, from how the orders differ. Inside of the horizon
            the true error is within a factor of 2 of it for orders 2, 3 and 5, of 20 for orders 4 and 6: of random fully
            connected networks in float64 in 95% of cases for orders 2 to 4, in 90% for orders 5 and 6. Infinite once an order
            has blown up; NaN without the estimate.
        horizon: (S,), until when corrections two orders apart shrink to less than a third, so that the hierarchy
            converges in its order; infinite where that holds to the last time, NaN without the estimate.
    """

    times: np.ndarray
    f: np.ndarray
    f_test: np.ndarray | None
    form: str
    basis: np.ndarray
    error: np.ndarray
    truncation: np.ndarray
    horizon: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """(S, T), whether a time lies inside of the horizon; False without the estimate."""
        return self.times <= self.horizon[:, None]


def predict_training(
    backend: Backend,
    net: Network,
    theta: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    *,
    order: int,
    times: Sequence[float],
    x_test: np.ndarray | None = None,
    form: str = "auto",
    tolerance: float = 1e-6,
    estimate: bool = True,
) -> Prediction:
    """Outputs along gradient flow from initialization alone: the hierarchy with `K_order` frozen, on train and test points.

    Test points are driven by the residual on the training points (Huang & Yau 2019, Theorem 2.6). Order 2 is the frozen NTK.

    Two forms, equal where both fit: `tensors` (order 2 to 6, beyond 4 for fully connected networks alone, memory n^order), and
    `tensor_free` (order 2 to 4, memory n^2), which projects the residual's path on a basis of few vectors. The first basis is
    that of the frozen NTK's path, known in closed form. It is chosen anew along the path just found and along what changed
    since the one before, which foretells the next change, as large as the path's singular values ask for, until the error that
    it leaves is estimated below `tolerance`. Order 2 has a closed form itself. Fully connected networks of several outputs have
    the second form alone: every output of a point counts as a point, except in the loss.

    How far the truncation is to be trusted is estimated from the next even order, 4 at least. For even orders from 4 on that is
    free; orders 2 and 3 cost what order 4 costs with tensors, without them one contraction of it with six vectors; order
    5 costs what order 6 costs.

    Args:
        x: (n, d) or (S, n, d); x_test: (n_test, d) or (S, n_test, d).
        y: targets, (n,) or (S, n), and (n, O) or (S, n, O) for O > 1 outputs.
        times: increasing, not negative, units of gradient-flow time.
        form: `auto` takes the cheaper form of those that fit the backend's memory budget.
        tolerance: of outputs, relative to the largest residual at t = 0.
        estimate: whether to estimate the truncation's error and its horizon.

    Warns:
        HorizonWarning: if a time lies outside of the horizon of a seed: outputs there look like any others, and are not to be
            trusted. Who goes there on purpose filters it.

    Raises:
        ValueError: as `Backend.hierarchy`; for an unknown form, or one that lacks the order; for points, targets, times or a
            tolerance of another kind; for times so late that explicit steps would not end; if the network lacks the order that
            the estimate takes; if outputs or NTK overflow; and if no form fits the backend's budget.
    """
    _check(net, order, times, form, tolerance, estimate)
    seeds = checks.parameters(net, theta)
    x = checks.inputs(net, seeds, x)
    y = _targets(y, seeds, x.shape[-2], net.output_dim)
    rows = x if x_test is None else _joined(x, checks.inputs(net, seeds, x_test, "x_test"))
    f0 = np.asarray(backend.forward(net, theta, rows), dtype=float)
    n, outputs = x.shape[-2], net.output_dim
    highest = truncation_error.top(order) if estimate else order
    form = choose(net, n, rows.shape[-2], order, form, backend.memory_bytes, highest)
    asked = np.asarray(times, dtype=float)
    found = []
    for s in range(seeds):
        own = {name: array[s : s + 1] for name, array in theta.items()}
        points, spots = (p[s] if p.ndim == 3 else p for p in (x, rows))
        K2 = np.asarray(ntk_of_points(backend, net, own, spots, points)[0], dtype=float)
        start = Expansion(f0[s].ravel(), K2, outputs=outputs)
        if not (np.isfinite(start.f0).all() and np.isfinite(start.K2).all()):
            raise ValueError(
                f"outputs or NTK of seed {s} overflow: inputs or weights are too large; usual inputs have norm sqrt(input_dim)"
            )
        one = OneNetwork(backend, net, own, points, spots, start, y[s].ravel(), order, asked, tolerance, estimate)
        found.append(one.predicted(form))
    f, basis, error, truncation, horizon = (
        np.stack([getattr(one, name) for one in found]) for name in ("outputs", "basis", "error", "truncation", "horizon")
    )
    if outputs > 1:
        f = f.reshape(*f.shape[:2], -1, outputs)
    f_test = None if x_test is None else f[:, :, n:]
    prediction = Prediction(asked, f[:, :, :n], f_test, form, basis, error, truncation, horizon)
    if estimate and not prediction.inside.all():
        _warn(prediction)
    return prediction


def _warn(prediction: Prediction) -> None:
    outside = ~prediction.inside
    warnings.warn(
        f"{outside.any(axis=1).sum()} of {len(outside)} seeds leave the horizon of the truncated hierarchy (`horizon`, "
        f"`inside`), the first before time {prediction.times[outside.any(axis=0)][0]:.3g}: there and later neither the "
        "prediction nor the estimate of its error is to be trusted, and a higher order need not help; take earlier times or a "
        "wider network",
        HorizonWarning,
        stacklevel=3,
    )


def _joined(x: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Training points, then test points, along the axis of points."""
    if x.ndim == x_test.ndim:
        return np.concatenate([x, x_test], axis=-2)
    seeds = len(x) if x.ndim == 3 else len(x_test)
    both = (p if p.ndim == 3 else np.broadcast_to(p, (seeds, *p.shape)) for p in (x, x_test))
    return np.concatenate(list(both), axis=1)


def _targets(y: object, seeds: int, n: int, outputs: int) -> np.ndarray:
    """Of every seed, (seeds, n), and (seeds, n, outputs) for several, as float64; ValueError for what has another shape."""
    targets = checks.real("y", y).astype(float)
    one = (n,) if outputs == 1 else (n, outputs)
    if targets.shape not in (one, (seeds, *one)):
        mend = ": take y[:, 0]" if outputs == 1 and targets.shape == (n, 1) else ""
        raise ValueError(f"y must be of shape {one} or {(seeds, *one)}, got shape {targets.shape}{mend}")
    return np.broadcast_to(targets, (seeds, *one))


def _check_several(net: Network, order: int, form: str) -> None:
    """ValueError for what networks of several outputs have no prediction of."""
    if form == "tensors":
        raise ValueError(f"form 'tensors' is of one output, the network has {net.output_dim}: choose 'tensor_free'")
    if order > 4:
        raise ValueError(f"networks of several outputs have orders 2, 3 and 4, got order {order}")
    if not net.rank_one:
        raise ValueError(
            f"{type(net).__name__} networks have one output here, this one {net.output_dim}: take one, or full connections"
        )


def _check(net: Network, order: int, times: Sequence[float], form: str, tolerance: float, estimate: bool) -> None:
    checks.hierarchy_exists(net, order)
    names.check("form", form, FORMS)
    if net.output_dim > 1:
        _check_several(net, order, form)
    if form == "tensor_free" and order > 4:
        raise ValueError(f"form 'tensor_free' has orders 2, 3 and 4, got order {order}: choose 'tensors'")
    if (
        np.asarray(times, dtype=object).ndim != 1
        or not len(times)
        or not all(map(is_finite, times))
        or times[0] < 0
        or any(a >= b for a, b in pairwise(times))
    ):
        raise ValueError(f"times must be a list, finite, not negative and increasing, got {times}")
    if estimate and order < (highest := truncation_error.top(order)):
        try:
            checks.hierarchy_exists(net, highest)
        except ValueError as error:
            raise ValueError(
                f"the estimate of the truncation takes order {highest}: {error}; or give estimate=False"
            ) from error
    if not (is_finite(tolerance) and 0 < tolerance < 1):
        raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance!r}")
