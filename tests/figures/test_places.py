"""Colours, marks and dashes: one thing has one look throughout a figure, an order throughout all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from ntkbench.claims import Claim, all_claims, get
from ntkbench.claims.base import Panel
from ntkbench.config.study import load
from ntkbench.figures import places, style
from tests.figures import synthetic
from tests.figures.drawn import bars, composed, with_panels


def torch_lines(axes: Axes) -> dict[str, Any]:
    """Name -> line, of torch: `case, quantity`."""
    drawn = [*((str(line.get_label()), line) for line in axes.lines), *((f"_{k}", c[0]) for k, c in bars(axes).items())]
    return {name[1:].removesuffix("|torch"): line for name, line in drawn if name.endswith("|torch")}


def legend(axes: Axes) -> list[str]:
    return [" ".join(text.get_text().split()) for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("claim", all_claims().values(), ids=lambda claim: claim.id)
def test_an_order_has_one_place_in_all_figures_and_nothing_else_of_the_figure_has_it(claim: Claim) -> None:
    chosen = places.of_figure(claim, synthetic.cases()[claim.id]).quantities
    named = {name: int(digit[0]) for name in chosen if (digit := [c for c in name if c.isdigit()]) and "_K" not in name[:4]}
    orders = {name: order for name, order in named.items() if order > 1 and (f"_p{order}" in name or f"_{order}" in name)}
    assert min(chosen.values()) >= 0
    assert {name: chosen[name] for name in orders} == {name: order - 2 for name, order in orders.items()}
    others = {name: place for name, place in chosen.items() if name not in orders}
    assert not set(others.values()) & {chosen[name] for name in orders}
    for panel in claim.figure:
        assert len({chosen[name] % len(style.PALETTE) for name in panel.drawn}) == len(panel.drawn)


@pytest.mark.parametrize("claim_id", ["hierarchy/depth", "hierarchy/feature_strength"])
def test_what_is_taken_along_an_axis_and_fitted_over_it_has_one_colour_and_mark(claim_id: str) -> None:
    first, second, *_ = (torch_lines(axes) for axes in composed(get(claim_id)).axes)
    regular = {name for name in first if "control" not in name}
    assert {name.split(", ")[1] for name in regular} == {"drift of the NTK", "error at order 2", "error at order 4"}
    for name in regular:
        fitted = second[name]
        assert (fitted.get_color(), fitted.get_marker()) == (first[name].get_color(), first[name].get_marker())
        assert fitted.get_linestyle() == first[name].get_linestyle()


def test_maps_and_lines_of_a_figure_have_the_colours_of_their_orders() -> None:
    first, second, lines = composed(get("hierarchy/horizon")).axes
    for axes, orders in ((first, (2, 3, 4, 5, 6)), (second, (2, 4))):
        (mesh,) = axes.collections
        assert mesh.cmap.colors == [style.PALETTE[order - 2] for order in orders]
        assert legend(axes)[1:] == [f"order {order} is smallest" for order in orders]
    colours = [line.get_color() for name, line in torch_lines(lines).items() if "control" not in name]
    assert len(set(colours)) == len(colours) > 1  # one quantity, of no order: cases have colours


def test_a_case_has_the_same_dashes_in_all_panels_and_others_beside_it_have_not() -> None:
    small = [torch_lines(axes) for axes in composed(get("hierarchy/truncation")).axes]
    for of_panel in small:
        dashes = {name.split(", ")[0]: line._dash_pattern for name, line in of_panel.items() if "control" not in name}
        assert len({str(pattern) for pattern in dashes.values()}) == len(dashes)


@pytest.mark.parametrize("study", ["smoke", "default", "paper"])
def test_no_two_cases_of_a_panel_look_alike_in_the_studies(study: str) -> None:
    cases = load(Path("workflow/config", f"{study}.yaml")).cases
    for claim_id, named in cases.items():
        claim = get(claim_id)
        chosen = places.of_figure(claim, named)
        for panel in claim.figure:
            shown = [chosen.cases[name] for name, case in named.items() if case.control is None and panel.selects(case)]
            codes = [style.line(k) if chosen.by_quantity(panel) else (style.colour(k), k // len(style.PALETTE)) for k in shown]
            assert len(set(codes)) == len(codes), (claim_id, panel.title)


def test_controls_have_the_marks_of_their_quantities_and_are_named() -> None:
    axes = composed(get("hierarchy/sizes")).axes[0]
    lines = torch_lines(axes)
    controls = {name: line for name, line in lines.items() if "control" in name}
    assert len(controls) == 5
    assert {line.get_color() for line in controls.values()} == {style.CONTROL}
    assert len({line.get_marker() for line in controls.values()}) == len(controls)
    for name, line in controls.items():
        quantity = name.removesuffix(" (control)").split(", ")[1]
        assert line.get_marker() == lines[f"tanh-1-sphere, {quantity}"].get_marker()
        assert name in legend(axes)


def test_controls_of_one_quantity_have_marks_of_their_own() -> None:
    claim = get("constancy/gradient_flow")
    panel = Panel("", "paired", ("drift",), "", {})
    controls = {n: line for n, line in torch_lines(composed(with_panels(claim, panel)).axes[0]).items() if "control" in n}
    assert len(controls) > 1
    assert len({line.get_marker() for line in controls.values()}) == len(controls)


def test_a_legend_without_slopes_names_quantities_and_then_cases() -> None:
    quantities = [f"order {p}" for p in (2, 3, 4, 5)]
    regular = ["small-tanh-1-plain", "small-tanh-1-antisymmetric", "small-erf-2-antisymmetric"]
    controls = ["small-tanh-1-shuffled (control)", "small-tanh-1-shuffled-antisymmetric (control)"]
    axes = composed(get("hierarchy/small_times")).axes[2]
    found = [text.replace("- ", "-") for text in legend(axes)]
    assert found == [*quantities, *regular, *controls, "expected: 2, 3, 4, 5 ± 0.15"]


def test_means_stand_at_their_widths_unless_they_would_hide_each_other() -> None:
    claim = get("constancy/gradient_flow")
    cases = {n: c for n, c in synthetic.cases()[claim.id].items() if n in ("erf-1-plain", "gelu-1-digits", "relu-1-sphere")}
    table = synthetic.table(claim, cases, {}, noise=0.0)
    table["value"] = table["case"].map({"erf-1-plain": 1.0, "gelu-1-digits": 1.0, "relu-1-sphere": 5.0})
    axes = composed(with_panels(claim, Panel("", "level", ("drift",), "", {})), table, cases).axes[0]
    shifts = {name: np.log2(np.array(line.get_xdata()) / cases[name].widths) for name, line in torch_lines(axes).items()}
    assert np.abs(shifts["erf-1-plain"]).max() == np.abs(shifts["relu-1-sphere"]).max() == 0.0
    apart = shifts["gelu-1-digits"]
    assert 0.05 < np.abs(apart).min() <= np.abs(apart).max() < 0.4
