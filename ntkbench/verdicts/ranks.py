"""Comparing methods over data sets: tests of ranks, and what a number of sets can find (Demsar 2006).

`scipy.stats` is imported where it is used: a measuring process, which loads every claim, has no need of it.
"""

import numpy as np

POWER = 0.8
"""Of the test that `detectable` speaks of."""


def ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each method on each set, 1 for the highest score, ties share their mean rank; (methods, sets) to the same."""
    from scipy import stats

    found: np.ndarray = stats.rankdata(-scores, axis=0)
    return found


def wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; 1 where all differences are zero."""
    from scipy import stats

    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit", correction=False, method="asymptotic").pvalue)


def friedman(ranked: np.ndarray) -> float:
    """p-value of Friedman's test that all methods rank alike; `ranked` (methods, sets). 1 where all of them tie."""
    from scipy import stats

    if not np.ptp(ranked):
        return 1.0
    return float(stats.friedmanchisquare(*ranked).pvalue)


def detectable(differences: np.ndarray, level: float) -> float:
    """The smallest mean that so many differences of this scatter find with `POWER` at a one-sided level (paired t-test)."""
    from scipy import stats

    free = len(differences) - 1
    quantiles = stats.t.ppf(1 - level, free) + stats.t.ppf(POWER, free)
    return float(quantiles * differences.std(ddof=1) / np.sqrt(len(differences)))
