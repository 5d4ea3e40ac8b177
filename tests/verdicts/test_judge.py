from dataclasses import replace

import numpy as np
import pytest

from ntkbench.verdicts.bootstrap import LEVEL
from ntkbench.verdicts.expectations import Bound, Equivalence, Expectation, Identity, Paired, Rate
from ntkbench.verdicts.fit import power_law
from ntkbench.verdicts.judge import Judgement, judge

TEXT = {"name": "rate", "statement": "s", "source": "t", "quantity": "q", "control": "c"}
WIDTHS = (16, 32, 64, 128, 256)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def power(exponent: float, spread: float = 0.05, seeds: int = 8) -> dict[int, dict[str, np.ndarray]]:
    draw = np.random.default_rng(1)
    return {w: {"q": w**exponent * np.exp(spread * draw.standard_normal(seeds))} for w in WIDTHS}


def outcome(judgement: Judgement) -> str:
    if not judgement.valid:
        return "invalid"
    support, contradict = judgement.p_support <= LEVEL, judgement.p_contradict <= LEVEL
    assert not (support and contradict)
    return "supported" if support else "contradicted" if contradict else "inconclusive"


@pytest.mark.parametrize(
    ("truth", "rate", "bound"),
    [
        (-1.0, "supported", "supported"),
        (-1.6, "contradicted", "supported"),
        (-0.4, "contradicted", "contradicted"),
        (-1.2, "inconclusive", "supported"),
        (-0.8, "inconclusive", "inconclusive"),
    ],
)
def test_rate_is_two_sided_and_bound_is_one_sided(truth: float, rate: str, bound: str) -> None:
    assert outcome(judge(Rate(**TEXT, exponent=-1.0, margin=0.2), power(truth), rng())) == rate
    assert outcome(judge(Bound(**TEXT, exponent=-1.0, margin=0.2), power(truth), rng())) == bound


def test_rate_weighs_the_fit_at_both_edges_of_the_margin() -> None:
    summaries = power(-1.0, spread=0.3)
    judgement = judge(Rate(**TEXT, exponent=-1.0, margin=0.2), summaries, rng())
    fit = power_law({w: s["q"] for w, s in summaries.items()}, "geometric", rng())
    assert (judgement.estimate, judgement.ci_low, judgement.ci_high) == (fit.exponent, fit.ci_low, fit.ci_high)
    assert judgement.p_support == max(fit.p_above(-1.2), fit.p_below(-0.8))
    assert judgement.p_contradict == min(fit.p_below(-1.2), fit.p_above(-0.8))
    assert (judgement.range, judgement.seeds, judgement.valid) == ("m=64..256", 8, True)


def test_mean_aggregate_keeps_the_sign_of_a_bias() -> None:
    draw = np.random.default_rng(2)
    summaries = {w: {"q": -1.0 / w + 0.1 / w * draw.standard_normal(64)} for w in WIDTHS}
    assert outcome(judge(Rate(**TEXT, exponent=-1.0, margin=0.2, aggregate="mean"), summaries, rng())) == "supported"
    assert outcome(judge(Rate(**TEXT, exponent=-1.0, margin=0.2), summaries, rng())) == "invalid"


@pytest.mark.parametrize("kind", [Rate, Bound])
def test_aggregate_decides_which_location_of_positive_samples_is_judged(kind: type[Rate] | type[Bound]) -> None:
    # Log-normal: the mean is exp(s^2 / 2) times the geometric mean, so that scatter which grows with the width flattens it.
    draw = np.random.default_rng(4)
    scatter = {64: 0.1, 128: 0.6, 256: 1.0}
    summaries = {w: {"q": w**-1.0 * np.exp(s * draw.standard_normal(4_000))} for w, s in scatter.items()}
    flatter = 0.5 * (1.0 - 0.1**2) / np.log(4)
    geometric = judge(kind(**TEXT, exponent=-1.0, margin=0.15), summaries, rng(), resamples=199)
    mean = judge(kind(**TEXT, exponent=-1.0, margin=0.15, aggregate="mean"), summaries, rng(), resamples=199)
    assert geometric.estimate == pytest.approx(-1.0, abs=0.05)
    assert mean.estimate == pytest.approx(-1.0 + flatter, abs=0.1)
    assert (outcome(geometric), outcome(mean)) == ("supported", "contradicted")


