"""Training predicted from initialization alone, by the hierarchy truncated at an order of one's choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ntkbench.backends import checks
from ntkbench.backends.base import Backend
from ntkbench.hierarchy.cost import FIRST_BASIS, FORMS, choose, largest_basis
from ntkbench.hierarchy.expansion import ROUNDING, Expansion, left_out, principal_vectors, snapshots
from ntkbench.networks import Network, Parameters
from ntkbench.scalars import is_finite

_GROWTH = 4
"""How many vectors are added to a basis where choosing it anew does not halve its error."""

_DROPPED = 2
"""The error of a basis is seen in what changes without so many of its last vectors."""

_AIM = 20
"""How many times smaller an error a basis is chosen for, once the path in the one before is known."""

_STEP = 0.01
"""The integrator's tolerance over that of the outputs: the former is a root mean square over all outputs, and of one step."""


@dataclass(frozen=True)
class Prediction:
    """What the truncated hierarchy says of training.

    Attributes:
        times: (T,), units of gradient-flow time.
        f: (S, T, n), outputs on the training points; f_test: (S, T, n_test), None without test points. NaN from where the
            truncated hierarchy blew up, far outside of its horizon.
        form: `tensors` or `tensor_free`.
        basis: (S,), vectors in the basis of the residual's path; n for `tensors` and for order 2, which need none.
        error: (S,), estimate, and no bound, of the largest error of an output that basis and integrator leave, in the
            outputs' units. It is the sum of what changes where the basis lacks its last vectors, of the share of the
            residual outside of the basis times the largest correction to the frozen NTK's outputs, and of what changes where
            the integrator is ten times coarser; rounding at the least. Infinite where those that are compared differ in when
            they blow up; outputs that are NaN in both are left aside. Neither the truncation of the hierarchy is in it, nor
            the rounding of the backend's outputs and kernels.
    """

    times: np.ndarray
    f: np.ndarray
    f_test: np.ndarray | None
    form: str
    basis: np.ndarray
    error: np.ndarray


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
) -> Prediction:
    """Outputs along gradient flow from initialization alone: the hierarchy with `K_order` frozen, on train and test points.

    Test points are driven by the residual on the training points (Huang & Yau 2019, Theorem 2.6). Order 2 is the frozen NTK.

    Two forms, equal where both fit: `tensors` (order 2 to 6, to 4 for convolutional networks, memory n^order), and
    `tensor_free` (order 2 to 4, memory n^2), which projects the residual's path on a basis of few vectors. The first basis is
    that of the frozen NTK's path, known in closed form. It is chosen anew along the path just found and along what changed
    since the one before, which foretells the next change, as large as the path's singular values ask for, until the error that
    it leaves is estimated below `tolerance`. Order 2 has a closed form itself.

    Args:
        x: (n, d) or (S, n, d); y: (n,) or (S, n), targets of the one output; x_test: (n_test, d) or (S, n_test, d).
        times: increasing, not negative, units of gradient-flow time.
        form: `auto` takes the cheaper form of those that fit the backend's memory budget.
        tolerance: of outputs, relative to the largest residual at t = 0.

    Raises:
        ValueError: as `Backend.hierarchy`; for an unknown form, or one that lacks the order; for points, targets, times or a
            tolerance of another kind; and if no form fits the backend's budget.
    """
    _check(net, order, times, form, tolerance)
    seeds = checks.parameters(net, theta)
    x = checks.inputs(net, seeds, x)
    y = _targets(y, seeds, x.shape[-2])
    rows = x if x_test is None else _joined(x, checks.inputs(net, seeds, x_test, "x_test"))
    n = x.shape[-2]
    f0 = np.asarray(backend.forward(net, theta, rows)[..., 0], dtype=float)
    form = choose(net, n, rows.shape[-2], order, form, backend.memory_bytes)
    found = []
    for s in range(seeds):
        own = {name: array[s : s + 1] for name, array in theta.items()}
        points, spots = (p[s] if p.ndim == 3 else p for p in (x, rows))
        start = Expansion(f0[s], np.asarray(backend.ntk(net, own, spots, points)[0], dtype=float))
        seed = _Seed(
            backend,
            net,
            own,
            points,
            spots,
            start,
            y if y.ndim == 1 else y[s],
            order,
            np.asarray(times, dtype=float),
            tolerance,
        )
        found.append(seed.by_tensors() if form == "tensors" and order > 2 else seed.tensor_free())
    outputs, basis, error = (np.stack(values) for values in zip(*found, strict=True))
    f_test = None if x_test is None else outputs[..., n:]
    return Prediction(np.asarray(times, dtype=float), outputs[..., :n], f_test, form, basis, error)


Found = tuple[np.ndarray, int, float]
"""Outputs (T, R), vectors in the basis, error."""


