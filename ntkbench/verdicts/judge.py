"""One expectation against one case: estimate, interval, and the two p-values that a verdict weighs."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from ntkbench.verdicts.bootstrap import RESAMPLES, Pivot
from ntkbench.verdicts.expectations import Bound, Equivalence, Expectation, Identity, Paired, Rate
from ntkbench.verdicts.fit import Fit, Unresolved, power_law

Summaries = Mapping[int, Mapping[str, np.ndarray]]
"""width -> quantity -> (S,), one scalar per seed, as `Claim.summarize` returns it."""


@dataclass(frozen=True)
class Judgement:
    """What the data say about an expectation, before any correction for how many were asked.

    Attributes:
        estimate: of what is expected; NaN where there is none.
        ci_low, ci_high: its 95% interval; infinite on a side that the data do not bound. For an identity both are the estimate.
        p_support: one-sided p-value of "the expectation does not hold", small where the data support it.
        p_contradict: one-sided p-value of "the expectation holds", small where the data contradict it.
        seeds: samples at the width that has the fewest; 0 where nothing was measured.
        range: widths that were used, `m=256..2048`.
        reason: why it is invalid or undecidable, or what else is worth knowing.
        valid: False if there was nothing to judge: a quantity that is missing, not finite, or not positive under a logarithm.
    """

    estimate: float
    ci_low: float
    ci_high: float
    p_support: float
    p_contradict: float
    seeds: int
    range: str
    reason: str = ""
    valid: bool = True


def judge(
    expectation: Expectation,
    summaries: Summaries,
    rng: np.random.Generator,
    control: bool = False,
    resamples: int = RESAMPLES,
) -> Judgement:
    """Judge one case.

    Args:
        summaries: of all its widths; a quantity that is not finite at any of them makes the judgement invalid.
        control: the case is a negative control: `expectation.control_quantity` is judged where it is set.

    Raises:
        TypeError: for an expectation of unknown kind.
        ValueError: if the quantity is no (S,) array with at least two seeds, which is the claim's mistake and not a result.
    """
    quantity = (expectation.control_quantity if control else None) or expectation.quantity
    values: dict[int, np.ndarray] = {}
    for width in sorted(summaries):
        if quantity not in summaries[width]:
            return _undecided({}, f"{quantity} was not measured at width {width}", valid=False)
        values[width] = np.asarray(summaries[width][quantity])
        if values[width].ndim != 1 or len(values[width]) < 2:
            raise ValueError(
                f"{expectation.name}: {quantity} has shape {values[width].shape} at width {width}; "
                "an expectation judges one scalar per seed, of at least two seeds"
            )
    if not values:
        return _undecided({}, "no width was measured", valid=False)
    for width, samples in values.items():
        if bad := int((~np.isfinite(samples)).sum()):
            reason = f"{quantity} is not finite for {bad} of {len(samples)} seeds at width {width}"
            return _undecided(values, reason, valid=False)
    try:
        return _judge(expectation, values, rng, resamples)
    except Unresolved as error:
        return _undecided(values, str(error), valid=True)


def _undecided(values: Mapping[int, np.ndarray], reason: str, valid: bool, estimate: float = math.nan) -> Judgement:
    low, high = (-math.inf, math.inf) if valid else (math.nan, math.nan)
    return Judgement(estimate, low, high, 1.0, 1.0, _seeds(values), _range(values), reason, valid)


def _seeds(values: Mapping[int, np.ndarray]) -> int:
    return min((len(samples) for samples in values.values()), default=0)


def _range(widths: Collection[int]) -> str:
    if len(widths) < 2:
        return "".join(f"m={width}" for width in widths)
    return f"m={min(widths)}..{max(widths)}"


@singledispatch
def _judge(expectation: Expectation, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int) -> Judgement:
    raise TypeError(f"{expectation.name}: no judgement is defined for {type(expectation).__name__}")


@_judge.register
def _rate(expectation: Rate, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int) -> Judgement:
    fit = _fit(expectation, values, rng, resamples)
    if isinstance(fit, Judgement):
        return fit
    return _of_fit(fit, *_within(fit, expectation.exponent, expectation.margin))


def _within(tested: Fit | Pivot, value: float, margin: float) -> tuple[float, float]:
    """p-values of support and of contradiction of "within `value +- margin`".

    Two one-sided tests: equivalence is shown where both edges are rejected (Schuirmann 1987).
    """
    low, high = value - margin, value + margin
    return max(tested.p_above(low), tested.p_below(high)), min(tested.p_below(low), tested.p_above(high))


@_judge.register
def _bound(expectation: Bound, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int) -> Judgement:
    edge = expectation.exponent + expectation.margin
    fit = _fit(expectation, values, rng, resamples)
    if isinstance(fit, Judgement):
        return fit
    return _of_fit(fit, fit.p_below(edge), fit.p_above(edge))


def _fit(
    expectation: Rate | Bound, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int
) -> Fit | Judgement:
    if len(values) < 2:
        return _undecided(values, "an exponent takes at least 2 widths", valid=False)
    if expectation.aggregate == "geometric":
        for width, samples in values.items():
            if bad := int((samples <= 0).sum()):
                reason = f"{bad} of {len(samples)} seeds at width {width} are not positive and have no logarithm"
                return _undecided(values, reason, valid=False)
    return power_law(values, expectation.aggregate, rng, resamples)


def _of_fit(fit: Fit, support: float, contradict: float) -> Judgement:
    reason = ""
    curvature = fit.curvature()
    if curvature is not None and not curvature[1] <= 0 <= curvature[2]:
        estimate, low, high = curvature
        reason = f"the slope changes along the widths: curvature {estimate:.2g} [{low:.2g}, {high:.2g}]"
    return Judgement(fit.exponent, fit.ci_low, fit.ci_high, support, contradict, min(fit.seeds), _range(fit.widths), reason)


@_judge.register
def _identity(expectation: Identity, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int) -> Judgement:
    worst = max(float(np.abs(samples).max()) for samples in values.values())
    holds = worst <= expectation.tolerance
    return Judgement(worst, worst, worst, float(not holds), float(holds), _seeds(values), _range(values))


@_judge.register
def _equivalence(
    expectation: Equivalence, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int
) -> Judgement:
    return _of_mean(expectation.at, values, rng, resamples, lambda pivot: _within(pivot, expectation.value, expectation.margin))


@_judge.register
def _paired(expectation: Paired, values: Mapping[int, np.ndarray], rng: np.random.Generator, resamples: int) -> Judgement:
    def p_values(pivot: Pivot) -> tuple[float, float]:
        size = expectation.size
        if expectation.sign > 0:
            return pivot.p_above(size), pivot.p_below(size)
        if expectation.sign < 0:
            return pivot.p_below(-size), pivot.p_above(-size)
        # Either side counts, as in the 95% interval: for size 0 the two tails add up to 5%, for larger sizes only one can err.
        return min(pivot.p_above(size), pivot.p_below(-size)), max(pivot.p_above(-size), pivot.p_below(size))

    return _of_mean(expectation.at, values, rng, resamples, p_values)


def _of_mean(
    at: str,
    values: Mapping[int, np.ndarray],
    rng: np.random.Generator,
    resamples: int,
    p_values: Callable[[Pivot], tuple[float, float]],
) -> Judgement:
    """Judges the mean over the seeds of one width; `p_values` gives those of support and of contradiction."""
    width = min(values) if at == "smallest" else max(values)
    chosen = {width: values[width]}
    pivot = Pivot.of_mean(values[width], rng, resamples)
    mean, error = float(pivot.locations.mean[0]), pivot.standard_error_at(0.0)
    if error == 0:
        reason = f"every seed has the value {mean:.3g}: there is no scatter to take an interval from"
        return _undecided(chosen, reason, valid=True, estimate=mean)
    low, high = pivot.interval(mean, error)
    return Judgement(mean, low, high, *p_values(pivot), _seeds(chosen), _range(chosen))
