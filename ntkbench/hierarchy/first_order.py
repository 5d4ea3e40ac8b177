"""Training to first order in 1/width, in closed form (Dyer & Gur-Ari 2020).

With n training points and `r = f - y` the hierarchy truncated at order 4 has `K2(t) = K2 + D(t)`, where

    D(t) = -(1/n) K3 . S_1(t) + (1/n^2) K4 : S_2(t),    S_1 = integral of r,    S_2 = integral of r (x) S_1

(see `ntkbench.hierarchy.expansion`), and K3, K4 are of order 1/m. So to first order the integrals are those of the frozen
path `r_0(t) = exp(-K2 t / n) r_0`, and

    f = f_0 + f_1 + O(1/m^2),    df_1/dt = -(1/n) (K2 f_1 + D r_0),    f_1(0) = 0.

In the eigenbasis of K2 on the training points, of rates a_k (eigenvalues over n), r_0(t) has the entries `c_k exp(-a_k t)`.
So f_1 is a sum of integrals of exponentials over ordered times `0 < v < u < s < t`, which is over the lengths of the gaps
between them: divided differences of the exponential, by Hermite and Genocchi. With `e[x_0, .., x_q]` for them,

    f_1k(t) = sum_lj  c_l c_j K3_klj / n^2  t^2 e[-a_k t, -a_l t, -(a_l + a_j) t]
            - sum_lij c_l c_i c_j K4_klij / n^3  t^3 e[-a_k t, -a_l t, -(a_l + a_i) t, -(a_l + a_i + a_j) t].

Rates that coincide or vanish are nothing special. An integral over time is one node 0 more (and one power of t): so for other
rows than training points, which are driven and do not decay, `f_1 = -(1/n) integral of (K2 f_1 + D r_0)`.
"""

import math

import numpy as np

from ntkbench.backends import checks

_TERMS = 24
"""Of the exponential series, for matrices of norm 2 at most."""

_CHUNK = 2**13
"""Divided differences at once, so that their tables stay in a processor's cache."""


