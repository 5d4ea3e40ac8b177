"""How often intervals cover and verdicts err, on synthetic studies with a planted truth.

Every threshold is a binomial quantile at the promised rate: chance alone passes it once in a thousand.
"""

import numpy as np
import pytest

from ntkbench.verdicts.bootstrap import LEVEL
from ntkbench.verdicts.decide import holm
from ntkbench.verdicts.expectations import Bound, Equivalence, Expectation, Paired, Rate
from ntkbench.verdicts.fit import Unresolved, power_law
from ntkbench.verdicts.judge import Judgement, judge
from tests.verdicts.studies import SCATTERS, WIDTHS, at_least, at_most, scaled, signed, slope_error

STUDIES = 1_000
RESAMPLES = 399
EXPONENT = -1.0
TEXT = {"name": "rate", "statement": "", "source": "", "quantity": "q", "control": "c"}


def judged(expectation: Expectation, values: dict[int, np.ndarray], rng: np.random.Generator) -> Judgement:
    return judge(expectation, {w: {"q": v} for w, v in values.items()}, rng, resamples=RESAMPLES)


@pytest.mark.parametrize("scatter", ["normal", "t5"])
@pytest.mark.parametrize("seeds", [8, 16, 64])
@pytest.mark.parametrize("aggregate", ["geometric", "mean"])
def test_interval_covers(aggregate: str, seeds: int, scatter: str) -> None:
    rng = np.random.default_rng([1, seeds])
    covered = 0
    for _ in range(STUDIES):
        values = (
            scaled(rng, EXPONENT, seeds, 0.5, scatter) if aggregate == "geometric" else signed(rng, EXPONENT, seeds, 5, scatter)
        )
        fit = power_law(values, aggregate, rng, RESAMPLES)
        covered += fit.ci_low <= EXPONENT <= fit.ci_high
    assert covered >= at_least(STUDIES, 0.95)


def test_interval_is_not_covering_by_being_wide() -> None:
    # 8 seeds at each of 3 widths have 14 degrees of freedom in the slope (the middle width has no weight): t / z is 1.094.
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(300):
        fit = power_law(scaled(rng, EXPONENT, 8, 0.5, "normal"), "geometric", rng, RESAMPLES)
        ratios.append((fit.ci_high - fit.ci_low) / (2 * 1.96 * slope_error(8, 0.5)))
    assert 1.0 < np.median(ratios) < 1.25


def test_unresolved_bias_claims_no_exponent() -> None:
    # Pure noise at every width: whatever exponent is asked about, deciding is an error.
    rng = np.random.default_rng(3)
    decisive = 0
    for _ in range(STUDIES):
        values = {w: rng.standard_normal(16) for w in WIDTHS}
        result = judged(Rate(**TEXT, exponent=-1.0, margin=0.2, aggregate="mean"), values, rng)
        decisive += min(result.p_support, result.p_contradict) <= LEVEL
    assert decisive <= at_most(STUDIES, LEVEL)


@pytest.mark.parametrize("scatter", ["normal", "t5"])
@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_rate_off_by_twice_the_margin_is_rarely_supported(noise: float, scatter: str) -> None:
    rng = np.random.default_rng(4)
    margin = 0.2
    spread = noise * margin / slope_error(8, 1.0)
    supported = 0
    for _ in range(300):
        values = scaled(rng, EXPONENT + 2 * margin, 8, spread, scatter)
        supported += judged(Rate(**TEXT, exponent=EXPONENT, margin=margin), values, rng).p_support <= LEVEL
    assert supported <= at_most(300, 0.05)


@pytest.mark.parametrize("kind", ["upper edge", "lower edge", "bound"])
def test_at_the_edge_of_the_margin_support_and_contradiction_err_at_their_level(kind: str) -> None:
    rng = np.random.default_rng(5)
    margin, side = 0.2, -1 if kind == "lower edge" else 1
    expectation = (Bound if kind == "bound" else Rate)(**TEXT, exponent=EXPONENT, margin=margin)
    # Five standard errors to the other edge: only the near one decides, which is the worst case.
    spread = 2 * margin / 5 / slope_error(8, 1.0)
    results = [judged(expectation, scaled(rng, EXPONENT + side * margin, 8, spread, "normal"), rng) for _ in range(STUDIES)]
    assert sum(r.p_support <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)
    assert sum(r.p_contradict <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)


