"""The hierarchy truncated at order p as a polynomial in the iterated integrals of the residual.

With `r = f - y` on the n training points, `S_0 = 1` and `S_j(t) = integral of r (x) S_{j-1}`, freezing `K_p` makes the NTK

    K2_ab(t) = sum_{j=0}^{p-2} (-1/n)^j sum_{c_1..c_j} K_{2+j}(0)_{a b c_1..c_j} S_j(t)_{c_1..c_j}

exactly: differentiate, and find `dK_r/dt = -(1/n) K_{r+1} . r` for r < p (Huang & Yau 2019, Theorem 2.6). So the state
`(f, S_1, ..., S_{p-2})` replaces `(f, K2, ..., K_{p-1})`, test points are further rows, and where the residual's path lies near
the span of the columns of an orthonormal (n, k) matrix, the integrals have k entries per slot instead of n.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

_ROUNDING = 3e-14
"""The smallest relative tolerance that scipy's integrators honour."""

_BLOWN_UP = 1e4
"""A residual that has grown so many times over belongs to no training: gradient flow never increases the loss."""


@dataclass(frozen=True)
class Expansion:
    """One network's expansion at t = 0.

    Attributes:
        f0: (R,), outputs on the rows; the first n of them are the training points.
        K2: (R, n), the NTK of rows and training points.
        corrections: `K_3, K_4, ...` with the basis in every slot but the first: (R, k, k), (R, k, k, k), and so on.
        basis: (n, k) with orthonormal columns; None for the identity.
    """

    f0: np.ndarray
    K2: np.ndarray
    corrections: tuple[np.ndarray, ...] = ()
    basis: np.ndarray | None = None

    def within(self, k: int) -> "Expansion":
        """The expansion in the first k basis vectors alone; ValueError without a basis."""
        if self.basis is None:
            raise ValueError("an expansion without a basis has no part in fewer vectors")
        parts = tuple(c[(slice(None), *[slice(k)] * (c.ndim - 1))] for c in self.corrections)
        return Expansion(self.f0, self.K2, parts, self.basis[:, :k])

    def integrate(self, y: np.ndarray, times: np.ndarray, tolerance: float) -> np.ndarray:
        """Outputs on the rows at every time, (T, R), by scipy's adaptive DOP853.

        Far outside of its horizon the truncated hierarchy may blow up; then outputs are NaN from there on.

        Args:
            y: (n,), targets.
            times: increasing, not negative.
            tolerance: of a step, root mean square over the outputs, relative to the largest residual at t = 0.
        """
        flow = _Flow(self, y)
        scale = float(np.abs(self.f0[: len(y)] - y).max())
        outputs = np.full((len(times), len(self.f0)), np.nan)
        if scale == 0 or times[-1] == 0:
            return np.tile(self.f0, (len(times), 1))

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
            rtol=max(tolerance, _ROUNDING),
            atol=max(tolerance, _ROUNDING) * scale,
        )
        outputs[: found.t.size] = found.y[: len(self.f0)].T
        return outputs


class _Flow:
    """The right-hand side on a flat state `(f, S_1, ..., S_{p-2})`."""

    def __init__(self, expansion: Expansion, y: np.ndarray):
        self.expansion, self.y, self.n = expansion, y, len(y)
        k = self.n if expansion.basis is None else expansion.basis.shape[1]
        self.sizes = [k**j for j in range(1, len(expansion.corrections) + 1)]
        self.matrices = [
            (-1 / self.n) ** j * c.reshape(len(expansion.f0), -1) for j, c in enumerate(expansion.corrections, start=1)
        ]

    def start(self) -> np.ndarray:
        return np.concatenate([self.expansion.f0, np.zeros(sum(self.sizes))])

    def velocity(self, _: float, state: np.ndarray) -> np.ndarray:
        rows = len(self.expansion.f0)
        residual = state[: self.n] - self.y
        along = residual if self.expansion.basis is None else self.expansion.basis.T @ residual
        slope = self.expansion.K2 @ residual
        slopes, end = [], rows
        previous = np.ones(1)
        for matrix, size in zip(self.matrices, self.sizes, strict=True):
            slopes.append(np.outer(along, previous).ravel())
            previous = state[end : end + size]
            slope = slope + matrix @ np.outer(along, previous).ravel()
            end += size
        return np.concatenate([slope / -self.n, *slopes])


def frozen_path(K2: np.ndarray, residual0: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The residual with the kernel frozen, `exp(-K2 t / n) r_0`, at every time: (n, T)."""
    eigenvalues, vectors = np.linalg.eigh(K2)
    decays = np.exp(np.outer(-np.clip(eigenvalues, 0, None) / len(K2), times))
    path: np.ndarray = vectors @ (decays * (vectors.T @ residual0)[:, None])
    return path


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


def snapshots(K2: np.ndarray, last: float) -> np.ndarray:
    """Times at which a path is looked at: 0, then spaced by equal ratios from the fastest mode's time scale to the last."""
    fastest = len(K2) / float(np.linalg.eigvalsh(K2)[-1])
    return np.concatenate([[0.0], np.geomspace(min(fastest / 10, last / 2), last, _SNAPSHOTS)])
