"""The figures themselves: what is drawn equals the data, equal data give equal bytes."""

import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ntkbench.claims import Claim, get
from ntkbench.claims.base import Panel
from ntkbench.figures import compose, draw_claim, style
from ntkbench.verdicts.expectations import Equivalence
from tests.figures import synthetic
from tests.figures.drawn import bars, composed, with_panels


def values(table: pd.DataFrame, case: str, backend: str, quantity: str, width: int) -> np.ndarray:
    rows = table[(table["case"] == case) & (table["backend"] == backend) & (table["quantity"] == quantity)]
    return rows[rows["width"] == width]["value"].to_numpy(dtype=float)


def test_rate_panels_draw_geometric_means_with_intervals_of_both_backends() -> None:
    claim = get("constancy/gradient_flow")
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, {})
    jax = (table["backend"] == "jax") & (table["case"] == "erf-1-plain")
    table.loc[jax, "value"] *= 1.5  # the backends must not be mistaken for each other
    drawn = bars(composed(claim, table).axes[0])
    assert {label for label in drawn if "erf-1-plain" in label} == {"erf-1-plain|torch", "erf-1-plain|jax"}
    for backend in synthetic.BACKENDS:
        line, _, (segments,) = drawn[f"erf-1-plain|{backend}"]
        assert list(line.get_xdata()) == list(cases["erf-1-plain"].widths)
        for k, width in enumerate(cases["erf-1-plain"].widths):
            logs = np.log(values(table, "erf-1-plain", backend, "drift", width))
            low, high = np.exp(stats.t.interval(0.95, len(logs) - 1, loc=logs.mean(), scale=stats.sem(logs)))
            assert line.get_ydata()[k] == pytest.approx(np.exp(logs.mean()), rel=1e-12)
            assert segments.get_segments()[k][:, 1] == pytest.approx([low, high], rel=1e-9)


def test_a_signed_bias_is_drawn_as_its_magnitude() -> None:
    claim = get("convergence/initialization")
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, {"bias": -1.0})
    table.loc[table["quantity"] == "bias", "value"] *= -1
    name = "bias-relu-2-sphere"
    line = bars(composed(claim, table).axes[1])[f"{name}|torch"][0]
    expected = [abs(values(table, name, "torch", "bias", w).mean()) for w in cases[name].widths]
    assert list(line.get_ydata()) == pytest.approx(expected, rel=1e-12)


def test_paired_panels_draw_mean_differences_about_zero() -> None:
    claim = get("gap/kernel_regression")
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, {})
    axes = composed(with_panels(claim, Panel("", "paired", ("accuracy_difference",), "", {})), table).axes[0]
    line, _, (segments,) = bars(axes)["relu-1-digits|torch"]
    for k, width in enumerate(cases["relu-1-digits"].widths):
        sample = values(table, "relu-1-digits", "torch", "accuracy_difference", width)
        low, high = stats.t.interval(0.95, len(sample) - 1, loc=sample.mean(), scale=stats.sem(sample))
        assert line.get_ydata()[k] == pytest.approx(sample.mean(), rel=1e-12)
        assert segments.get_segments()[k][:, 1] == pytest.approx([low, high], rel=1e-9)
        assert abs(np.log2(line.get_xdata()[k] / width)) < 0.4
    assert any(np.array_equal(other.get_ydata(), [0.0, 0.0]) for other in axes.lines)


def test_panels_along_an_axis_draw_a_line_per_width_from_light_to_dark() -> None:
    claim = get("constancy/gradient_flow")
    panel = Panel("The drift grows", "along", ("drift_path",), "drift", {"activation": ("gelu",)})
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, {})
    axes = composed(with_panels(claim, panel), table).axes[0]
    widths, times = cases["gelu-1-digits"].widths, getattr(cases["gelu-1-digits"], "times")  # noqa: B009
    lines = {str(line.get_label()): line for line in axes.lines}
    brightness = []
    for width in widths:
        torch, jax = (lines[f"_gelu-1-digits, width {width}|{backend}"] for backend in ("torch", "jax"))
        rows = table[(table["case"] == "gelu-1-digits") & (table["quantity"] == "drift_path") & (table["width"] == width)]
        for k, t in enumerate(times):
            sample = rows[(rows["along"] == t) & (rows["backend"] == "torch")]["value"]
            assert torch.get_ydata()[k] == pytest.approx(np.exp(np.log(sample).mean()), rel=1e-12)
        assert list(torch.get_xdata()) == list(jax.get_xdata()) == list(times)
        brightness.append(sum(matplotlib.colors.to_rgb(torch.get_color())))
    assert brightness == sorted(brightness, reverse=True)