def test_unresolved_bias_is_inconclusive_and_says_why() -> None:
    summaries = {w: {"q": np.array([1.0, -1.2, 0.1]) * (1 if w < 128 else -1)} for w in WIDTHS}
    judgement = judge(Rate(**TEXT, exponent=-1.0, margin=0.2, aggregate="mean"), summaries, rng())
    assert outcome(judgement) == "inconclusive"
    assert (judgement.ci_low, judgement.ci_high) == (-np.inf, np.inf)
    assert "changes sign" in judgement.reason


def test_identity_is_decided_by_the_worst_seed_of_any_width() -> None:
    summaries = {16: {"q": np.array([1e-13, -3e-12])}, 32: {"q": np.array([2e-13, 1e-14])}}
    held = judge(Identity(**TEXT, tolerance=1e-11), summaries, rng())
    assert (held.estimate, held.ci_low, held.ci_high) == (3e-12, 3e-12, 3e-12)
    assert (held.p_support, held.p_contradict, held.range) == (0.0, 1.0, "m=16..32")
    broken = judge(Identity(**TEXT, tolerance=1e-12), summaries, rng())
    assert (broken.p_support, broken.p_contradict) == (1.0, 0.0)
    exact = judge(Identity(**TEXT, tolerance=3e-12), summaries, rng())
    assert outcome(exact) == "supported"


@pytest.mark.parametrize(
    ("sign", "size", "mean", "expected"),
    [
        (1, 0.5, 1.0, "supported"),
        (1, 0.5, 0.0, "contradicted"),
        (1, 0.5, -1.0, "contradicted"),
        (1, 0.5, 0.5, "inconclusive"),
        (-1, 0.5, -1.0, "supported"),
        (-1, 0.5, 0.0, "contradicted"),
        (-1, 0.5, 1.0, "contradicted"),
        (0, 0.5, 1.0, "supported"),
        (0, 0.5, -1.0, "supported"),
        (0, 0.5, 0.0, "contradicted"),
        (0, 0.5, 0.5, "inconclusive"),
        (0, 0.0, 0.3, "supported"),
        (0, 0.0, 0.0, "inconclusive"),
    ],
)
def test_paired(sign: int, size: float, mean: float, expected: str) -> None:
    scatter = np.random.default_rng(3).standard_normal(20)
    summaries = {16: {"q": mean + 0.2 * (scatter - scatter.mean())}, 32: {"q": np.array([9.0, 8.0])}}
    judgement = judge(Paired(**TEXT, sign=sign, size=size, at="smallest"), summaries, rng())
    assert outcome(judgement) == expected
    assert judgement.estimate == pytest.approx(mean, abs=1e-12)
    assert (judgement.range, judgement.seeds) == ("m=16", 20)


@pytest.mark.parametrize(
    ("mean", "expected"),
    [(2.0, "supported"), (2.05, "supported"), (1.2, "contradicted"), (2.9, "contradicted"), (2.3, "inconclusive")],
)
def test_equivalence(mean: float, expected: str) -> None:
    scatter = np.random.default_rng(3).standard_normal(20)
    summaries = {16: {"q": np.array([9.0, 8.0])}, 32: {"q": mean + 0.2 * (scatter - scatter.mean())}}
    judgement = judge(Equivalence(**TEXT, value=2.0, margin=0.3), summaries, rng())
    assert outcome(judgement) == expected
    assert judgement.estimate == pytest.approx(mean, abs=1e-12)
    assert (judgement.range, judgement.seeds) == ("m=32", 20)
    assert judge(Equivalence(**TEXT, value=8.5, margin=9.0, at="smallest"), summaries, rng()).range == "m=16"


def test_equivalence_without_scatter_decides_nothing() -> None:
    judgement = judge(Equivalence(**TEXT, value=0.3, margin=0.1), {16: {"q": np.full(5, 0.3)}}, rng())
    assert outcome(judgement) == "inconclusive"
    assert "no scatter" in judgement.reason


def test_paired_at_the_largest_width() -> None:
    summaries = {16: {"q": np.array([9.0, 8.0])}, 32: {"q": np.array([1.0, 2.0, 3.0])}}
    judgement = judge(Paired(**TEXT, sign=0, size=0.0, at="largest"), summaries, rng())
    assert (judgement.estimate, judgement.range) == (2.0, "m=32")


