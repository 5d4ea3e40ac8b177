"""The hierarchy truncated at order p as a polynomial in the iterated integrals of the residual.

With `r = f - y` on the n training points, `S_0 = 1` and `S_j(t) = integral of r (x) S_{j-1}`, freezing `K_p` makes the NTK

    K2_ab(t) = sum_{j=0}^{p-2} (-1/n)^j sum_{c_1..c_j} K_{2+j}(0)_{a b c_1..c_j} S_j(t)_{c_1..c_j}

exactly: differentiate, and find `dK_r/dt = -(1/n) K_{r+1} . r` for r < p (Huang & Yau 2019, Theorem 2.6). So the state
`(f, S_1, ..., S_{p-2})` replaces `(f, K2, ..., K_{p-1})`, test points are further rows, and where the residual's path lies near
the span of the columns of an orthonormal (n, k) matrix, the integrals have k entries per slot instead of n.

With O outputs every output of a point is a point of its own, n O of them and R O rows in C order (point, output), except that
the loss is `(1/2n) sum_a |f_a - y_a|^2`: the factor above is 1/n with the number of inputs.

For p = 2 the residual is `exp(-K t / n) r_0`, K the kernel of the training points. With `K = V diag(l) V^T` it follows that

    f(t) = f_0 - K2 V diag((1 - exp(-l t / n)) / l) V^T r_0,    K2 V = V diag(l) on the training points.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

ROUNDING = 3e-14
"""The smallest relative tolerance that scipy's integrators honour."""

_LONGEST = 0.1
"""The longest step over the last time: where no tolerance binds, steps grow all alike, and coarser ones would be the same."""

_BLOWN_UP = 1e4
"""A residual that has grown so many times over belongs to no training: gradient flow never increases the loss."""