def test_several_quantities_along_an_axis_are_drawn_at_the_largest_width() -> None:
    claim = get("hierarchy/truncation")
    quantities = ("error_p2_path", "error_p4_path")
    panel = Panel("Errors grow", "along", quantities, "error", {"activation": ("gelu",)}, slope=1.0)
    table = synthetic.table(claim, synthetic.cases()[claim.id], {})
    axes = composed(with_panels(claim, panel), table).axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    for quantity in quantities:
        sample = table[(table["case"] == "gelu-1-digits") & (table["quantity"] == quantity) & (table["width"] == 2048)]
        means = np.exp(np.log(sample[sample["backend"] == "jax"].set_index("along")["value"]).groupby("along").mean())
        drawn = lines[f"_gelu-1-digits, {claim.label(quantity)}|jax"]
        assert drawn.get_ydata() == pytest.approx(means.to_numpy(), rel=1e-12)
    theory = lines["_theory|1"]
    assert np.polyfit(np.log(theory.get_xdata()), np.log(theory.get_ydata()), 1)[0] == pytest.approx(1.0)
    assert axes.get_xlabel() == claim.axis


def test_a_map_shows_the_smallest_of_its_quantities_at_every_width_and_place() -> None:
    claim = get("hierarchy/truncation")
    quantities = ("error_p2_path", "error_p3_path", "error_p4_path")
    panel = Panel("Which order wins", "map", quantities, "time t", {"activation": ("gelu",)})
    table = synthetic.table(claim, synthetic.cases()[claim.id], {"error_p2_path": 0.0, "error_p4_path": 0.5}, noise=0.0)
    table.loc[table["quantity"] == "error_p4_path", "value"] /= 32  # above order 3, 1/m, from width 11 on
    table.loc[(table["width"] == 32) & (table["quantity"] == "error_p3_path"), "value"] = np.nan
    axes = composed(with_panels(claim, panel), table).axes[0]
    (mesh,) = axes.collections
    grid = np.ma.filled(mesh.get_array(), np.nan)
    assert grid.shape == (3, 7)
    assert (grid[:, 0] == 2).all()
    assert (grid[:, 1:] == 1).all()
    assert axes.get_ylabel() == "time t"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][1:] == [f"order {p} is smallest" for p in (2, 3, 4)]


def test_level_panels_draw_means_and_the_band_of_the_expectation() -> None:
    claim = get("hierarchy/truncation")
    level = Equivalence(
        name="level", statement="", source="", quantity="gain_p3_early", control="mean_field", value=0.5, margin=0.25
    )
    panel = Panel("Exponents", "level", ("gain_p3_early",), "exponent", {"activation": ("gelu",)})
    other: Claim = type("Other", (type(claim),), {"figure": (panel,), "expectations": (level,)})()
    table = synthetic.table(claim, synthetic.cases()[claim.id], {})
    axes = composed(other, table).axes[0]
    line = bars(axes)["gelu-1-digits|torch"][0]
    sample = values(table, "gelu-1-digits", "torch", "gain_p3_early", 32)
    assert line.get_ydata()[0] == pytest.approx(sample.mean(), rel=1e-12)
    legend = axes.get_legend()
    assert legend is not None
    assert "expected: 0.5 ± 0.25" in [text.get_text() for text in legend.get_texts()]
    assert any(np.array_equal(other.get_ydata(), [0.5, 0.5]) for other in axes.lines)


