"""What a claim expects of a quantity: data, judged by `ntkbench.verdicts.judge`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["supported", "contradicted", "inconclusive", "invalid"]
"""What may come of an expectation; `invalid` where the measurement allows no verdict."""
Where = Mapping[str, tuple[Any, ...]]
"""Case fields and the values for which an expectation applies; empty: to every case."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What all expectations share.

    Attributes:
        name: unique within the claim, lower-case words joined by underscores.
        statement: the sentence that the verdict is about.
        source: bib key and place, for instance `huang2020dynamics, Theorem 2.6`.
        quantity: the quantity, as `Claim.summarize` names it, that is judged.
        control: the kind of negative control (a value of the cases' `control` field) for which it must be contradicted.
        control_quantity: the quantity that is judged on the control, where it is another one.
        where: to which cases it applies.
        rival_to: for a rival reading, the name of the claim's expectation that it is set against, of another exponent. A rival
            reading goes beyond what the source states, so that its contradiction, which the claim expects, contradicts nobody.
    """

    name: str
    statement: str
    source: str
    quantity: str
    control: str
    control_quantity: str | None = None
    where: Where = field(default_factory=dict)
    rival_to: str | None = None

    def applies(self, case: Any) -> bool:
        """Whether it speaks of `case` (control cases of its kind included)."""
        if case.control not in (None, self.control):
            return False
        return all(getattr(case, name) in values for name, values in self.where.items())


@dataclass(frozen=True, kw_only=True)
class Rate(Expectation):
    """The quantity falls as `width^exponent`: an equivalence test.

    Supported if the interval of the fitted exponent lies within `exponent +- margin`, contradicted if it lies outside, else
    inconclusive. `aggregate` is the location over seeds whose logarithm is fitted: `geometric` (mean of logarithms; the rule
    for heavy-tailed errors) or `mean` (logarithm of the absolute arithmetic mean, for a bias whose sign matters).
    """

    exponent: float
    margin: float
    aggregate: Literal["geometric", "mean"] = "geometric"


@dataclass(frozen=True, kw_only=True)
class Bound(Expectation):
    """The quantity falls at least as fast as `width^exponent`: the one-sided test.

    Supported if the interval lies below `exponent + margin`, contradicted if above, else inconclusive.
    """

    exponent: float
    margin: float
    aggregate: Literal["geometric", "mean"] = "geometric"


@dataclass(frozen=True, kw_only=True)
class Identity(Expectation):
    """The quantity, a relative deviation, is at most `tolerance` for every width and seed."""

    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Equivalence(Expectation):
    """The mean over seeds at one width (`at`, the smallest or the largest) is `value`: an equivalence test.

    For exponents along another axis than the width (time, depth, number of points), fitted for every seed by
    `Claim.summarize`. Supported if the interval lies within `value +- margin`, contradicted if it lies outside, else
    inconclusive.
    """

    value: float
    margin: float
    at: Literal["smallest", "largest"] = "largest"


@dataclass(frozen=True, kw_only=True)
class Paired(Expectation):
    """The mean paired difference at one width (`at`, the smallest or the largest) over seeds, against a smallest effect `size`.

    `sign` +1 (or -1): supported if the interval lies above `size` (below `-size`), contradicted if it lies below `size` (above
    `-size`), else inconclusive. `sign` 0, "they differ": supported if the interval lies outside `[-size, size]` on either
    side, contradicted if inside, else inconclusive.
    """

    size: float
    sign: Literal[-1, 0, 1] = 0
    at: Literal["smallest", "largest"] = "largest"


def expected(expectation: Expectation) -> str:
    """What is expected, with the margin fixed beforehand, in a few letters.

    Raises:
        ValueError: for a kind of expectation that is not known here.
    """
    match expectation:
        case Rate():
            return f"slope {expectation.exponent:g} ± {expectation.margin:g}".replace("-", "−")
        case Bound():
            return f"slope ≤ {expectation.exponent:g} + {expectation.margin:g}".replace("-", "−")
        case Equivalence():
            return f"{expectation.value:g} ± {expectation.margin:g}, {expectation.at} width".replace("-", "−")
        case Identity():
            return f"≤ {expectation.tolerance:g}".replace("-", "−")
        case Paired(sign=0):
            return f"|difference| > {expectation.size:.3g}, {expectation.at} width"
        case Paired(sign=1):
            return f"difference > {expectation.size:.3g}, {expectation.at} width"
        case Paired(sign=-1):
            return f"difference < {-expectation.size or 0:.3g}, {expectation.at} width".replace("-", "−")
    raise ValueError(f"{expectation.name}: no words for an expectation of type {type(expectation).__name__}")