@dataclass(frozen=True)
class _Seed:
    """One network and what is asked of it; `theta` has a seed axis of length 1."""

    backend: Backend
    net: Network
    theta: Parameters
    x: np.ndarray
    rows: np.ndarray
    start: Expansion
    y: np.ndarray
    order: int
    times: np.ndarray
    tolerance: float

    def by_tensors(self) -> Found:
        kernels = self.backend.hierarchy(self.net, self.theta, self.rows, self.order)
        n = len(self.x)
        corrections = (kernels[r][0][(slice(None), *[slice(n)] * (r - 1))] for r in range(3, self.order + 1))
        expansion = replace(self.start, corrections=tuple(corrections))
        return self.found(expansion, self.integrate(expansion, self.times))

    def found(self, expansion: Expansion, outputs: np.ndarray, basis_error: float = 0.0) -> Found:
        """To the basis's error comes that of the integrator, and the sum is rounding at the least."""
        coarser = self.integrate(expansion, self.times, coarsening=10)
        n = len(self.y)
        vectors = n if expansion.basis is None else expansion.basis.shape[1]
        largest = max(np.abs(self.start.f0[:n] - self.y).max(), np.abs(outputs[np.isfinite(outputs)]).max(initial=0.0))
        return outputs, vectors, max(basis_error + _difference(outputs, coarser), ROUNDING * float(largest))

    def integrate(self, expansion: Expansion, times: np.ndarray, coarsening: int = 1) -> np.ndarray:
        return expansion.integrate(self.y, times, _STEP * self.tolerance, coarsening)

    def tensor_free(self) -> Found:
        """Chooses the basis anew until its error is below the tolerance, or it is as large as the budget allows."""
        n = len(self.y)
        residual0 = self.start.f0[:n] - self.y
        if self.order == 2 or self.times[-1] == 0 or not residual0.any():
            return self.found(self.start, self.integrate(self.start, self.times))
        looks = np.union1d(snapshots(self.start.K2[:n], self.times[-1]), self.times)
        frozen = self.integrate(self.start, looks)
        path = seen = self.path(frozen)
        most = largest_basis(self.net, n, len(self.rows), self.order, self.backend.memory_bytes)
        allowed = self.tolerance * np.abs(residual0).max()
        k, before = min(FIRST_BASIS, most), np.inf
        while k < n:
            expansion = self.contracted(principal_vectors(seen, k))
            outputs = self.integrate(expansion, looks)
            followed = self.path(outputs)
            reached = min(followed.shape[1], path.shape[1])
            seen, path = np.concatenate([followed, followed[:, :reached] - path[:, :reached]], axis=1), followed
            correction = _difference(outputs[: path.shape[1]], frozen[: path.shape[1]])
            error = self.basis_error(expansion, looks, outputs, correction)
            halved = error < before / 2
            if error <= allowed or (k == most and not halved):
                return self.found(expansion, outputs[np.searchsorted(looks, self.times)], error)
            wanted = _DROPPED + int((correction * left_out(path) > error / _AIM).sum())
            k = min(max(wanted, k if halved else k + _GROWTH), most)
            before = error
        expansion = self.contracted(np.eye(n))
        return self.found(expansion, self.integrate(expansion, self.times))

    def path(self, outputs: np.ndarray) -> np.ndarray:
        """The residual of outputs (T, R) as far as they are finite, (n, T)."""
        residual: np.ndarray = outputs[np.isfinite(outputs).all(axis=1), : len(self.y)].T - self.y[:, None]
        return residual

    def basis_error(self, expansion: Expansion, looks: np.ndarray, outputs: np.ndarray, correction: float) -> float:
        """What the basis leaves out, estimated twice, and the sum of both.

        A basis that is too small shows when its last vectors are dropped; one that was chosen along another path shows in the
        share of the residual that lies outside of it, and the correction to the frozen NTK is wrong by about that share.
        """
        basis = expansion.basis
        if basis is None:
            return 0.0
        smaller = expansion.within(basis.shape[1] - _DROPPED)
        changed = _difference(outputs, self.integrate(smaller, looks))
        path = self.path(outputs)
        outside = np.linalg.norm(path - basis @ (basis.T @ path), axis=0) / np.linalg.norm(path, axis=0)
        return changed + correction * float(outside.max())

    def contracted(self, basis: np.ndarray) -> Expansion:
        kernels = self.backend.contracted_hierarchy(self.net, self.theta, self.rows, self.x, basis, self.order)
        corrections = (np.asarray(kernels[r][0], dtype=float) for r in range(3, self.order + 1))
        return replace(self.start, corrections=tuple(corrections), basis=basis)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest where both are finite; infinite if only one is anywhere."""
    finite = np.isfinite(one)
    if (finite != np.isfinite(other)).any():
        return np.inf
    return float(np.abs(one - other)[finite].max(initial=0.0))


def _joined(x: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Training points, then test points, along the axis of points."""
    if x.ndim == x_test.ndim:
        return np.concatenate([x, x_test], axis=-2)
    seeds = len(x) if x.ndim == 3 else len(x_test)
    both = (p if p.ndim == 3 else np.broadcast_to(p, (seeds, *p.shape)) for p in (x, x_test))
    return np.concatenate(list(both), axis=1)


def _targets(y: object, seeds: int, n: int) -> np.ndarray:
    """As an array of float64, (n,) or (seeds, n); ValueError for anything else."""
    targets = checks.real("y", y).astype(float)
    if targets.shape not in ((n,), (seeds, n)):
        mend = ": take y[:, 0]" if targets.shape == (n, 1) else ""
        raise ValueError(f"y must be of shape ({n},) or ({seeds}, {n}), got shape {targets.shape}{mend}")
    return targets


def _check(net: Network, order: int, times: Sequence[float], form: str, tolerance: float) -> None:
    if net.output_dim != 1:
        raise ValueError(f"a prediction is of one output, the network has {net.output_dim}: take a network of one")
    checks.hierarchy(net, order)
    if form not in FORMS:
        raise ValueError(f"form {form!r} is unknown; choose one of {', '.join(FORMS)}")
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
    if not (is_finite(tolerance) and 0 < tolerance < 1):
        raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance!r}")
