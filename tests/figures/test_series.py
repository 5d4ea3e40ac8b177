"""What the figures draw: location, interval and gaps, against slow obvious computations."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ntkbench.claims import get
from ntkbench.figures import series
from ntkbench.figures.series import Line
from tests.figures import synthetic

POSITIVE = st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=12)
CLAIM = get("constancy/gradient_flow")


def test_geometric_is_the_mean_of_logarithms_with_students_interval() -> None:
    values = [0.5, 2.0, 3.0, 10.0]
    logs = [math.log(v) for v in values]
    low, high = stats.t.interval(0.95, len(logs) - 1, loc=np.mean(logs), scale=stats.sem(logs))
    found = series.summary(np.array(values), "geometric")
    assert found[:3] == pytest.approx((math.prod(values) ** 0.25, math.exp(low), math.exp(high)), rel=1e-12)
    assert found[3] == ""


@given(POSITIVE, st.floats(1e-3, 1e3))
def test_geometric_scales_with_the_values(values: list[float], factor: float) -> None:
    plain = np.array(series.summary(np.array(values), "geometric")[:3])
    scaled = np.array(series.summary(factor * np.array(values), "geometric")[:3])
    assert scaled == pytest.approx(factor * plain, rel=1e-8)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_mean_is_the_magnitude_of_signed(values: list[float]) -> None:
    signed = series.summary(np.array(values), "signed")
    magnitude = series.summary(np.array(values), "mean")
    assert magnitude[0] == abs(signed[0])
    assert magnitude[1] == pytest.approx(max(abs(signed[0]) - (signed[2] - signed[0]), 0.0), abs=1e-9)
    assert magnitude[1] <= magnitude[0] <= magnitude[2]


@pytest.mark.parametrize(
    ("values", "how", "why"),
    [
        ([1.0, np.nan, np.inf], "geometric", "2 of 3 seeds not finite"),
        ([1.0, np.nan, 2.0], "signed", "1 of 3 seeds not finite"),
        ([1.0, 0.0, -2.0, 3.0], "geometric", "2 of 4 seeds not positive"),
        ([1.0], "mean", "one seed only"),
    ],
)
def test_a_seed_that_is_not_usable_takes_the_point_away(values: list[float], how: series.Location, why: str) -> None:
    found = series.summary(np.array(values), how)
    assert np.isnan(found[:3]).all()
    assert found[3] == why


def _table(times: tuple[float, ...]) -> pd.DataFrame:
    rows = [
        {"case": "a", "quantity": "drift", "backend": "torch", "width": w, "along": t, "seed": s, "value": w * (t + 1) + s}
        for w in (4, 2)
        for t in times
        for s in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_along_widths_is_sorted_and_keeps_gaps() -> None:
    table = _table((np.nan,))
    table["value"] = [8.0, np.nan, 1.0, 4.0]
    points = series.along_widths(table, Line("a", "drift", "drift", False), "torch", "geometric")
    assert points.x.tolist() == [2, 4]
    assert points.centre[0] == pytest.approx(2.0)
    assert math.isnan(points.centre[1])
    assert points.gaps == {4.0: "1 of 2 seeds not finite"}


def test_along_axis_leaves_zero_aside() -> None:
    points = series.along_axis(_table((0.0, 1.0, 3.0)), Line("a", "drift", "drift", False), "torch", 4, "signed")
    assert points.x.tolist() == [1.0, 3.0]
    assert points.centre.tolist() == [8.5, 16.5]


def test_scalars_and_paths_are_not_confused() -> None:
    line = Line("a", "drift", "drift", False)
    with pytest.raises(ValueError, match="recorded along an axis; a panel of kind `along` draws it"):
        series.along_widths(_table((1.0,)), line, "torch", "geometric")
    with pytest.raises(ValueError, match="one value per seed; a panel of kind `rate` draws it"):
        series.along_axis(_table((np.nan,)), line, "torch", 4, "geometric")


def test_controls_follow_the_regular_cases_that_they_are_controls_of() -> None:
    cases = synthetic.cases()[CLAIM.id]
    table = synthetic.table(CLAIM, cases, {})
    smooth, relu = (series.lines(CLAIM, panel, cases, table) for panel in CLAIM.figure)
    assert [line.case for line in smooth if line.control] == ["tanh-1-meanfield"]
    assert [line.case for line in relu if line.control] == ["relu-1-meanfield"]
    assert {cases[line.case].activation for line in relu} == {"relu"}
    assert {cases[line.case].activation for line in smooth} == {"tanh", "erf", "gelu"}


def test_slope_is_that_of_the_verdict() -> None:
    cases = synthetic.cases()[CLAIM.id]
    verdicts = synthetic.verdicts(CLAIM, cases, {"drift": -0.9})
    verdicts["ci_low"] = -1.25
    line = Line("erf-1-plain", "drift", "drift", False)
    assert series.slope(CLAIM, line, cases[line.case], "jax", verdicts) == series.Slope(-0.9, -1.25, -0.87)
    verdicts["ci_high"] = np.inf
    assert series.slope(CLAIM, line, cases[line.case], "jax", verdicts) is None
    with pytest.raises(ValueError, match="2 verdicts for smooth_rate"):
        series.slope(CLAIM, line, cases[line.case], "jax", pd.concat([verdicts, verdicts]))


def test_a_bias_is_averaged_with_its_sign() -> None:
    claim = get("convergence/initialization")
    assert [series.location(claim, panel, panel.quantities[0]) for panel in claim.figure] == ["geometric", "mean"]
    gap = get("gap/kernel_regression")
    assert [series.location(gap, panel, panel.quantities[0]) for panel in gap.figure] == ["signed"] * 4
