"""From judgements to verdicts: Holm over the family, negative controls, and what makes a verdict invalid."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ntkbench.claims.base import Case, Claim
from ntkbench.verdicts.bootstrap import LEVEL, RESAMPLES
from ntkbench.verdicts.expectations import Bound, Equivalence, Expectation, Identity, Paired, Rate, Verdict
from ntkbench.verdicts.judge import Judgement, Summaries, judge

Cases = Mapping[str, tuple[Case, Summaries]]
"""Case name -> the case and its summaries."""
RngFor = Callable[..., np.random.Generator]


@dataclass(frozen=True)
class Row:
    """One row of `verdicts.csv`, its fields being the columns in their order.

    Attributes:
        kind: `rate`, `bound`, `identity`, `equivalence` or `paired`.
        expected: `-1` for a rate or an equivalence, `<= -1` for a bound, `0` for an identity, `> 0`, `< 0` or `!= 0` for a
            paired difference.
        margin: how far from it the estimate may be, or must be (paired).
        control: kind of the negative control and its verdict, `mean_field: contradicted`.
        seeds, range: as in `Judgement`.
        p_value: the smaller of the two p-values (of support and of contradiction), after Holm; decisive at 0.025. NaN for an
            identity, and where nothing could be judged.
        reason: why it is invalid or inconclusive, and what else is worth knowing.
    """

    claim: str
    expectation: str
    kind: str
    source: str
    backend: str
    expected: str
    estimate: float
    ci_low: float
    ci_high: float
    verdict: Verdict
    control: str
    seeds: int
    range: str
    case: str
    margin: float
    p_value: float
    reason: str


@dataclass(frozen=True)
class _Judged:
    """One judgement in its family, p-values corrected."""

    case: str
    expectation: Expectation
    judgement: Judgement
    p_support: float
    p_contradict: float

    @property
    def chancy(self) -> bool:
        """Whether another draw of the seeds could change the outcome by chance: an identity holds for all of them or fails."""
        return not isinstance(self.expectation, Identity)

    @property
    def outcome(self) -> Verdict:
        if not self.judgement.valid:
            return "invalid"
        if self.p_support <= LEVEL:
            return "supported"
        return "contradicted" if self.p_contradict <= LEVEL else "inconclusive"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): rejecting where it is at most alpha keeps the family-wise error at alpha."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = running
    return [float(p) for p in adjusted]


def decide(claim: Claim, cases: Mapping[str, Cases], crosscheck: Mapping[str, bool], rng_for: RngFor) -> list[Row]:
    """The verdicts of one claim.

    Every expectation is judged on every regular case to which it applies, per backend. The family of Holm's procedure, at
    one-sided 2.5% for support and for contradiction each, is all of a claim's statistical rows within one backend: the
    questions asked of one set of networks. The other backend asks the same questions of the same networks and repeats the
    answers to rounding, so that correcting across backends would charge twice for one chance of error; claims are separate
    findings. Identities have no chance of error and stay outside. The negative controls are a family of their own: every
    control case to which an expectation applies must come out contradicted, else the row is invalid. Invalid too: a failing
    cross-check of the case or of its control, `claim.violations` of the case or of its control (a control that breaks another
    assumption than the one it is meant to break vouches for nothing), values that are not finite.

    Rival readings are in the family like the rest: to reject one is a finding too and may be an error, for which a family of
    their own would allow another 2.5%. So are several questions of one slope, its rate and its printed bound. Holm's procedure
    holds under any dependence; what it gives away where one answer implies another is little, since a family of 64 rows asks
    for intervals 6% narrower than one of 32, and an order among the questions that saves it would be one more choice to defend.

    Args:
        claim: supplies the expectations and `violations`, which is asked of regular and of control cases.
        cases: backend -> case name -> (case, summaries), control cases included.
        crosscheck: case name -> whether the backends agree; a case that is not named was not cross-checked.
        rng_for: a generator per named cell, `functools.partial(ntkbench.seeding.rng, root)`. The backend is no part of the
            name: backends that agree are resampled alike.

    Returns:
        Rows in the order of backends, expectations and cases.
    """
    return [row for backend, named in cases.items() for row in _decide_backend(claim, backend, named, crosscheck, rng_for)]


def _decide_backend(claim: Claim, backend: str, cases: Cases, crosscheck: Mapping[str, bool], rng_for: RngFor) -> list[Row]:
    controls = _judge_family(claim, {n: c for n, c in cases.items() if c[0].control is not None}, rng_for)
    rows = []
    for judged in _judge_family(claim, {n: c for n, c in cases.items() if c[0].control is None}, rng_for):
        case, summaries = cases[judged.case]
        own = [c for c in controls if c.expectation is judged.expectation]
        faults = [_crosscheck_fault(judged.case, crosscheck), *claim.violations(case, summaries)]
        for control in own:
            faults += [_control_fault(control) or _crosscheck_fault(control.case, crosscheck)]
            faults += [f"{control.case}: {violation}" for violation in claim.violations(*cases[control.case])]
        if not own:
            faults.append(f"the study has no negative control of kind {judged.expectation.control}")
        rows.append(_row(claim, backend, judged, _control_text(judged.expectation, own), [f for f in faults if f]))
    return rows


def _judge_family(claim: Claim, cases: Cases, rng_for: RngFor) -> list[_Judged]:
    cells = [(e, name) for e in claim.expectations for name, (case, _) in cases.items() if e.applies(case)]
    # The smallest p-value must stay well under the level after Holm has multiplied it by the size of the family.
    resamples = max(RESAMPLES, 100 * len(cells) - 1)
    judgements = [
        judge(e, cases[name][1], rng_for("verdict", claim.id, e.name, name), cases[name][0].control is not None, resamples)
        for e, name in cells
    ]
    judged = [_Judged(name, e, j, j.p_support, j.p_contradict) for (e, name), j in zip(cells, judgements, strict=True)]
    support = iter(holm([j.p_support for j in judged if j.chancy]))
    contradict = iter(holm([j.p_contradict for j in judged if j.chancy]))
    return [replace(j, p_support=next(support), p_contradict=next(contradict)) if j.chancy else j for j in judged]


def _crosscheck_fault(case: str, crosscheck: Mapping[str, bool]) -> str:
    if case not in crosscheck:
        return f"{case} was not cross-checked"
    return "" if crosscheck[case] else f"the cross-check of {case} failed"


def _control_fault(control: _Judged) -> str:
    if control.outcome == "contradicted":
        return ""
    why = f" ({control.judgement.reason})" if control.judgement.reason else ""
    return f"the negative control {control.case} came out {control.outcome}, not contradicted{why}"


def _control_text(expectation: Expectation, controls: Sequence[_Judged]) -> str:
    outcomes = ", ".join(sorted({c.outcome for c in controls}))
    return f"{expectation.control}: {outcomes or 'missing'}"


def _row(claim: Claim, backend: str, judged: _Judged, control: str, faults: Sequence[str]) -> Row:
    judgement, expectation = judged.judgement, judged.expectation
    verdict: Verdict = "invalid" if faults else judged.outcome
    remarks = [*faults, judgement.reason, _holm_remark(judged) if verdict == "inconclusive" else ""]
    expected, margin = _expected(expectation)
    return Row(
        claim=claim.id,
        expectation=expectation.name,
        kind=type(expectation).__name__.lower(),
        source=expectation.source,
        backend=backend,
        expected=expected,
        estimate=judgement.estimate,
        ci_low=judgement.ci_low,
        ci_high=judgement.ci_high,
        verdict=verdict,
        control=control,
        seeds=judgement.seeds,
        range=judgement.range,
        case=judged.case,
        margin=margin,
        p_value=min(judged.p_support, judged.p_contradict) if judgement.valid and judged.chancy else math.nan,
        reason="; ".join(dict.fromkeys(r for r in remarks if r)),
    )


def _holm_remark(judged: _Judged) -> str:
    for side, p in (("support", judged.judgement.p_support), ("contradict", judged.judgement.p_contradict)):
        if p <= LEVEL:
            return f"the interval alone would {side} it (p = {p:.2g}), the family of questions does not"
    return ""


def _expected(expectation: Expectation) -> tuple[str, float]:
    match expectation:
        case Rate(exponent=exponent, margin=margin):
            return f"{exponent:g}", margin
        case Bound(exponent=exponent, margin=margin):
            return f"<= {exponent:g}", margin
        case Equivalence(value=value, margin=margin):
            return f"{value:g}", margin
        case Identity(tolerance=tolerance):
            return "0", tolerance
        case Paired(sign=sign, size=size):
            return {1: "> 0", -1: "< 0", 0: "!= 0"}[sign], size
    raise TypeError(f"{expectation.name}: {type(expectation).__name__} is no kind of expectation")
