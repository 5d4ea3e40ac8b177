"""Rank correlation, for claims that say what ranks architectures or tasks as their test error does."""

import numpy as np


def spearman(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    """Spearman's rank correlation along an axis, ties at their average rank; without that axis.

    0 where all of one side are tied, which ranks nothing; NaN where an entry is NaN.
    """
    a, b = (_centred_ranks(np.moveaxis(values, axis, -1)) for values in (first, second))
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    found: np.ndarray = (a * b).sum(axis=-1) / np.where(size == 0, 1.0, size)
    return found


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    # A measuring process loads every claim, and needs no scipy.stats.
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(values, axis=-1, nan_policy="propagate"))
    centred: np.ndarray = ranks - (values.shape[-1] + 1) / 2
    return centred