def test_backends_cases_and_controls_are_told_apart() -> None:
    axes = composed(get("constancy/gradient_flow")).axes[0]
    drawn = bars(axes)
    torch, jax = (drawn[f"erf-1-plain|{backend}"][0] for backend in ("torch", "jax"))
    assert (torch.get_marker(), jax.get_marker()) == ("o", "s")
    assert jax.get_markerfacecolor() == "none"
    assert torch.get_color() == jax.get_color()
    regular = {label: c[0].get_color() for label, c in drawn.items() if "torch" in label and "control" not in label}
    assert len(set(regular.values())) == len(regular) == 4
    (control,) = (c[0] for label, c in drawn.items() if "control" in label and "torch" in label)
    assert control.get_color() == style.CONTROL
    assert control.get_linestyle() == "--"


def test_a_case_has_one_colour_in_all_panels_and_none_is_wasted() -> None:
    claim = get("gap/kernel_regression")
    panels = (Panel("", "paired", (f"{kind}_difference",), "", {}) for kind in ("accuracy", "mse"))
    first, second = (bars(axes) for axes in composed(with_panels(claim, *panels)).axes)
    shared = [label for label in first if label in second]
    regular = [name for name, case in synthetic.cases()[claim.id].items() if case.control is None]
    assert {f"{name}|{backend}" for name in regular for backend in ("torch", "jax")} <= set(shared)
    assert all(first[label][0].get_color() == second[label][0].get_color() for label in shared)
    smooth, relu = (bars(axes) for axes in composed(get("constancy/gradient_flow")).axes)
    assert relu["relu-1-sphere|torch"][0].get_color() == smooth["tanh-1-antisymmetric|torch"][0].get_color() == style.PALETTE[0]


def test_a_quantity_has_one_colour_in_all_panels() -> None:
    colours: dict[str, set[str]] = {}
    for axes in composed(get("hierarchy/truncation")).axes:
        for label, drawn in bars(axes).items():
            if label.endswith("|torch") and "control" not in label:
                colours.setdefault(label.split(", ")[1], set()).add(str(drawn[0].get_color()))
    assert len(colours) == 5
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 5


def test_the_fitted_slope_and_its_interval_are_written_once_if_the_backends_agree() -> None:
    claim = get("constancy/gradient_flow")
    cases = synthetic.cases()[claim.id]
    table, verdicts = synthetic.table(claim, cases, {}), synthetic.verdicts(claim, cases, {})
    verdicts.loc[(verdicts["case"] == "gelu-1-digits") & (verdicts["backend"] == "jax"), "estimate"] = -0.96
    axes = compose(claim, table, verdicts, cases=cases).axes[0]
    texts = [" ".join(text.get_text().replace("\u00a0", " ").split()) for text in axes.get_legend().get_texts()]
    assert "erf-1-plain: −1.00 [−1.03, −0.97]" in texts
    assert "gelu-1-digits: torch −1.00 [−1.03, −0.97], jax −0.96 [−1.03, −0.97]" in texts
    assert "tanh-1-meanfield (control)" in texts


def slope_of(line: Any) -> float:
    x, y = (np.log(np.asarray(data, dtype=float)) for data in (line.get_xdata(), line.get_ydata()))
    return float((y[-1] - y[0]) / (x[-1] - x[0]))


def test_fit_and_theory_are_lines_of_their_slopes() -> None:
    claim = get("hierarchy/truncation")
    axes = composed(claim).axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    fit = lines["_tanh-1-antisymmetric, order 4|fit"]
    points = bars(axes)["tanh-1-antisymmetric, order 4|torch"][0]
    assert slope_of(fit) == pytest.approx(-2.0)
    assert list(fit.get_xdata()) == [256, 512, 1024, 2048]
    residuals = np.log(points.get_ydata()[-4:]) - np.log(fit.get_ydata())
    assert residuals.mean() == pytest.approx(0.0, abs=1e-12)
    for exponent in (-1.0, -2.0, -3.0):
        assert slope_of(lines[f"_theory|{exponent:g}"]) == pytest.approx(exponent)
    assert {text.get_text() for text in axes.texts} == {"slope −1", "slope −2", "slope −3"}
    assert "_theory|-0.5" in {str(line.get_label()) for line in composed(get("convergence/initialization")).axes[0].lines}


