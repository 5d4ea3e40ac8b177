"""Power laws in the width, fitted to one scalar per seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from ntkbench.verdicts.bootstrap import RESAMPLES, Locations, Pivot, resample

Aggregate = Literal["geometric", "mean"]


class Unresolved(ValueError):
    """The samples allow no estimate, or one without an interval: too much noise, or no scatter at all."""


@dataclass(frozen=True)
class Fit:
    """`location = exp(intercept) * width^exponent` on the upper half of the widths, and at least three.

    Attributes:
        exponent: the estimate.
        intercept: natural logarithm of the magnitude extrapolated to width 1.
        standard_error: of the exponent, from the scatter within each width alone.
        ci_low, ci_high: the 95% interval of the exponent; infinite where the data bound nothing on that side.
        widths: those that were used.
        seeds: how many at each of them.
        pivot: the test of an exponent, behind the interval and the p-values.
    """

    exponent: float
    intercept: float
    standard_error: float
    ci_low: float
    ci_high: float
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    pivot: Pivot = field(repr=False, compare=False)

    def p_above(self, x: float) -> float:
        """One-sided p-value of "the exponent is at most x"; crosses 0.025 where x passes the lower end of the interval."""
        return self.pivot.p_above(x)

    def p_below(self, x: float) -> float:
        """One-sided p-value of "the exponent is at least x"; crosses 0.025 where x passes the upper end of the interval."""
        return self.pivot.p_below(x)

    def curvature(self) -> tuple[float, float, float] | None:
        """Coefficient of `log(width)^2` in the logarithm with its 95% interval (estimate, low, high): a power law has none.

        None with two widths, and for the `mean` aggregate.
        """
        if len(self.widths) < 3 or self.pivot.multiplicative:
            return None
        u = np.log(self.widths) - np.log(self.widths).mean()
        design = np.stack([np.ones_like(u), u], axis=1)
        free = u**2 - design @ np.linalg.lstsq(design, u**2)[0]
        pivot = Pivot(self.pivot.locations, free / (free @ free), u**2)
        estimate, error = pivot.contrast_at(0.0), pivot.standard_error_at(0.0)
        return (estimate, *pivot.interval(estimate, error)) if error > 0 else None


def upper_half(widths: Sequence[int], least: int = 3) -> tuple[int, ...]:
    """The largest ceil(W/2) of W widths, and at least `least` where there are so many: a rate is asymptotic."""
    kept = max(math.ceil(len(widths) / 2), min(least, len(widths)))
    return tuple(sorted(widths)[-kept:])


def power_law(
    values: Mapping[int, np.ndarray],
    aggregate: Aggregate,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Fit:
    """Fit `width^exponent` to the location over seeds, by least squares in log-log on the upper half of the widths.

    `geometric` fits the mean of the logarithms. `mean` is for a signed bias: the exponent x makes the means times `width^-x`
    uncorrelated with log(width), which to first order in their relative errors is the least-squares slope of log|mean|.
    log|mean| itself is not used since its intervals undercover (87% at a mean of five standard errors). All widths weigh the
    same: with few seeds estimated weights cost coverage, and seeds that grow with the width equalize the precision by design.

    The interval is the studentized bootstrap's, seeds being drawn within each width: the widths are taken as independent,
    which is conservative where seeds share data between them. It speaks of the scatter over seeds, not of how far the widths
    are from the asymptote; `Fit.curvature` is a sign of that.

    Args:
        values: width -> (S_w,), one scalar per seed; S_w may differ.

    Raises:
        ValueError: with fewer than two widths or seeds, for entries that are not finite, or not positive if `geometric`.
        Unresolved: if there is no scatter over seeds, or if the mean changes sign between widths.
    """
    widths = upper_half(list(values))
    if len(widths) < 2:
        raise ValueError(f"an exponent takes at least 2 widths, got {list(values)}")
    for width in widths:
        if not np.isfinite(values[width]).all():
            raise ValueError(f"width {width} has values that are not finite")
        if aggregate == "geometric" and not (values[width] > 0).all():
            raise ValueError(f"width {width} has values that are not positive, which have no logarithm")
    samples = [np.log(values[w]) if aggregate == "geometric" else values[w] for w in widths]
    solve = _geometric if aggregate == "geometric" else _mean
    return solve(resample(samples, rng, resamples), widths, tuple(len(s) for s in samples))


def _interval(pivot: Pivot, estimate: float, error: float) -> tuple[float, float]:
    if error == 0:
        raise Unresolved("the seeds do not differ: there is no scatter to take an interval from")
    return pivot.interval(estimate, error)


def _slope_contrast(u: np.ndarray) -> np.ndarray:
    contrast: np.ndarray = (u - u.mean()) / ((u - u.mean()) @ (u - u.mean()))
    return contrast


def _geometric(locations: Locations, widths: tuple[int, ...], seeds: tuple[int, ...]) -> Fit:
    u = np.log(widths)
    pivot = Pivot(locations, _slope_contrast(u), u)
    exponent, error = pivot.contrast_at(0.0), pivot.standard_error_at(0.0)
    low, high = _interval(pivot, exponent, error)
    intercept = float(np.mean(locations.mean - exponent * u))
    return Fit(exponent, intercept, error, low, high, widths, seeds, pivot)


def _mean(locations: Locations, widths: tuple[int, ...], seeds: tuple[int, ...]) -> Fit:
    sign = float(np.sign(locations.mean[0]))
    if not (sign * locations.mean > 0).all():
        means = ", ".join(f"{mean:.2g} at {w}" for w, mean in zip(widths, locations.mean, strict=True))
        raise Unresolved(f"the mean over seeds changes sign or vanishes ({means}): no power law is resolved")
    u = np.log(widths)
    # Centred, for a well scaled root search; a shift of the regressor multiplies the contrast by a positive number.
    pivot = Pivot(locations, sign * _slope_contrast(u), u - u.mean(), multiplicative=True)
    exponent = _root(pivot.contrast_at)
    weights = np.abs(locations.mean) * np.exp(-exponent * (u - u.mean()))
    slope = float(np.abs((weights * pivot.contrast) @ pivot.regressor))
    spread = float(np.sqrt((np.exp(-exponent * pivot.regressor) * pivot.contrast) ** 2 @ locations.variance))
    error = spread / slope
    low, high = _interval(pivot, exponent, error)
    intercept = float(np.log(weights.mean()) - exponent * u.mean())
    return Fit(exponent, intercept, error, low, high, widths, seeds, pivot)


def _root(decreasing: Callable[[float], float]) -> float:
    """Where a decreasing function that takes both signs is zero."""
    low, high = -1.0, 1.0
    while decreasing(low) < 0:
        low *= 2
    while decreasing(high) > 0:
        high *= 2
    return float(brentq(decreasing, low, high, xtol=1e-13))