def test_paired_without_scatter_keeps_the_estimate_and_decides_nothing() -> None:
    judgement = judge(Paired(**TEXT, sign=0, size=0.01), {16: {"q": np.full(5, 0.3)}}, rng())
    assert outcome(judgement) == "inconclusive"
    assert judgement.estimate == 0.3
    assert "no scatter" in judgement.reason


@pytest.mark.parametrize(
    "expectation",
    [
        Rate(**TEXT, exponent=-1.0, margin=0.2),
        Rate(**TEXT, exponent=-1.0, margin=0.2, aggregate="mean"),
        Bound(**TEXT, exponent=-1.0, margin=0.2),
        Identity(**TEXT, tolerance=10.0),
        Equivalence(**TEXT, value=0.0, margin=1.0),
        Paired(**TEXT, size=0.0, sign=1),
    ],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("width", [16, 256])
def test_one_value_that_is_not_finite_makes_it_invalid(expectation: Expectation, bad: float, width: int) -> None:
    summaries = power(-1.0)
    assert judge(expectation, summaries, rng()).valid
    summaries[width]["q"][3] = bad
    judgement = judge(expectation, summaries, rng())
    assert not judgement.valid
    assert judgement.reason == f"q is not finite for 1 of 8 seeds at width {width}"
    assert np.isnan([judgement.estimate, judgement.ci_low, judgement.ci_high]).all()
    assert (judgement.p_support, judgement.p_contradict) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_no_logarithm_makes_it_invalid(bad: float) -> None:
    summaries = power(-1.0)
    summaries[16]["q"][:2] = bad
    judgement = judge(Rate(**TEXT, exponent=-1.0, margin=0.2), summaries, rng())
    assert not judgement.valid
    assert "2 of 8 seeds at width 16 are not positive" in judgement.reason


def test_missing_quantity_or_width_makes_it_invalid() -> None:
    expectation = Rate(**TEXT, exponent=-1.0, margin=0.2)
    summaries = power(-1.0)
    del summaries[64]["q"]
    judgement = judge(expectation, summaries, rng())
    assert (judgement.valid, judgement.reason) == (False, "q was not measured at width 64")
    assert judge(expectation, {}, rng()).reason == "no width was measured"
    assert not judge(expectation, {16: power(-1.0)[16]}, rng()).valid


def test_control_has_its_own_quantity_where_it_is_named() -> None:
    summaries = {w: s | {"r": s["q"] * w} for w, s in power(-1.0).items()}
    expectation = Rate(**TEXT, exponent=-1.0, margin=0.2)
    assert outcome(judge(expectation, summaries, rng(), control=True)) == "supported"
    other = replace(expectation, control_quantity="r")
    assert outcome(judge(other, summaries, rng(), control=True)) == "contradicted"
    assert outcome(judge(other, summaries, rng(), control=False)) == "supported"


@pytest.mark.parametrize("bend", [0.2, -0.2, 0.0])
def test_a_line_is_remarked_on_if_it_bends_either_way(bend: float) -> None:
    summaries = {w: {"q": s["q"] * np.exp(bend * np.log(w) ** 2)} for w, s in power(-1.0, spread=0.01).items()}
    reason = judge(Rate(**TEXT, exponent=-1.0, margin=0.2), summaries, rng()).reason
    assert ("the slope changes along the widths: curvature" in reason) == (bend != 0)
    assert ("curvature -" in reason) == (bend < 0)


def test_mistakes_of_a_claim_are_errors() -> None:
    expectation = Rate(**TEXT, exponent=-1.0, margin=0.2)
    with pytest.raises(ValueError, match=r"rate: q has shape \(8, 3\) at width 16"):
        judge(expectation, {w: {"q": np.ones((8, 3))} for w in WIDTHS}, rng())
    with pytest.raises(ValueError, match="at least two seeds"):
        judge(expectation, {w: {"q": np.ones(1)} for w in WIDTHS}, rng())
    with pytest.raises(TypeError, match="no judgement is defined for Expectation"):
        judge(Expectation(**TEXT), power(-1.0), rng())
