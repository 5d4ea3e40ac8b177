"""Nothing is cut off, overlaps or is longer than its place."""

import itertools
from typing import Any

import matplotlib
import pytest
from matplotlib.transforms import Bbox

from ntkbench.claims import Claim, all_claims, get
from ntkbench.claims.base import Case, Panel
from ntkbench.verdicts.expectations import Bound, Rate
from tests.figures import synthetic
from tests.figures.drawn import composed, with_panels

CLAIMS = tuple(all_claims().values())


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
    figure = composed(*([claim] if claim else [(many := crowded())[0], None, many[1]]))
    figure.canvas.draw()
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


@pytest.mark.parametrize("dpi", [72, 100, 220])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_y_labels_fit_their_axes_and_stay_legible(claim: Claim, dpi: int) -> None:
    figure = composed(claim)
    figure.set_dpi(dpi)
    figure.canvas.draw()
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
    labels = [text for axes in composed(claim).axes for text in axes.texts if text.get_text().startswith("slope")]
    rates = {e.quantity for e in claim.expectations if isinstance(e, Rate | Bound)}
    assert labels or not any(panel.kind == "rate" and rates & set(panel.quantities) for panel in claim.figure)
    assert [text.get_bbox_patch() for text in labels] == [None] * len(labels)
