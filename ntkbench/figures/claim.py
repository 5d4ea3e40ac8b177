"""One figure per claim: its panels, both backends in each."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ntkbench.claims.base import Case, Claim
from ntkbench.figures import axis, images, panels, places, style
from ntkbench.figures.content import FIRST, Content, backends

QUANTITY_COLUMNS = ("claim", "case", "control", "backend", "quantity", "width", "along", "seed", "value")
VERDICT_COLUMNS = ("claim", "expectation", "case", "backend", "estimate", "ci_low", "ci_high")
PANEL_HEIGHT = 2.1
"""With its axis and without title and legend, inches."""
TITLE_LINE = 0.16
KEY_HEIGHT = 0.25
LETTER = 3.7
"""Mean width of a letter of a legend, points."""
AXIS_MARGIN = 0.5
"""Room left of a panel for its axis, inches."""


def draw_claim(
    claim: Claim, quantities: pd.DataFrame, verdicts: pd.DataFrame, stem: Path, *, cases: Mapping[str, Case]
) -> None:
    """Writes the claim's figure as `<stem>.svg` and `<stem>.png`, each atomically; equal data give equal bytes.

    Args:
        claim: its `figure` says which panels there are.
        quantities: tidy table with the columns claim, case, control, backend, quantity, width, along, seed, value; rows of
            other claims are left aside.
        verdicts: verdict table; fitted slopes and intervals are read from it.
        stem: path without suffix; its folder is made.
        cases: the study's cases of this claim, name -> case, controls included; panels select by their fields.

    Raises:
        ValueError: for a missing column, a panel of unknown kind, or if no panel selects any of the cases.
    """
    with style.style():
        images.write(compose(claim, quantities, verdicts, cases=cases), stem)


def compose(claim: Claim, quantities: pd.DataFrame, verdicts: pd.DataFrame, *, cases: Mapping[str, Case]) -> Figure:
    """The figure of `draw_claim`, not saved; to be called within `style.style()`."""
    # As categories, in which a line's rows are found at once: a study has hundreds of thousands.
    named = dict.fromkeys(("case", "quantity", "backend"), "category")
    quantities = _of_claim(claim, quantities, QUANTITY_COLUMNS, "quantities").astype(named)
    verdicts = _of_claim(claim, verdicts, VERDICT_COLUMNS, "verdicts")
    shown = claim.shown(cases.values())
    if not shown:
        raise ValueError(f"{claim.id}: no panel of its figure selects any of the cases {', '.join(cases) or '(none)'}")
    columns = 3 if len(shown) in (3, 5, 6) else min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    chosen = places.of_figure(claim, cases)
    figure = Figure(figsize=(style.TEXT_WIDTH, 1), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    letters = int(72 * (style.TEXT_WIDTH / columns - AXIS_MARGIN) / LETTER)
    heights = [0.0] * rows
    for k, (axes, (letter, panel)) in enumerate(zip(grid, shown.items(), strict=False)):
        panels.draw(axes, Content(claim, panel, cases, quantities, verdicts, chosen, letters))
        title = textwrap.fill(panel.title, int(0.95 * letters))
        axes.set_title(f"({letter}) {title}" if len(claim.figure) > 1 else title)
        height = TITLE_LINE * (title.count("\n") + 1) + _legend_height(axes)
        heights[k // columns] = max(heights[k // columns], height)
    for axes in grid[len(shown) :]:
        axes.remove()
    _key(figure, {panel.kind for panel in shown.values()}, backends(quantities))
    figure.set_size_inches(style.TEXT_WIDTH, rows * PANEL_HEIGHT + sum(heights) + KEY_HEIGHT)
    figure.draw_without_rendering()
    for axes in grid[: len(shown)]:
        axis.fit_label(axes)
    return figure


def _of_claim(claim: Claim, table: pd.DataFrame, columns: tuple[str, ...], name: str) -> pd.DataFrame:
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"the table of {name} lacks the columns {', '.join(missing)}")
    return table[table["claim"] == claim.id]


def _legend_height(axes: Axes) -> float:
    """Of the panel's legend, inches."""
    legend, figure = axes.get_legend(), axes.get_figure(root=True)
    return 0.0 if legend is None or figure is None else float(legend.get_window_extent().height / figure.dpi)


def _key(figure: Figure, kinds: set[str], names: list[str]) -> None:
    """What the marks mean, once for all panels."""
    marks = [
        Line2D([], [], color=style.THEORY, marker="o", ls="-", label=FIRST)
        if name == FIRST
        else Line2D([], [], color=style.THEORY, **style.OPEN_SQUARES, label=name)
        for name in names
    ]
    intervals = " and ".join(["bars"] * bool(kinds - {"along", "map"}) + ["pale bands"] * ("along" in kinds))
    text = f"{intervals}: 95% intervals over seeds" if intervals else ""
    if any(str(line.get_label()).endswith("|fit") for axes in figure.axes for line in axes.lines):
        text += "; wide pale line: fit, its slope [95% interval] in the legend"
    bars = Line2D([], [], color="none", label=text)
    figure.legend(handles=[*marks, bars], loc="outside lower center", ncols=len(marks) + 1, columnspacing=1.2)