@pytest.mark.parametrize(
    "claim_id", ["constancy/gradient_flow", "hierarchy/truncation"], ids=["one slope", "slopes of the rates"]
)
def test_theory_lies_by_the_regular_cases_wherever_the_controls_are(claim_id: str) -> None:
    claim = get(claim_id)
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, synthetic.PLANTED[claim.id])
    found = []
    for height, widening in ((1.0, 1), (1e-3, 1), (1e3, 16)):
        moved = table.copy()
        moved.loc[moved["control"] != "", "value"] *= height
        moved.loc[moved["control"] != "", "width"] *= widening
        drawn = [(k, line) for k, axes in enumerate(composed(claim, moved).axes) for line in axes.lines]
        found.append(
            {(k, name): line.get_xydata() for k, line in drawn if (name := str(line.get_label())).startswith("_theory")}
        )
    assert {k for k, _ in found[0]} == set(range(len(claim.figure)))
    for other in found[1:]:
        assert set(other) == set(found[0])
        for key, xy in found[0].items():
            np.testing.assert_array_equal(other[key], xy)


@pytest.mark.parametrize("kind", ["rate", "paired"])
def test_controls_hide_no_regular_case(kind: Any) -> None:
    claim = get("constancy/gradient_flow")
    axes = composed(with_panels(claim, Panel("", kind, ("drift",), "", {"depth": (1,)}))).axes[0]
    control, regular = (
        [artist for label, c in bars(axes).items() if ("(control)" in label) == wanted for artist in (c[0], *c[1], *c[2])]
        for wanted in (True, False)
    )
    fits = [line for line in axes.lines if str(line.get_label()).endswith("|fit")]
    assert len(control) == 8
    assert bool(fits) == (kind == "rate")
    assert max(a.get_zorder() for a in control) < min(a.get_zorder() for a in regular + fits)


def test_diverged_seeds_leave_a_gap_and_are_named() -> None:
    claim = get("constancy/gradient_flow")
    cases = synthetic.cases()[claim.id]
    table = synthetic.table(claim, cases, {})
    lost = (table["case"] == "erf-1-plain") & (table["width"] == 128) & (table["seed"] < 3)
    table.loc[lost, "value"] = np.inf
    axes = composed(claim, table).axes[0]
    y = np.asarray(bars(axes)["erf-1-plain|torch"][0].get_ydata(), dtype=float)
    assert np.isnan(y[1])
    assert np.isfinite(np.delete(y, 1)).all()
    texts = [" ".join(text.get_text().split()) for text in axes.get_legend().get_texts()]
    assert "erf-1-plain, width 128: 3 of 6 seeds not finite" in texts
    assert np.isfinite(axes.get_ylim()).all()


def test_all_diverged_is_still_a_figure() -> None:
    claim = get("gap/kernel_regression")
    table = synthetic.table(claim, synthetic.cases()[claim.id], {})
    table["value"] = np.nan
    figure = composed(claim, table)
    figure.canvas.draw()
    for axes in figure.axes:
        last = " ".join(axes.get_legend().get_texts()[-1].get_text().split())
        assert re.search(r"seeds not finite|points missing on \d+ more lines", last)
        assert [text.get_text() for text in axes.texts] == ["no verdict: no values"]
        assert not [label for label in axes.yaxis.get_ticklabels() if label.get_visible() and label.get_text()]


@pytest.mark.parametrize(
    ("kind", "quantities"),
    [
        ("rate", ["drift"]),
        ("along", ["drift_path"]),
        ("paired", ["drift"]),
        ("level", ["drift"]),
        ("map", ["drift_path"]),
        ("difference", ["drift_path"]),
        ("response", ["drift_path", "drift_path"]),
    ],
)
def test_a_panel_says_so_if_it_alone_has_no_values(kind: Any, quantities: list[str]) -> None:
    claim = get("constancy/gradient_flow")
    cases = {name: case for name, case in synthetic.cases()[claim.id].items() if name in ("gelu-1-digits", "erf-1-plain")}
    table = synthetic.table(claim, cases, {})
    table.loc[table["case"] == "gelu-1-digits", "value"] = np.inf
    panels = [Panel("", kind, tuple(quantities), "", {"activation": (name,)}) for name in ("gelu", "erf")]
    empty, full = composed(with_panels(claim, *panels), table, cases).axes
    assert [text.get_text() for text in empty.texts] == ["no verdict: no values"]
    assert "no verdict: no values" not in [text.get_text() for text in full.texts]


