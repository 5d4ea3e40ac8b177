"""Nothing is cut off, overlaps or is longer than its place."""

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ntkbench.claims import Claim, all_claims, get
from ntkbench.claims.base import Case, Panel
from ntkbench.figures import images, style
from ntkbench.report import numbers
from ntkbench.tables import COLUMNS
from tests.figures import synthetic
from tests.figures.drawn import composed, with_panels

CLAIMS = tuple(all_claims().values())


@cache
def composed_once(claim: Claim) -> Figure:
    """Of the default study's cases; composing takes longer than any look at it, which changes nothing but the resolution."""
    return composed(claim)


def laid_out(figure: Figure, dpi: float | None = None) -> Figure:
    """With every text at the place it has at this resolution, that of the style if none is given."""
    figure.set_dpi(matplotlib.rcParams["figure.dpi"] if dpi is None else dpi)
    figure.draw_without_rendering()
    return figure


def crowded() -> tuple[Claim, dict[str, Case]]:
    """18 cases, three panels of three kinds, long titles."""
    claim = get("constancy/gradient_flow")
    cases = {
        f"{a}-{d}-{s}": synthetic.case(claim, activation=a, depth=d, dataset=s, seeds=3)
        for a in ("tanh", "erf", "gelu") for d in (1, 2, 3) for s in ("sphere", "circle")
    }  # fmt: skip
    long = "A title that is much longer than the panel is wide, as titles that state a message tend to be"
    kinds: tuple[tuple[Any, str], ...] = (("rate", "drift"), ("along", "drift_path"), ("paired", "loss_ratio"))
    return with_panels(claim, *(Panel(long, kind, (q,), "relative drift", {}) for kind, q in kinds)), cases


def overlaps(boxes: list[Bbox]) -> list[tuple[Bbox, Bbox]]:
    return [pair for pair in itertools.combinations(boxes, 2) if Bbox.intersection(*pair)]


@pytest.mark.parametrize("claim", [*CLAIMS, None], ids=[*(c.id for c in CLAIMS), "crowded"])
def test_nothing_is_cut_off_or_overlaps(claim: Claim | None) -> None:
    figure = laid_out(composed_once(claim) if claim else composed((many := crowded())[0], None, many[1]))
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    whole = Bbox([[-1, -1], [figure.bbox.width + 1, figure.bbox.height + 1]])
    legends = [axes.get_legend().get_window_extent(renderer) for axes in figure.axes] + [figure.legends[0].get_window_extent()]
    panels = [axes.get_window_extent(renderer) for axes in figure.axes]
    titles = [axes._left_title.get_window_extent(renderer) for axes in figure.axes]
    for box in [*legends, *panels, *titles, *(axes.get_tightbbox(renderer) for axes in figure.axes)]:
        assert whole.contains(box.x0, box.y0)
        assert whole.contains(box.x1, box.y1)
    assert overlaps([box.shrunk(0.99, 0.99) for box in legends + panels + titles]) == []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [t.get_window_extent(renderer) for t in axis.get_ticklabels() if t.get_text()]
            assert overlaps(labels) == []
        assert axes.get_window_extent(renderer).width > 0.2 * figure.bbox.width
        assert axes.get_window_extent(renderer).height > 0.12 * figure.bbox.height


def test_no_legend_reaches_the_key_in_the_files_that_are_written(tmp_path: Path) -> None:
    figure = composed(get("hierarchy/sizes"))
    with style.style():
        images.write(figure, tmp_path / "sizes")
        for dpi in (matplotlib.rcParams["savefig.dpi"], 72):
            laid_out(figure, dpi)
            ends = [axes.get_legend().get_window_extent().y0 for axes in figure.axes]
            assert min(ends) > figure.legends[0].get_window_extent().y1


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_legends_name_quantities_by_their_labels_and_break_no_formula(claim: Claim) -> None:
    texts = [t.get_text() for axes in composed_once(claim).axes for t in axes.get_legend().get_texts()]
    assert not [text for text in texts if any(line.count("$") % 2 for line in text.splitlines())]
    joined = " ".join(" ".join(text.split()) for text in texts)
    for panel in claim.shown(synthetic.cases()[claim.id].values()).values():
        if len(panel.drawn) > 1:
            assert all(claim.label(name) in joined for name in panel.drawn)


