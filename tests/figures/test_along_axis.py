"""Differences along a claim's axis, and one quantity against another: what is drawn equals the data."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from scipy import stats

from ntkbench.claims import Claim, get
from ntkbench.claims.base import Panel
from ntkbench.figures import style
from ntkbench.verdicts.expectations import Paired
from tests.figures import synthetic
from tests.figures.drawn import bars, composed, with_panels

DIFFERENCES, DOSE, RESPONSES = ("loss_difference_path", "drift_difference_path"), "drift_path", ("loss_path", "rise_path")
WHERE = {"activation": ("gelu", "tanh"), "depth": (1,)}
CASES = synthetic.cases()["constancy/gradient_flow"]
GELU, CONTROL = "gelu-1-digits", "tanh-1-meanfield"


def made(kind: str, quantities: Sequence[str], slope: float | None = None) -> tuple[Claim, pd.DataFrame]:
    """A claim with one panel whose expectations are about the quantities at the axis' end, and its table."""
    expected = tuple(
        Paired(name=name, statement="", source="", quantity=name.removesuffix("_path"), control="mean_field", size=0.02)
        for name in (*DIFFERENCES, *RESPONSES)
    )
    panel = Panel("", kind, tuple(quantities), "", WHERE, slope)  # type: ignore[arg-type]
    claim = with_panels(get("constancy/gradient_flow"), panel)
    recorded = dict.fromkeys((*DIFFERENCES, DOSE, *RESPONSES), "")
    other: Claim = type("Paths", (type(claim),), {"quantities": recorded, "expectations": expected})()
    return other, synthetic.table(other, CASES, {"loss_path": -2.0})


def sample(table: pd.DataFrame, case: str, quantity: str, backend: str = "torch") -> np.ndarray:
    """(places, seeds), at the case's largest width."""
    rows = table[(table["case"] == case) & (table["quantity"] == quantity) & (table["backend"] == backend)]
    found: np.ndarray = (
        rows[rows["width"] == max(CASES[case].widths)].pivot(index="along", columns="seed", values="value").to_numpy()
    )
    return found


def legend(axes: Axes) -> list[str]:
    return [" ".join(text.get_text().split()) for text in axes.get_legend().get_texts()]


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = stats.t.interval(0.95, values.shape[1] - 1, loc=values.mean(axis=1), scale=stats.sem(values, axis=1))
    return low, high


def test_differences_are_means_around_zero_at_the_largest_width_with_controls_in_grey() -> None:
    claim, table = made("difference", DIFFERENCES[:1])
    table.loc[table["backend"] == "jax", "value"] -= 0.5  # the backends must not be mistaken for each other
    figure = composed(claim, table)
    (axes,) = figure.axes
    drawn = bars(axes)
    for name, title in ((GELU, GELU), (CONTROL, f"{CONTROL} (control)")):
        for backend in synthetic.BACKENDS:
            line, _, (segments,) = drawn[f"{title}|{backend}"]
            values = sample(table, name, DIFFERENCES[0], backend)
            assert np.abs(np.log2(line.get_xdata() / np.array(claim.along(CASES[name])))).max() < 0.4
            assert line.get_ydata() == pytest.approx(values.mean(axis=1), rel=1e-12)
            np.testing.assert_allclose(np.array([one[:, 1] for one in segments.get_segments()]).T, interval(values))
            assert (line.get_color() == style.CONTROL) == (name == CONTROL)
    assert any(np.array_equal(line.get_ydata(), [0.0, 0.0]) for line in axes.lines)
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "linear", claim.axis)
    assert f"{GELU}, width {max(CASES[GELU].widths)}" in legend(axes)
    assert "within the smallest effect, ±0.02" in legend(axes)
    assert figure.legends[0].get_texts()[-1].get_text() == "bars: 95% intervals over seeds"


def test_each_smallest_effect_has_a_band_and_a_number() -> None:
    claim = get("gap/condition_number")
    asked = {e.size for e in claim.expectations if isinstance(e, Paired) and e.quantity == "correlation"}
    assert len(asked) > 1
    axes = composed(claim).axes[0]
    bands = {(patch.get_y(), patch.get_y() + patch.get_height()) for patch in axes.patches}
    sizes = sorted({abs(size) for size in asked})
    assert sorted(high for _, high in bands) == pytest.approx(sizes)
    assert all(-low == pytest.approx(high) for low, high in bands)
    assert f"within the smallest effect, {' or '.join(f'±{size:g}' for size in sizes)}" in legend(axes)


def test_several_differences_have_a_line_each() -> None:
    claim, table = made("difference", DIFFERENCES)
    (axes,) = composed(claim, table).axes
    first, second = (bars(axes)[f"{GELU}, {words}|torch"][0] for words in ("loss difference", "drift difference"))
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() == second.get_linestyle()
    for line, quantity in zip((first, second), DIFFERENCES, strict=True):
        assert line.get_ydata() == pytest.approx(sample(table, GELU, quantity).mean(axis=1), rel=1e-12)
    assert {"loss difference", "drift difference"} <= set(legend(axes))


