import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ntkbench.verdicts import bootstrap
from ntkbench.verdicts.bootstrap import LEVEL, Pivot, resample
from ntkbench.verdicts.fit import Unresolved, power_law, upper_half
from tests.verdicts.studies import scaled, signed


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("widths", "kept"),
    [
        ([8], (8,)),
        ([8, 16], (8, 16)),
        ([32, 8, 16], (8, 16, 32)),
        ([8, 16, 32, 64], (16, 32, 64)),
        ([8, 16, 32, 64, 128], (32, 64, 128)),
        ([8, 16, 32, 64, 128, 256, 512], (64, 128, 256, 512)),
    ],
)
def test_upper_half(widths: list[int], kept: tuple[int, ...]) -> None:
    assert upper_half(widths) == kept


def test_geometric_is_least_squares_of_mean_logarithms_on_the_upper_half() -> None:
    values = {w: np.exp(0.3 * rng(w).standard_normal(5 + w % 7)) * w**-0.7 for w in (8, 16, 50, 64, 200)}
    fit = power_law(values, "geometric", rng(), 99)
    used = (50, 64, 200)
    slope, intercept = np.polyfit(np.log(used), [np.log(values[w]).mean() for w in used], 1)
    assert fit.widths == used
    assert fit.seeds == tuple(len(values[w]) for w in used)
    assert fit.exponent == pytest.approx(slope, rel=1e-12)
    assert fit.intercept == pytest.approx(intercept, rel=1e-12)


def test_standard_error_is_that_of_repeated_studies() -> None:
    fits = [power_law(scaled(rng(s), -1.0, 32, 0.5, "normal"), "geometric", rng(s), 39) for s in range(400)]
    scatter = np.std([f.exponent for f in fits])
    assert np.mean([f.standard_error for f in fits]) == pytest.approx(scatter, rel=4 / np.sqrt(2 * 400))
    fits = [power_law(signed(rng(s), -1.0, 32, 20.0, "normal"), "mean", rng(s), 39) for s in range(400)]
    scatter = np.std([f.exponent for f in fits])
    assert np.mean([f.standard_error for f in fits]) == pytest.approx(scatter, rel=4 / np.sqrt(2 * 400))


@given(exponent=st.floats(-3, 3), sign=st.sampled_from([-1, 1]), prefactor=st.floats(1e-6, 1e6))
def test_mean_finds_an_exact_power_law_of_either_sign(exponent: float, sign: int, prefactor: float) -> None:
    noise = np.array([-0.2, 0.05, 0.15])
    values = {w: sign * prefactor * w**exponent * (1 + noise) for w in (16, 40, 64, 256)}
    fit = power_law(values, "mean", rng(), 99)
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert np.exp(fit.intercept) == pytest.approx(prefactor, rel=1e-7)


def test_mean_agrees_with_the_slope_of_log_mean_to_first_order() -> None:
    values = signed(rng(1), -1.0, 64, 500.0, "normal")
    fit = power_law(values, "mean", rng(), 999)
    slope, _ = np.polyfit(np.log(list(values)), [np.log(-v.mean()) for v in values.values()], 1)
    assert fit.exponent == pytest.approx(slope, abs=0.05 * fit.standard_error)


def test_mean_and_geometric_answer_different_questions() -> None:
    # Scatter that grows with the width: the mean of a log-normal carries exp(s^2 / 2), its geometric mean does not.
    values = {w: w**-1.0 * np.exp(s * rng(w).standard_normal(20_000)) for w, s in ((64, 0.1), (128, 0.6), (256, 1.0))}
    assert power_law(values, "geometric", rng(), 99).exponent == pytest.approx(-1.0, abs=0.02)
    assert power_law(values, "mean", rng(), 99).exponent == pytest.approx(-1.0 + 0.5 * (1.0 - 0.01) / np.log(4), abs=0.03)


@pytest.mark.parametrize("aggregate", ["geometric", "mean"])
@pytest.mark.parametrize("seed", range(8))
def test_interval_and_p_values_say_the_same(aggregate: str, seed: int) -> None:
    make = scaled(rng(seed), -1.0, 8, 0.5, "normal") if aggregate == "geometric" else signed(rng(seed), -1.0, 8, 20.0, "normal")
    fit = power_law(make, aggregate, rng(seed), 399)
    hair = 1e-5 * fit.standard_error
    assert fit.ci_low < fit.exponent < fit.ci_high
    assert fit.p_above(fit.ci_low - hair) <= LEVEL < fit.p_above(fit.ci_low + hair)
    assert fit.p_below(fit.ci_high + hair) <= LEVEL < fit.p_below(fit.ci_high - hair)
    assert fit.p_above(-10.0) < 0.01
    assert fit.p_below(10.0) < 0.01
    assert fit.p_above(10.0) > 0.99
    assert fit.p_below(-10.0) > 0.99