@pytest.mark.parametrize("dpi", [72, 100, 220])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_y_labels_fit_their_axes_and_stay_legible(claim: Claim, dpi: int) -> None:
    figure = laid_out(composed_once(claim), dpi)
    for axes in figure.axes:
        label, axis = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
        assert axis.y0 <= label.y0
        assert label.y1 <= axis.y1
        assert axes.yaxis.label.get_fontsize() >= 6


def test_only_a_y_label_that_is_too_long_is_made_smaller() -> None:
    claim = get("constancy/gradient_flow")
    text = r"$\|K_2(t) - K_2(0)\|_F\,/\,\|K_2(0)\|_F$"
    panels = [Panel("", "rate", ("drift",), ylabel, {}) for ylabel in (text, f"a label of very many words, {text}")]
    figure = composed(with_panels(claim, *panels))
    figure.canvas.draw()
    short, long = (axes.yaxis.label for axes in figure.axes)
    height = figure.axes[1].get_window_extent().height
    assert short.get_fontsize() == matplotlib.rcParams["axes.labelsize"]
    assert long.get_fontsize() < short.get_fontsize()
    assert 0.9 * height < long.get_window_extent().height <= height


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_label_of_a_slope_hides_nothing(claim: Claim) -> None:
    figure = laid_out(composed_once(claim))
    for axes in figure.axes:
        lines = [line for line in axes.lines if str(line.get_label()).startswith("_theory")]
        labels = [text for text in axes.texts if text.get_text().startswith("slope")]
        named = [text.get_text() for text in axes.get_legend().get_texts() if text.get_text().startswith("expected slope")]
        assert len(labels) == (0 if named else len(lines))
        assert len(named) <= bool(lines)
        assert [text.get_bbox_patch() for text in labels] == [None] * len(labels)
        boxes = [text.get_window_extent() for text in labels]
        assert overlaps(boxes) == []
        points = [point for line in axes.lines for point in axes.transData.transform(line.get_xydata())]
        assert not any(box.contains(x, y) for box in boxes for x, y in points)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_paper_says_that_slopes_are_drawn_where_they_are(claim: Claim) -> None:
    cases = synthetic.cases()[claim.id]
    drawn = any(str(line.get_label()).startswith("_theory") for axes in composed_once(claim).axes for line in axes.lines)
    tables = (pd.DataFrame(columns=list(COLUMNS[name])) for name in ("verdicts", "crosscheck"))
    assert numbers.claim_entry(claim, cases, *tables)["slopes"] == drawn


def test_slopes_without_room_for_a_label_are_named_in_the_legend() -> None:
    claim = get("hierarchy/truncation")
    cases = {"tanh-1-plain": synthetic.cases()[claim.id]["tanh-1-plain"]}
    quantities = ("error_p2", "error_p4")
    crowded = {"error_p2": -1.0, "error_p3": -1.0, "error_p4": -1.2, "error_p5": -1.4}
    for slopes, direct in ((crowded, False), ({"error_p2": -1.0, "error_p4": -2.0}, True)):
        table = synthetic.table(claim, cases, slopes)
        shown = quantities if direct else tuple(crowded)
        axes = composed(with_panels(claim, Panel("", "rate", shown, "", {})), table, cases).axes[0]
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert {text.get_text() for text in axes.texts} == ({"slope −1", "slope −2"} if direct else set())
        assert ("expected slopes −1, −2" in texts) == (not direct)


def test_the_key_names_the_intervals_and_fits_that_are_drawn() -> None:
    texts = {
        "hierarchy/evolution": "bars: 95% intervals over seeds",
        "hierarchy/iterated_integrals": "pale bands: 95% intervals over seeds",
        "hierarchy/depth": "bars and pale bands: 95% intervals over seeds",
        "hierarchy/limits": "bars: 95% intervals over seeds; wide pale line: fit, its slope [95% interval] in the legend",
    }
    assert {id_: composed(get(id_)).legends[0].get_texts()[-1].get_text() for id_ in texts} == texts


def test_axes_of_many_decades_have_room_at_the_ends_and_few_ticks() -> None:
    claim = get("hierarchy/linear_networks")
    table = synthetic.table(claim, synthetic.cases()[claim.id], {}, noise=0.0)
    table.loc[table["control"] == "", "value"] *= 1e-15
    (axes,) = composed(claim, table).axes
    low, high = np.log10(axes.get_ylim())
    values = np.log10(table.loc[table["quantity"].isin(claim.figure[0].quantities), "value"])
    assert high - low > 15
    assert min(values.min() - low, high - values.max()) > 0.04 * (high - low)
    assert len(axes.yaxis.get_minorticklocs()) < 25