def test_a_response_is_drawn_over_its_dose_with_intervals_of_both() -> None:
    claim, table = made("response", (DOSE, RESPONSES[0]), slope=1.0)
    figure = composed(claim, table)
    (axes,) = figure.axes
    drawn = bars(axes)
    assert len([name for name in drawn if name.endswith("|torch") and "control" not in name]) == len(
        [case for case in CASES.values() if claim.figure[0].selects(case) and case.control is None]
    )
    line, _, (across, upright) = drawn[f"{GELU}|torch"]
    for axis, quantity, segments in ((0, DOSE, across), (1, RESPONSES[0], upright)):
        logs = np.log(sample(table, GELU, quantity))
        assert line.get_xydata()[:, axis] == pytest.approx(np.exp(logs.mean(axis=1)), rel=1e-12)
        ends = np.array([one[:, axis] for one in segments.get_segments()]).T
        assert ends == pytest.approx(np.exp(np.array(interval(logs))), rel=1e-9)
    theory = next(one for one in axes.lines if str(one.get_label()) == "_theory|1")
    assert np.ptp(np.log(theory.get_ydata())) == pytest.approx(np.ptp(np.log(theory.get_xdata())))
    regular = np.concatenate([bar[0].get_xdata() for name, bar in drawn.items() if "control" not in name])
    assert theory.get_xdata() == pytest.approx([regular.min(), regular.max()])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "drift")
    times = claim.along(CASES[GELU])
    assert f"along the lines: {claim.axis}, {min(times):g} to {max(times):g}" in legend(axes)
    assert drawn[f"{CONTROL} (control)|torch"][0].get_color() == style.CONTROL
    assert figure.legends[0].get_texts()[-1].get_text() == "bars: 95% intervals over seeds"


def test_of_a_response_colours_tell_cases_apart_and_with_several_quantities_these() -> None:
    for responses in (RESPONSES[:1], RESPONSES):
        claim, table = made("response", (DOSE, *responses))
        (axes,) = composed(claim, table).axes
        regular = {n: b[0] for n, b in bars(axes).items() if n.endswith("|torch") and "control" not in n}
        cases = {name.split(",")[0].split("|")[0] for name in regular}
        assert len(regular) == len(cases) * len(responses)
        assert len({line.get_color() for line in regular.values()}) == (len(cases) if len(responses) == 1 else 2)
        assert not any("drift" in text for text in legend(axes))


@pytest.mark.parametrize("lost", [DOSE, RESPONSES[0]])
def test_a_place_without_dose_or_without_response_is_left_out_and_named(lost: str) -> None:
    claim, table = made("response", (DOSE, RESPONSES[0]))
    last = max(claim.along(CASES[GELU]))
    rows = (table["case"] == GELU) & (table["quantity"] == lost) & (table["along"] == last) & (table["seed"] < 2)
    table.loc[rows, "value"] = np.inf
    (axes,) = composed(claim, table).axes
    assert len(bars(axes)[f"{GELU}|torch"][0].get_xdata()) == len(claim.along(CASES[GELU])) - 1
    assert f"{GELU}, from {last:g}: 2 of 6 seeds not finite" in legend(axes)


def test_the_axis_of_a_response_may_be_named() -> None:
    claim, table = made("response", (DOSE, RESPONSES[0]))
    panel = Panel("", "response", (DOSE, RESPONSES[0]), "", WHERE, xlabel=r"$\|\Delta K\|$")
    assert composed(with_panels(claim, panel), table).axes[0].get_xlabel() == r"$\|\Delta K\|$"


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.4), (0.01, 0.5), (1e-9, 1e-2), (3e-4, 7e-4)])
def test_the_ticks_of_a_dose_do_not_overlap(low: float, high: float) -> None:
    claim, table = made("response", (DOSE, RESPONSES[0]))
    rows = table["quantity"] == DOSE
    logs = np.log(table.loc[rows, "value"])
    table.loc[rows, "value"] = np.exp(np.log(low) + (logs - logs.min()) / np.ptp(logs) * np.log(high / low))
    third = with_panels(claim, *claim.figure * 3)
    figure = composed(third, table)
    figure.canvas.draw()
    for axes in figure.axes:
        labels = sorted((t.get_window_extent() for t in axes.xaxis.get_ticklabels() if t.get_text()), key=lambda box: box.x0)
        assert labels
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))


@pytest.mark.parametrize(("offset", "hidden"), [(0.0, False), (-40.0, True), (40.0, True)])
def test_a_control_that_would_flatten_the_rest_is_told_in_the_legend(offset: float, hidden: bool) -> None:
    claim, table = made("difference", DIFFERENCES[:1])
    table.loc[table["case"] == CONTROL, "value"] += offset
    (axes,) = composed(claim, table).axes
    low, high = axes.get_ylim()
    drawn = {text: line.get_ydata() for text, (line, *_) in bars(axes).items() if text.endswith("|torch")}
    seen = {CONTROL in text: bool(((low <= y) & (y <= high)).all()) for text, y in drawn.items()}
    assert seen == {False: True, True: not hidden}
    (entry,) = (text for text in legend(axes) if CONTROL in text.replace("- ", "-"))
    found = sample(table, CONTROL, DIFFERENCES[0]).mean(axis=1)
    ends = [f"{value:.2g}".replace("-", "−") for value in sorted((found.min(), found.max()), key=abs)]
    said = f"off the axis at {ends[0]}" + (f" to {ends[1]}" if ends[0] != ends[1] else "")
    assert (said in entry) == hidden
    assert ("off the axis" in entry) == hidden