@dataclass(frozen=True)
class Expansion:
    """One network's expansion at t = 0.

    Attributes:
        f0: (R,), outputs on the rows; the first n of them are the training points.
        K2: (R, n), the NTK of rows and training points, symmetric and positive semi-definite on the latter.
        corrections: `K_3, K_4, ...` with the basis in every slot but the first: (R, k, k), (R, k, k, k), and so on.
        basis: (n, k) with orthonormal columns; None for the identity.
        outputs: of each point; R and n above count them all.
    """

    f0: np.ndarray
    K2: np.ndarray
    corrections: tuple[np.ndarray, ...] = ()
    basis: np.ndarray | None = None
    outputs: int = 1

    @property
    def order(self) -> int:
        """The highest kernel's."""
        return 2 + len(self.corrections)

    @property
    def points(self) -> int:
        """The n of the loss."""
        return len(self.K2.T) // self.outputs

    @property
    def vectors(self) -> int:
        """Of the basis; n without one."""
        return len(self.K2.T if self.basis is None else self.basis.T)

    def truncated(self, order: int) -> "Expansion":
        """The expansion without the corrections beyond `order`."""
        return replace(self, corrections=self.corrections[: order - 2])

    def within(self, k: int) -> "Expansion":
        """The expansion in the first k basis vectors alone; ValueError without a basis."""
        if self.basis is None:
            raise ValueError("an expansion without a basis has no part in fewer vectors")
        parts = tuple(c[(slice(None), *[slice(k)] * (c.ndim - 1))] for c in self.corrections)
        return replace(self, corrections=parts, basis=self.basis[:, :k])

    def integrate(self, y: np.ndarray, times: np.ndarray, tolerance: float, coarsening: float = 1.0) -> np.ndarray:
        """Outputs on the rows at every time, (T, R): in closed form without corrections, else by scipy's adaptive DOP853.

        Far outside of its horizon the truncated hierarchy may blow up; then outputs are NaN from there on.

        Args:
            y: (n,), targets.
            times: increasing, not negative.
            tolerance: of a step, root mean square over the outputs, relative to the largest residual at t = 0.
            coarsening: of that tolerance, rounding at the least, and of the longest step.
        """
        scale = float(np.abs(self.f0[: len(y)] - y).max())
        if scale == 0 or times[-1] == 0:
            return np.tile(self.f0, (len(times), 1))
        if not self.corrections:
            return self._frozen(y, times)
        # Every process that knows the claims loads this module, and most of them integrate nothing.
        from scipy.integrate import solve_ivp

        flow = _Flow(self, y)
        outputs = np.full((len(times), len(self.f0)), np.nan)

        def within_bounds(_: float, state: np.ndarray) -> float:
            return float(_BLOWN_UP * scale - np.abs(state[: len(y)] - y).max())

        within_bounds.terminal = True  # type: ignore[attr-defined]
        found = solve_ivp(
            flow.velocity,
            (0.0, times[-1]),
            flow.start(),
            method="DOP853",
            t_eval=times,
            events=within_bounds,
            rtol=coarsening * max(tolerance, ROUNDING),
            atol=coarsening * max(tolerance, ROUNDING) * scale,
            max_step=coarsening * _LONGEST * times[-1],
        )
        reached = len(found.t)
        if reached:  # scipy has no array where it reached no time
            outputs[:reached] = found.y[: len(self.f0)].T
        return outputs

    @cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues, negative ones by rounding as 0, and eigenvectors of the training points' NTK."""
        eigenvalues, vectors = np.linalg.eigh(self.K2[: self.K2.shape[1]])
        return np.clip(eigenvalues, 0, None), vectors

    @property
    def fastest(self) -> float:
        """The rate of the frozen NTK's fastest mode."""
        rate: float = self._modes[0][-1] / self.points
        return rate

    def _frozen(self, y: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Outputs with K2 frozen, (T, R), whatever the times."""
        n = len(y)
        eigenvalues, vectors = self._modes
        moving = eigenvalues > 0
        still = np.repeat(times[:, None] / self.points, n, axis=1)
        spent = np.where(moving, -np.expm1(-still * eigenvalues) / np.where(moving, eigenvalues, 1), still)
        images = np.concatenate([vectors * eigenvalues, self.K2[n:] @ vectors])
        outputs: np.ndarray = self.f0 - (spent * (vectors.T @ (self.f0[:n] - y))) @ images.T
        return outputs


class _Flow:
    """The right-hand side on a flat state `(f, S_1, ..., S_{p-2})`."""

    def __init__(self, expansion: Expansion, y: np.ndarray):
        self.expansion, self.y = expansion, y
        self.sizes = [expansion.vectors**j for j in range(1, len(expansion.corrections) + 1)]
        self.matrices = [
            (-1 / expansion.points) ** j * c.reshape(len(expansion.f0), -1)
            for j, c in enumerate(expansion.corrections, start=1)
        ]

    def start(self) -> np.ndarray:
        return np.concatenate([self.expansion.f0, np.zeros(sum(self.sizes))])

    def velocity(self, _: float, state: np.ndarray) -> np.ndarray:
        rows = len(self.expansion.f0)
        residual = state[: len(self.y)] - self.y
        along = residual if self.expansion.basis is None else self.expansion.basis.T @ residual
        slope = self.expansion.K2 @ residual
        slopes, end = [], rows
        previous = np.ones(1)
        for matrix, size in zip(self.matrices, self.sizes, strict=True):
            slopes.append(np.outer(along, previous).ravel())
            previous = state[end : end + size]
            slope = slope + matrix @ np.outer(along, previous).ravel()
            end += size
        return np.concatenate([slope / -self.expansion.points, *slopes])


def principal_vectors(path: np.ndarray, k: int) -> np.ndarray:
    """The k leading left singular vectors of a path, (n, k)."""
    vectors, _, _ = np.linalg.svd(path, full_matrices=path.shape[1] < k)
    return np.ascontiguousarray(vectors[:, :k])


def left_out(path: np.ndarray) -> np.ndarray:
    """The largest share of a residual of the path, (n, T), that j principal vectors leave out, j = 0, 1, ..., min(n, T) - 1."""
    _, values, times = np.linalg.svd(path, full_matrices=False)
    beyond = np.cumsum(((values[:, None] * times) ** 2)[::-1], axis=0)[::-1]
    shares: np.ndarray = np.sqrt(beyond / beyond[0]).max(axis=1)
    return shares


_SNAPSHOTS = 64


def snapshots(K2: np.ndarray, last: float, outputs: int = 1) -> np.ndarray:
    """Times at which a path is looked at: 0, then spaced by equal ratios from the fastest mode's time scale to the last."""
    spans = last * outputs * float(np.linalg.eigvalsh(K2)[-1]) / len(K2)
    return np.concatenate([[0.0], np.geomspace(last / max(10 * spans, 2), last, _SNAPSHOTS)])
