"""A quantity's location over seeds with its interval, as verdicts on means have them."""

import math
from dataclasses import dataclass

import numpy as np

from ntkbench.verdicts.bootstrap import Pivot


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds and its 95% interval; NaN where seeds are not usable, infinite where the data bound nothing."""

    centre: float
    low: float
    high: float


def over_seeds(values: np.ndarray, rng: np.random.Generator, geometric: bool = False) -> Estimate:
    """Mean and interval by the studentized bootstrap, see `ntkbench.verdicts.bootstrap`.

    Args:
        values: (S,), one per seed.
        geometric: whether the mean is that of the logarithms, and mean and interval are given back as their exponentials.
    """
    usable = len(values) > 1 and bool(np.isfinite(values).all()) and (not geometric or bool((values > 0).all()))
    if not usable:
        return Estimate(math.nan, math.nan, math.nan)
    sample = np.log(values) if geometric else np.asarray(values, dtype=float)
    pivot = Pivot.of_mean(sample, rng)
    mean, error = float(sample.mean()), pivot.standard_error_at(0.0)
    ends = (mean, mean) if error == 0 else pivot.interval(mean, error)
    found = (mean, *ends)
    return Estimate(*(float(np.exp(x)) for x in found)) if geometric else Estimate(*found)
