"""One network's training as the truncated hierarchy has it: in tensors or in a basis, and how far to trust it."""

from dataclasses import dataclass, replace

import numpy as np

from ntkbench.backends.base import Backend
from ntkbench.hierarchy import truncation_error
from ntkbench.hierarchy.cost import FIRST_BASIS, largest_basis
from ntkbench.hierarchy.expansion import ROUNDING, Expansion, left_out, principal_vectors, snapshots
from ntkbench.networks import Network, Parameters

_GROWTH = 4
"""How many vectors are added to a basis where choosing it anew does not halve its error."""

_DROPPED = 2
"""The error of a basis is seen in what changes without so many of its last vectors."""

_AIM = 20
"""How many times smaller an error a basis is chosen for, once the path in the one before is known."""

_STEP = 0.01
"""The integrator's tolerance over that of the outputs: the former is a root mean square over all outputs, and of one step."""


_MOST_SPANS = 1e6
"""The last time over the fastest mode's time scale: explicit steps are about as long as that scale, and a million take long."""

Orders = dict[int, np.ndarray]
"""Outputs (T, R) by order, R counting all outputs of all rows."""


@dataclass(frozen=True)
class Found:
    """What is found for one network; attributes as those of `Prediction`, for one seed and all outputs of all rows (T, R)."""

    outputs: np.ndarray
    basis: int
    error: float
    truncation: np.ndarray
    horizon: float