def test_true_rate_is_supported_where_the_noise_is_low() -> None:
    # The nearer edge is 6 standard errors away: a t test with 14 degrees of freedom has a power above 0.99.
    rng = np.random.default_rng(6)
    expectation = Rate(**TEXT, exponent=EXPONENT, margin=0.2)
    spread = 0.2 / 6 / slope_error(8, 1.0)
    results = [judged(expectation, scaled(rng, EXPONENT, 8, spread, "normal"), rng) for _ in range(200)]
    assert sum(r.p_support <= LEVEL for r in results) >= at_least(200, 0.99)


@pytest.mark.parametrize("off", [-0.6, 0.6])
def test_wrong_rate_is_contradicted_where_the_noise_is_low(off: float) -> None:
    rng = np.random.default_rng(7)
    expectation = Rate(**TEXT, exponent=EXPONENT, margin=0.2)
    spread = 0.4 / 6 / slope_error(8, 1.0)
    results = [judged(expectation, scaled(rng, EXPONENT + off, 8, spread, "normal"), rng) for _ in range(200)]
    assert sum(r.p_contradict <= LEVEL for r in results) >= at_least(200, 0.99)


def test_too_much_noise_is_inconclusive() -> None:
    rng = np.random.default_rng(8)
    expectation = Rate(**TEXT, exponent=EXPONENT, margin=0.2)
    spread = 0.2 / 0.5 / slope_error(8, 1.0)
    results = [judged(expectation, scaled(rng, EXPONENT, 8, spread, "normal"), rng) for _ in range(300)]
    assert sum(min(r.p_support, r.p_contradict) > LEVEL for r in results) >= at_least(300, 1 - LEVEL)


def test_holm_keeps_the_family_wise_error_and_rejects_more_than_bonferroni() -> None:
    rng = np.random.default_rng(9)
    null = rng.uniform(size=(5_000, 20))
    assert sum(min(holm(list(p))) <= LEVEL for p in null) <= at_most(5_000, LEVEL)
    # Half of the family is false: Holm still errs at its level on the other half.
    half = np.concatenate([np.full((5_000, 10), 1e-9), null[:, :10]], axis=1)
    assert sum(min(holm(list(p))[10:]) <= LEVEL for p in half) <= at_most(5_000, LEVEL)
    assert holm([1e-4, 0.02]) == [2e-4, 0.02]


def test_family_of_real_judgements_errs_at_its_level() -> None:
    # Twelve rates at the edge of their margins, from data: the tails of the p-values are what Holm relies on.
    rng = np.random.default_rng(10)
    expectation = Rate(**TEXT, exponent=EXPONENT, margin=0.2)
    spread = 0.08 / slope_error(8, 1.0)
    wrong = 0
    for _ in range(100):
        family = [scaled(rng, EXPONENT + 0.2, 8, spread, "t5") for _ in range(12)]
        rows = [judge(expectation, {w: {"q": v} for w, v in values.items()}, rng, resamples=1_199) for values in family]
        wrong += min(holm([r.p_support for r in rows])) <= LEVEL
    assert wrong <= at_most(100, LEVEL)


@pytest.mark.parametrize("scatter", ["normal", "t5"])
@pytest.mark.parametrize("seeds", [8, 64])
def test_paired_interval_covers(seeds: int, scatter: str) -> None:
    rng = np.random.default_rng([11, seeds])
    expectation = Paired(**TEXT, sign=0, size=0.0)
    results = [judged(expectation, {64: 0.3 + SCATTERS[scatter](rng, seeds)}, rng) for _ in range(STUDIES)]
    assert sum(r.ci_low <= 0.3 <= r.ci_high for r in results) >= at_least(STUDIES, 0.95)