def test_points_missing_at_several_widths_of_a_case_are_one_note() -> None:
    claim = get("constancy/gradient_flow")
    cases = {"erf-1-plain": synthetic.cases()[claim.id]["erf-1-plain"]}
    table = synthetic.table(claim, cases, {})
    for width, seeds in ((128, 3), (512, 2)):
        table.loc[(table["width"] == width) & (table["seed"] < seeds), "value"] = np.nan
    texts = [" ".join(text.get_text().split()) for text in composed(claim, table, cases).axes[0].get_legend().get_texts()]
    assert texts[-1] == "erf-1-plain, widths 128, 512: seeds not usable"


def test_a_panel_of_which_the_study_has_no_case_is_left_out_and_the_others_keep_their_letters() -> None:
    claim = get("constancy/gradient_flow")
    cases = {name: case for name, case in synthetic.cases()[claim.id].items() if case.activation == "relu"}
    figure = composed(claim, cases=cases)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["(b) ReLU, between different points"]
    with pytest.raises(ValueError, match=r"gradient_flow: no panel of its figure selects any of the cases \(none\)"):
        compose(claim, synthetic.table(claim, cases, {}), synthetic.verdicts(claim, cases, {}), cases={})


def test_rows_that_are_missing_are_named() -> None:
    claim = get("constancy/gradient_flow")
    cases = synthetic.cases()[claim.id]
    with pytest.raises(ValueError, match=r"gradient_flow, panel 'Smooth.*no rows to draw.*the table has no rows"):
        composed(claim, synthetic.table(claim, cases, {}).iloc[:0])


def test_unknown_kinds_and_missing_columns_are_refused() -> None:
    claim = get("constancy/gradient_flow")
    kinds = "rate, along, paired, level, map, difference, response"
    with pytest.raises(ValueError, match=f"kind 'scatter' is unknown; choose one of {kinds}"):
        composed(with_panels(claim, Panel("x", "scatter", ("drift",), "", {})))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quantities lacks the columns seed, value"):
        composed(claim, synthetic.table(claim, synthetic.cases()[claim.id], {}).drop(columns=["seed", "value"]))


def test_files_are_reproducible_whatever_the_users_settings(tmp_path: Path) -> None:
    claim = get("gap/kernel_regression")
    cases = synthetic.cases()[claim.id]
    table, verdicts = synthetic.table(claim, cases, {}), synthetic.verdicts(claim, cases, {})
    draw_claim(claim, table, verdicts, tmp_path / "a" / "gap-kernel.regression", cases=cases)
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        draw_claim(claim, table, verdicts, tmp_path / "b" / "gap-kernel.regression", cases=cases)
        assert matplotlib.rcParams["font.size"] == 30
    for suffix in ("svg", "png"):
        first, second = ((tmp_path / folder / f"gap-kernel.regression.{suffix}").read_bytes() for folder in "ab")
        assert len(first) > 10_000
        assert first == second
    names = {file.name for file in (tmp_path / "a").iterdir()}
    assert names == {"gap-kernel.regression.png", "gap-kernel.regression.svg"}
    assert b"<text" not in (tmp_path / "a" / "gap-kernel.regression.svg").read_bytes()


def test_rows_of_other_claims_and_their_order_do_not_matter(tmp_path: Path) -> None:
    claim, other = get("gap/kernel_regression"), get("convergence/initialization")
    cases = synthetic.cases()[claim.id]
    table, verdicts = synthetic.table(claim, cases, {}), synthetic.verdicts(claim, cases, {})
    more = pd.concat([synthetic.table(other, synthetic.cases()[other.id], {}), table.iloc[::-1]])
    draw_claim(claim, table, verdicts, tmp_path / "a", cases=cases)
    draw_claim(claim, more, verdicts.iloc[::-1], tmp_path / "b", cases=cases)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_claim_without_cases_or_slopes_is_named_with_what_to_do() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^a/new has no cases in workflow/config/default.yaml: add some"):
        synthetic.cases()["a/new"]
    with pytest.raises(pytest.fail.Exception, match=r"^a/new is not in PLANTED of tests/figures/synthetic.py"):
        synthetic.PLANTED["a/new"]
    assert synthetic.cases().get("a/new") is None