@dataclass(frozen=True)
class OneNetwork:
    """One network and what is asked of it; `theta` has a seed axis of length 1.

    Attributes:
        rows: all points, of which `x` are the first.
        start: its outputs and NTK; with several outputs each is a point of its own there.
        y: (n,), and with O outputs (n O,) in C order.
        estimate: whether the error of the truncation is estimated; it is NaN otherwise, and the horizon too.
    """

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
    estimate: bool

    def predicted(self, form: str) -> Found:
        """In the form `tensors` or `tensor_free`, which are one where nothing beyond the NTK is asked for."""
        if self.still:
            found = self.found(self.start, self.times, self.integrate(self.start, self.times), 0.0)
            return replace(found, truncation=np.zeros(len(self.times)), horizon=np.inf) if self.estimate else found
        if self.order == 2 and not self.estimate:
            return self.found(self.start, self.times, self.integrate(self.start, self.times), 0.0)
        self.check_spans()
        return self.by_tensors() if form == "tensors" else self.tensor_free()

    def check_spans(self) -> None:
        """ValueError if steps as short as the fastest mode asks for would not end."""
        fastest = self.start.fastest
        if self.times[-1] * fastest > _MOST_SPANS:
            raise ValueError(
                f"time {self.times[-1]:g} is {self.times[-1] * fastest:.2g} times n over the NTK's largest eigenvalue, and "
                f"orders above 2 are integrated in steps of about that size: take times up to {_MOST_SPANS / fastest:.3g}, or "
                "order=2 with estimate=False, which has a closed form"
            )

    @property
    def still(self) -> bool:
        """Whether nothing moves: no time passes, or no residual is left to drive it."""
        return bool(self.times[-1] == 0 or not (self.start.f0[: len(self.y)] - self.y).any())

    def by_order(self) -> Orders:
        """Without tensors, for order 2 and all others up to the highest; they share the first basis."""
        if self.order == 2 or self.still:
            return dict.fromkeys(range(2, self.order + 1), self.integrate(self.start, self.times))
        self.check_spans()
        looks = self.looks()
        frozen = self.integrate(self.start, looks)
        first, asked = self.first(frozen), np.searchsorted(looks, self.times)
        higher = {p: self.in_basis(looks, frozen, first.truncated(p))[1] for p in range(3, self.order + 1)}
        return {p: outputs[asked] for p, outputs in {2: frozen, **higher}.items()}

    def by_tensors(self) -> Found:
        """With the kernels of all points whole."""
        n = len(self.x)
        highest = truncation_error.top(self.order) if self.estimate else self.order
        kernels = self.backend.hierarchy(self.net, self.theta, self.rows, highest)
        corrections = (kernels[r][0][(slice(None), *[slice(n)] * (r - 1))] for r in range(3, highest + 1))
        whole = replace(self.start, corrections=tuple(corrections))
        expansion, looks = whole.truncated(self.order), self.looks() if self.estimate else self.times
        outputs = self.integrate(expansion, looks)
        return self.found(expansion, looks, outputs, 0.0, (whole, {self.order: outputs}))

    def tensor_free(self) -> Found:
        """With the kernels in a basis; those that the estimate takes beyond the order, in a basis of few vectors."""
        looks = self.looks()
        frozen = self.integrate(self.start, looks)
        expansion, outputs, error = self.start, frozen, 0.0
        if self.order > 2:
            expansion, outputs, error = self.in_basis(looks, frozen, self.first(frozen))
        if not self.estimate:
            return self.found(expansion, looks, outputs, error)
        if self.order == 4:
            return self.found(expansion, looks, outputs, error, (expansion, {2: frozen, 4: outputs}))
        few = principal_vectors(self.path(outputs), min(FIRST_BASIS, len(self.y)))
        return self.found(
            expansion, looks, outputs, error, (self.contracted(few, truncation_error.top(self.order)), {2: frozen})
        )

    def first(self, frozen: np.ndarray) -> Expansion:
        """The expansion in the first basis, which is along the path of the frozen NTK."""
        return self.contracted(self.along(self.path(frozen), min(FIRST_BASIS, len(self.y))), self.order)

    def in_basis(self, looks: np.ndarray, frozen: np.ndarray, expansion: Expansion) -> tuple[Expansion, np.ndarray, float]:
        """Chooses the basis anew until its error is below the tolerance, or it is as large as the budget allows.

        Args:
            frozen: outputs of the frozen NTK at the looks.
            expansion: in the first basis; its order is that of all.

        Returns:
            The expansion, its outputs at the looks, the error of its basis.
        """
        n = len(self.y)
        path = seen = self.path(frozen)
        most = largest_basis(self.net, len(self.x), len(self.rows), expansion.order, self.backend.memory_bytes)
        allowed = self.tolerance * np.abs(path[:, 0]).max()
        before = np.inf
        while (k := expansion.vectors) < n:
            outputs = self.integrate(expansion, looks)
            followed = self.path(outputs)
            reached = min(followed.shape[1], path.shape[1])
            seen, path = np.concatenate([followed, followed[:, :reached] - path[:, :reached]], axis=1), followed
            correction = _difference(outputs[: path.shape[1]], frozen[: path.shape[1]])
            error = self.basis_error(expansion, looks, outputs, path, correction)
            halved = error < before / 2
            if error <= allowed or (k == most and not halved):
                return expansion, outputs, error
            wanted = _DROPPED + int((correction * left_out(path) > error / _AIM).sum())
            k = min(max(wanted, k if halved else k + _GROWTH), most)
            before = error
            expansion = self.contracted(self.along(seen, k), expansion.order)
        return expansion, self.integrate(expansion, looks), 0.0

    def basis_error(
        self, expansion: Expansion, looks: np.ndarray, outputs: np.ndarray, path: np.ndarray, correction: float
    ) -> float:
        """What the basis leaves out, estimated twice, and the sum of both.

        A basis that is too small shows when its last vectors are dropped; one that was chosen along another path shows in the
        share of the residual that lies outside of it, and the correction to the frozen NTK is wrong by about that share.
        """
        basis = expansion.basis
        if basis is None:
            return 0.0
        smaller = expansion.within(basis.shape[1] - _DROPPED)
        changed = _difference(outputs, self.integrate(smaller, looks))
        outside = np.linalg.norm(path - basis @ (basis.T @ path), axis=0) / np.linalg.norm(path, axis=0)
        return changed + correction * float(outside.max())

    def found(
        self,
        expansion: Expansion,
        looks: np.ndarray,
        outputs: np.ndarray,
        basis_error: float,
        compared: tuple[Expansion, Orders] | None = None,
    ) -> Found:
        """To the basis's error comes that of the integrator, and the sum is rounding at the least.

        Args:
            outputs: of the expansion, at the looks.
            compared: the expansion whose orders tell the error of the truncation, and those of its outputs that are known.
        """
        asked = np.searchsorted(looks, self.times)
        at_times = outputs[asked]
        coarser = self.integrate(expansion, self.times, coarsening=10)
        n = len(self.y)
        largest = max(np.abs(self.start.f0[:n] - self.y).max(), np.abs(at_times[np.isfinite(at_times)]).max(initial=0.0))
        error = max(basis_error + _difference(at_times, coarser), ROUNDING * float(largest))
        if not self.estimate or compared is None:
            return Found(at_times, expansion.vectors, error, np.full(len(asked), np.nan), np.nan)
        truncation, ratio = self.judged(looks, *compared)
        return Found(at_times, expansion.vectors, error, truncation[asked], truncation_error.horizon(looks, ratio))

    def judged(self, looks: np.ndarray, whole: Expansion, known: Orders) -> tuple[np.ndarray, np.ndarray]:
        """As `truncation_error.estimate`, at the looks."""
        orders = range(2, truncation_error.top(self.order) + 1)
        outputs = {p: known[p] if p in known else self.integrate(whole.truncated(p), looks) for p in orders}
        residual0 = self.start.f0[: len(self.y)] - self.y
        scale = max(float(np.sqrt(np.mean(values**2))) for values in (self.start.f0, residual0))
        return truncation_error.estimate(outputs, self.order, scale)

    def integrate(self, expansion: Expansion, times: np.ndarray, coarsening: int = 1) -> np.ndarray:
        """Outputs of an expansion (T, R), by far more closely than the tolerance."""
        return expansion.integrate(self.y, times, _STEP * self.tolerance, coarsening)

    def looks(self) -> np.ndarray:
        """Times at which paths are looked at; the first is 0."""
        return np.union1d(snapshots(self.start.K2[: len(self.y)], self.times[-1], self.start.outputs), self.times)

    def path(self, outputs: np.ndarray) -> np.ndarray:
        """The residual of outputs (T, R) as far as they are finite, (n, T)."""
        residual: np.ndarray = outputs[np.isfinite(outputs).all(axis=1), : len(self.y)].T - self.y[:, None]
        return residual

    def along(self, path: np.ndarray, k: int) -> np.ndarray:
        """The basis of k vectors along a path."""
        return np.eye(k) if k == len(self.y) else principal_vectors(path, k)

    def contracted(self, basis: np.ndarray, order: int) -> Expansion:
        """The expansion to the order, in the basis."""
        kernels = self.backend.contracted_hierarchy(self.net, self.theta, self.rows, self.x, basis, order)
        corrections = (np.asarray(kernels[r][0], dtype=float) for r in range(3, order + 1))
        return replace(self.start, corrections=tuple(corrections), basis=basis)


def ntk_of_points(backend: Backend, net: Network, theta: Parameters, rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The NTK with every output as a point of its own, (S, R O, n O) in C order, for rows (R, d) and x (n, d)."""
    if net.output_dim == 1:
        return backend.ntk(net, theta, rows, x)
    kernels = backend.ntk(net, theta, rows, x, outputs="full").swapaxes(2, 3)
    return kernels.reshape(len(kernels), len(rows) * net.output_dim, -1)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest where both are finite; infinite if only one is anywhere."""
    finite = np.isfinite(one)
    if (finite != np.isfinite(other)).any():
        return np.inf
    return float(np.abs(one - other)[finite].max(initial=0.0))