def test_bootstrap_tail_is_the_add_one_rule_of_studentized_resamples() -> None:
    values = scaled(rng(3), -1.0, 6, 0.5, "normal")
    fit = power_law(values, "geometric", rng(4), 199)
    locations, x = fit.pivot.locations, fit.exponent - 1.3 * fit.standard_error
    pivots = []
    for deviation, variance in zip(locations.deviation, locations.resampled_variance, strict=True):
        pivots.append(sum(c * d for c, d in zip(fit.pivot.contrast, deviation, strict=True)))
        pivots[-1] /= sum(c**2 * v for c, v in zip(fit.pivot.contrast, variance, strict=True)) ** 0.5
    p_bootstrap = (1 + sum(t >= 1.3 for t in pivots)) / 200
    welch = special.stdtr(_welch(fit.pivot), -1.3)
    assert fit.p_above(x) == pytest.approx(max(p_bootstrap, welch), rel=1e-9)


HEAVY = np.array([-0.3, 0.1, 0.4, -0.2, 9.0, 0.2]), np.array([0.5, -0.6, -12.0, 0.3, 0.1])
"""Few samples with an outlier each: the resamples without it shrink the bootstrap's tail on one side."""


@pytest.mark.parametrize("multiplicative", [False, True])
def test_p_values_are_the_larger_of_the_bootstrap_and_of_student_by_welch(multiplicative: bool) -> None:
    first, second = HEAVY
    pivot = Pivot(resample(HEAVY, rng(), 999), np.array([-1.0, 1.0]), np.array([0.0, 1.0]), multiplicative)
    larger = {"bootstrap": 0, "student": 0}
    for x in np.linspace(-8, 8, 33):
        # What the null hypothesis says of the second group: a difference of x from the first, or a factor exp(x).
        factor = np.exp(-x) if multiplicative else 1.0
        detrended = second * factor if multiplicative else second - x
        for p_value, side, alternative in ((pivot.p_above, 1, "greater"), (pivot.p_below, -1, "less")):
            test = stats.ttest_ind(detrended, first, equal_var=False, alternative=alternative)
            deviation = pivot.locations.deviation @ [-1.0, factor]
            error = np.sqrt(pivot.locations.resampled_variance @ [1.0, factor**2])
            p_bootstrap = (1 + sum(side * deviation >= side * test.statistic * error)) / 1_000
            assert p_value(x) == pytest.approx(max(test.pvalue, p_bootstrap), rel=1e-9)
            larger["student" if test.pvalue > p_bootstrap else "bootstrap"] += 1
    assert min(larger.values()) >= 10


@pytest.mark.parametrize("samples", HEAVY)
def test_p_values_of_one_group_are_never_below_students(samples: np.ndarray) -> None:
    locations = resample([samples], rng(1), 999)
    pivot = Pivot(locations, np.ones(1), np.ones(1))
    below = 0
    for x in np.linspace(-12, 12, 25):
        for p_value, side, alternative in ((pivot.p_above, 1, "greater"), (pivot.p_below, -1, "less")):
            test = stats.ttest_1samp(samples, x, alternative=alternative)
            assert p_value(x) >= test.pvalue * (1 - 1e-9)
            extreme = side * locations.deviation[:, 0] >= side * test.statistic * np.sqrt(locations.resampled_variance[:, 0])
            below += (1 + extreme.sum()) / 1_000 < test.pvalue
    assert below >= 5


def _welch(pivot: Pivot) -> float:
    parts = [c**2 * v for c, v in zip(pivot.contrast, pivot.locations.variance, strict=True)]
    return sum(parts) ** 2 / sum(p**2 / (s - 1) for p, s in zip(parts, pivot.locations.seeds, strict=True) if p)


def test_resamples_draw_with_replacement_within_each_group() -> None:
    groups = [np.array([0.0, 1.0]), np.array([10.0, 20.0, 60.0])]
    locations = resample(groups, rng(), 4_000)
    assert locations.mean == pytest.approx([0.5, 30.0])
    assert locations.variance == pytest.approx([0.25, np.var(groups[1], ddof=1) / 3])
    assert set(np.round(locations.deviation[:, 0], 9)) == {-0.5, 0.0, 0.5}
    totals = {round(sum(draw) / 3 - 30.0, 9) for draw in np.stack(np.meshgrid(*[groups[1]] * 3), -1).reshape(-1, 3)}
    assert set(np.round(locations.deviation[:, 1], 9)) == totals
    # A resample of one value only has no spread at all: 2 of 4 draws of two, 3 of 27 of three.
    assert np.mean(locations.resampled_variance[:, 0] == 0) == pytest.approx(1 / 2, abs=0.04)
    assert np.mean(locations.resampled_variance[:, 1] == 0) == pytest.approx(1 / 9, abs=0.025)
    # The mean of s*^2 over resamples is the variance with S in the denominator.
    assert locations.resampled_variance.mean(axis=0) == pytest.approx(locations.variance * [1 / 2, 2 / 3], rel=0.05)
    assert np.corrcoef(locations.deviation.T)[0, 1] == pytest.approx(0.0, abs=0.07)


