"""Synthetic studies with a planted truth, and bounds on counts that chance alone exceeds once in a thousand."""

from collections.abc import Callable

import numpy as np
from scipy import stats

WIDTHS = (64, 128, 256)
CHANCE = 1e-3

Scatter = Callable[[np.random.Generator, int], np.ndarray]

SCATTERS: dict[str, Scatter] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "t5": lambda rng, n: rng.standard_t(5, n) / np.sqrt(5 / 3),
    "exponential": lambda rng, n: rng.exponential(1.0, n) - 1.0,
}
"""Mean 0 and variance 1 each."""


def scaled(rng: np.random.Generator, exponent: float, seeds: int, spread: float, scatter: str) -> dict[int, np.ndarray]:
    """Positive samples whose logarithms scatter around the power law."""
    return {w: w**exponent * np.exp(spread * SCATTERS[scatter](rng, seeds)) for w in WIDTHS}


def signed(rng: np.random.Generator, exponent: float, seeds: int, resolution: float, scatter: str) -> dict[int, np.ndarray]:
    """Samples whose mean is a negative power law, `resolution` standard errors of the mean away from zero."""
    noise = np.sqrt(seeds) / resolution
    return {w: -(w**exponent) * (1 + noise * SCATTERS[scatter](rng, seeds)) for w in WIDTHS}


def slope_error(seeds: int, spread: float) -> float:
    """The true standard error of a slope in log-log."""
    u = np.log(WIDTHS)
    return float(spread / np.sqrt(seeds * ((u - u.mean()) ** 2).sum()))


def at_most(trials: int, probability: float) -> int:
    """The most events to be seen if each has this probability or less."""
    return int(stats.binom.ppf(1 - CHANCE, trials, probability))


def at_least(trials: int, probability: float) -> int:
    """The fewest events to be seen if each has this probability or more."""
    return int(stats.binom.ppf(CHANCE, trials, probability))