@pytest.mark.parametrize("side", [-1, 1])
def test_equivalence_at_the_edge_of_its_margin_errs_at_its_level(side: int) -> None:
    rng = np.random.default_rng(16)
    # The other edge is 16 standard errors away: only the near one decides, which is the worst case.
    expectation = Equivalence(**TEXT, value=2.0, margin=1.0)
    results = [judged(expectation, {64: 2.0 + side + 0.5 * rng.standard_normal(16)}, rng) for _ in range(STUDIES)]
    assert sum(r.p_support <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)
    assert sum(r.p_contradict <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)


@pytest.mark.parametrize(("truth", "outcome"), [(2.0, "support"), (4.0, "contradict"), (0.0, "contradict")])
def test_equivalence_decides_where_the_noise_is_low(truth: float, outcome: str) -> None:
    rng = np.random.default_rng(17)
    expectation = Equivalence(**TEXT, value=2.0, margin=1.0)
    results = [judged(expectation, {64: truth + 0.5 * rng.standard_normal(16)}, rng) for _ in range(200)]
    p_values = [r.p_support if outcome == "support" else r.p_contradict for r in results]
    assert sum(p <= LEVEL for p in p_values) >= at_least(200, 0.99)


@pytest.mark.parametrize(("sign", "truth"), [(1, 0.5), (-1, -0.5), (0, 0.5), (0, -0.5)])
def test_paired_at_the_smallest_effect_errs_at_its_level(sign: int, truth: float) -> None:
    rng = np.random.default_rng(12)
    expectation = Paired(**TEXT, sign=sign, size=0.5)
    results = [judged(expectation, {64: truth + 0.5 * rng.standard_normal(16)}, rng) for _ in range(STUDIES)]
    assert sum(r.p_support <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)
    assert sum(r.p_contradict <= LEVEL for r in results) <= at_most(STUDIES, LEVEL)


@pytest.mark.parametrize(
    ("sign", "truth", "outcome"),
    [(1, 1.0, "support"), (1, 0.0, "contradict"), (-1, -1.0, "support"), (-1, 0.0, "contradict"),
     (0, 1.0, "support"), (0, -1.0, "support"), (0, 0.0, "contradict")],
)  # fmt: skip
def test_paired_decides_where_the_noise_is_low(sign: int, truth: float, outcome: str) -> None:
    # The edge is 8 standard errors away, a t test with 15 degrees of freedom has a power above 0.99.
    rng = np.random.default_rng(13)
    expectation = Paired(**TEXT, sign=sign, size=0.5)
    results = [judged(expectation, {64: truth + 0.25 * rng.standard_normal(16)}, rng) for _ in range(200)]
    p_values = [r.p_support if outcome == "support" else r.p_contradict for r in results]
    assert sum(p <= LEVEL for p in p_values) >= at_least(200, 0.99)


def test_paired_difference_of_zero_is_seldom_called_a_difference() -> None:
    rng = np.random.default_rng(14)
    expectation = Paired(**TEXT, sign=0, size=0.0)
    results = [judged(expectation, {64: rng.standard_normal(16)}, rng) for _ in range(STUDIES)]
    assert sum(r.p_support <= LEVEL for r in results) <= at_most(STUDIES, 2 * LEVEL)


def test_bias_that_sinks_into_the_noise_is_calibrated_too() -> None:
    # One to two standard errors at every width: where an interval exists at all it still covers.
    rng = np.random.default_rng(15)
    missed = unbounded = 0
    for _ in range(STUDIES):
        try:
            fit = power_law(signed(rng, EXPONENT, 16, 2.0, "normal"), "mean", rng, RESAMPLES)
        except Unresolved:
            continue
        missed += not fit.ci_low <= EXPONENT <= fit.ci_high
        unbounded += np.isinf(fit.ci_low) or np.isinf(fit.ci_high)
    assert missed <= at_most(STUDIES, 0.05)
    assert unbounded >= STUDIES / 2