def test_chunks_do_not_change_what_a_resample_is(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = rng(1).standard_normal(50)
    whole = resample([samples], rng(), 300)
    monkeypatch.setattr(bootstrap, "_CHUNK_ENTRIES", 512)
    parts = resample([samples], rng(), 300)
    assert np.isfinite(parts.deviation).all()
    assert parts.deviation.std() == pytest.approx(whole.deviation.std(), rel=0.2)
    assert parts.deviation.std() == pytest.approx(np.sqrt(whole.variance[0]), rel=0.2)


def test_same_generator_same_fit() -> None:
    values = scaled(rng(5), -1.0, 8, 0.5, "t5")
    first, second = (power_law(values, "geometric", rng(6), 399) for _ in range(2))
    assert first == second
    assert power_law(values, "geometric", rng(7), 399).ci_low != first.ci_low


def test_seeds_may_differ_between_widths_and_weigh_by_their_number() -> None:
    generator = rng(8)
    few = {w: np.exp(generator.standard_normal(4)) / w for w in (64, 128, 256)}
    many = {w: np.exp(generator.standard_normal(4 if w < 256 else 4_000)) / w for w in (64, 128, 256)}
    assert power_law(many, "geometric", generator, 99).seeds == (4, 4, 4_000)
    assert power_law(few, "geometric", generator, 99).seeds == (4, 4, 4)
    # Only the variance of the first width is left: the error falls to that of one end.
    errors = power_law(many, "geometric", generator, 99).pivot.locations.variance
    assert errors[2] < errors[0] / 50


def test_two_seeds_bound_nothing() -> None:
    fit = power_law({w: np.array([1.0, 1.1]) / w for w in (64, 128, 256)}, "geometric", rng())
    assert (fit.ci_low, fit.ci_high) == (-np.inf, np.inf)


def test_curvature_of_a_bent_line() -> None:
    widths = (8, 16, 32, 64, 128)
    bent = {w: np.exp(-np.log(w) + 0.1 * np.log(w) ** 2 + 0.01 * rng(w).standard_normal(16)) for w in widths}
    estimate, low, high = power_law(bent, "geometric", rng(), 999).curvature() or (0, 0, 0)
    assert 0 < low < estimate < high
    assert estimate == pytest.approx(0.1, abs=0.02)
    straight = {w: np.exp(-np.log(w) + 0.01 * rng(w).standard_normal(16)) for w in widths}
    _, low, high = power_law(straight, "geometric", rng(), 999).curvature() or (1, 1, 1)
    assert low < 0 < high


def test_no_curvature_from_two_widths_or_of_a_bias() -> None:
    values = {w: np.exp(0.1 * rng(w).standard_normal(8)) / w for w in (64, 128, 256)}
    assert power_law({w: values[w] for w in (64, 128)}, "geometric", rng(), 99).curvature() is None
    assert power_law(values, "mean", rng(), 99).curvature() is None


@pytest.mark.parametrize(
    ("values", "aggregate", "message"),
    [
        ({64: [1.0, 2.0]}, "geometric", "at least 2 widths"),
        ({}, "mean", "at least 2 widths"),
        ({64: [1.0, 2.0], 128: [1.0, np.nan]}, "mean", "width 128 .* not finite"),
        ({64: [1.0, 2.0], 128: [1.0, np.inf]}, "geometric", "width 128 .* not finite"),
        ({64: [1.0, 0.0], 128: [1.0, 2.0]}, "geometric", "width 64 .* not positive"),
        ({64: [1.0, -2.0], 128: [1.0, 2.0]}, "geometric", "width 64 .* not positive"),
        ({64: [1.0], 128: [1.0, 2.0]}, "geometric", "at least 2 of them"),
        ({64: [[1.0, 2.0]], 128: [[1.0, 2.0]]}, "mean", "in one dimension"),
    ],
)
def test_refusals(values: dict[int, list[float]], aggregate: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power_law({w: np.array(v) for w, v in values.items()}, aggregate, rng(), 99)


@pytest.mark.parametrize(
    ("values", "aggregate", "message"),
    [
        ({64: [2.0, 2.0], 128: [1.0, 1.0]}, "geometric", "no scatter"),
        ({64: [2.0, 2.0], 128: [1.0, 1.0]}, "mean", "no scatter"),
        ({64: [2.0, 1.0], 128: [-1.0, 0.5]}, "mean", "changes sign .*1.5 at 64, -0.25 at 128"),
        ({64: [2.0, 1.0], 128: [-1.0, 1.0]}, "mean", "changes sign or vanishes"),
    ],
)
def test_unresolved(values: dict[int, list[float]], aggregate: str, message: str) -> None:
    with pytest.raises(Unresolved, match=message):
        power_law({w: np.array(v) for w, v in values.items()}, aggregate, rng(), 99)