def first_order_outputs(
    K2: np.ndarray, K3: np.ndarray, K4: np.ndarray, f0: np.ndarray, y: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs under gradient flow to first order in 1/width, `f_0(t) + f_1(t)`, from the kernels at t = 0.

    Source: Dyer & Gur-Ari 2020 (f_1 from their O_3 and O_4); the form by divided differences is this module's.

    Args:
        K2: (S, R, n), rows and training points; the first n rows are the training points.
        K3: (S, R, n, n); K4: (S, R, n, n, n).
        f0: (S, R), outputs at t = 0; y: (n,) or (S, n), targets.
        times: (T,), not negative, units of gradient-flow time.

    Returns:
        f_0 and f_1, each (S, T, R): the frozen NTK's outputs, and the correction to them.

    Raises:
        ValueError: for what is no array of finite real numbers, shapes that do not fit, times that are negative, and a K2 that
            is not symmetric or not positive semi-definite on the training points, up to rounding: the root of the machine
            epsilon of K2, relative to its largest.
    """
    given = {"K2": K2, "K3": K3, "K4": K4, "f0": f0, "y": y, "times": times}
    found = {name: checks.real(name, array) for name, array in given.items()}
    rounding = float(np.sqrt(np.finfo(np.result_type(found["K2"], np.float32)).eps))
    K2, K3, K4, f0, y, times = (array.astype(float) for array in found.values())
    _check(K2, K3, K4, f0, y, times, rounding)
    n = K2.shape[-1]
    eigenvalues, vectors = np.linalg.eigh(K2[:, :n])
    if (eigenvalues < -rounding * eigenvalues[:, -1:]).any():
        raise ValueError(f"K2 must be positive semi-definite on the training points, has an eigenvalue {eigenvalues.min():.3g}")
    rates = np.clip(eigenvalues, 0, None) / n
    start = np.einsum("sak,sa->sk", vectors, f0[:, :n] - y)
    along = -vectors * start[:, None] / n
    third = _modes_first(np.einsum("sabc,sbl,scj->salj", K3, along, along, optimize=True), vectors)
    fourth = _modes_first(np.einsum("sabcd,sbl,sci,sdj->salij", K4, along, along, along, optimize=True), vectors)
    frozen, correction = np.empty((2, len(K2), len(times), K2.shape[1]))
    for index, t in enumerate(times):
        nodes = -t * rates
        spent = -start / n * t * exponential_difference(np.zeros(1), nodes)
        frozen[:, index] = f0 + np.einsum("sab,sbk,sk->sa", K2, vectors, spent)
        correction[:, index] = _correction(t, nodes, K2, vectors, third, fourth)
    return frozen, correction


def _modes_first(kernel: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The kernel with the training points among its rows turned into modes; further rows as they are."""
    n = vectors.shape[-1]
    return np.concatenate([np.einsum("sak,sa...->sk...", vectors, kernel[:, :n]), kernel[:, n:]], axis=1)


def _correction(
    t: float, nodes: np.ndarray, K2: np.ndarray, vectors: np.ndarray, third: np.ndarray, fourth: np.ndarray
) -> np.ndarray:
    """f_1 at one time, (S, R); `nodes` are `-a_k t`."""
    n = nodes.shape[1]
    still = np.zeros((1,) * 5)
    own, l, i, j = (nodes.reshape(-1, *shape) for shape in ((n, 1, 1, 1), (1, n, 1, 1), (1, 1, n, 1), (1, 1, 1, n)))

    def integral(rows: slice, *head: np.ndarray) -> np.ndarray:
        """Of the drive of some rows, (S, rows), over all ordered times; `head` are the nodes after the drive's own."""
        of_third = t ** (1 + len(head)) * exponential_difference(*(h[..., 0] for h in head), l[..., 0], (l + i)[..., 0])
        of_fourth = t ** (2 + len(head)) * exponential_difference(*head, l, l + i, l + i + j)
        found: np.ndarray = (third[:, rows] * of_third).sum(axis=(2, 3)) + (fourth[:, rows] * of_fourth).sum(axis=(2, 3, 4))
        return found

    training, others = slice(n), slice(n, None)
    of_training: np.ndarray = np.einsum("sak,sk->sa", vectors, integral(training, own))
    if K2.shape[1] == n:
        return of_training
    decayed = np.einsum("sab,sbk,sk->sa", K2[:, n:], vectors, integral(training, still, own)) / -n
    return np.concatenate([of_training, integral(others, still) + decayed], axis=1)


def exponential_difference(*nodes: np.ndarray) -> np.ndarray:
    """The divided difference `e[x_0, .., x_q]` of the exponential, at nodes that broadcast.

    Its relative error is rounding times the largest distance of two nodes. It is the corner entry of the exponential of the
    bidiagonal matrix with the nodes on the diagonal and ones beside it (Opitz 1964). Once shifted by the smallest node that
    matrix is non-negative, and so are all terms of its series and all products in squaring it: nothing cancels, however close
    the nodes.
    """
    x = np.stack(np.broadcast_arrays(*nodes))
    flat = x.reshape(len(x), -1)
    found = np.empty(flat.shape[1])
    for first in range(0, len(found), _CHUNK):
        found[first : first + _CHUNK] = _corner(flat[:, first : first + _CHUNK])
    return found.reshape(x.shape[1:])


def _corner(x: np.ndarray) -> np.ndarray:
    """The divided differences of nodes (q + 1, N)."""
    highest = x.max(axis=0)
    spread = highest - x.min(axis=0)
    doublings = max(0, math.ceil(math.log2(max(1.0, float(spread.max())))))
    step = 0.5**doublings
    diagonal = (x - highest + spread) * step
    size = len(x)
    term = np.zeros((size, size, x.shape[1]))
    term[range(size), range(size)] = 1
    table = term.copy()
    for power in range(1, _TERMS):
        for row in range(size):
            for column in range(size - 1, row, -1):
                term[row, column] = (term[row, column] * diagonal[column] + term[row, column - 1] * step) / power
            term[row, row] *= diagonal[row] / power
        table += term
    table *= np.exp(-spread * step)
    for _ in range(doublings):
        table = _squared(table)
    corner: np.ndarray = table[0, -1] * np.exp(highest)
    return corner


def _squared(table: np.ndarray) -> np.ndarray:
    """The square of upper triangular matrices (q, q, N)."""
    square = np.zeros_like(table)
    for row in range(len(table)):
        for column in range(row, len(table)):
            square[row, column] = (table[row, row : column + 1] * table[row : column + 1, column]).sum(axis=0)
    return square


def _check(
    K2: np.ndarray, K3: np.ndarray, K4: np.ndarray, f0: np.ndarray, y: np.ndarray, times: np.ndarray, rounding: float
) -> None:
    if K2.ndim != 3 or K2.shape[1] < K2.shape[2]:
        raise ValueError(f"K2 must be of shape (S, R, n) with the n training points as its first rows, got {K2.shape}")
    seeds, rows, n = K2.shape
    for name, array, shape in (("K3", K3, (seeds, rows, n, n)), ("K4", K4, (seeds, rows, n, n, n)), ("f0", f0, (seeds, rows))):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, K2 of shape {K2.shape} asks for {shape}")
    if y.shape not in ((n,), (seeds, n)):
        raise ValueError(f"y has shape {y.shape}, K2 of shape {K2.shape} asks for {(n,)} or {(seeds, n)}")
    if times.ndim != 1 or (times < 0).any():
        raise ValueError(f"times must be a list of numbers, none negative, got {times}")
    square = K2[:, :n]
    if (np.abs(square - square.swapaxes(1, 2)) > rounding * np.abs(square).max(axis=(1, 2), keepdims=True)).any():
        raise ValueError("K2 must be symmetric on the training points")
