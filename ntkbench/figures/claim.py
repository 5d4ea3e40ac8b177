"""One figure per claim: its panels, both backends in each."""

import io
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntkbench import records
from ntkbench.claims.base import Case, Claim
from ntkbench.figures import panels, series, style
from ntkbench.figures.panels import Content

QUANTITY_COLUMNS = ("claim", "case", "control", "backend", "quantity", "width", "time", "seed", "value")
VERDICT_COLUMNS = ("claim", "expectation", "case", "backend", "estimate", "ci_low", "ci_high")
METADATA = {"svg": {"Date": None, "Creator": "ntkbench"}, "png": {"Software": None}}
LEGEND_LINE = 0.135
"""Height of a line of a legend, inches."""


def draw_claim(
    claim: Claim, quantities: pd.DataFrame, verdicts: pd.DataFrame, stem: Path, *, cases: Mapping[str, Case]
) -> None:
    """Writes the claim's figure as `<stem>.svg` and `<stem>.png`, each atomically; equal data give equal bytes.

    Args:
        claim: its `figure` says which panels there are.
        quantities: tidy table with the columns claim, case, control, backend, quantity, width, time, seed, value; rows of other
            claims are left aside.
        verdicts: verdict table; fitted slopes and intervals are read from it.
        stem: path without suffix; its folder is made.
        cases: the study's cases of this claim, name -> case, controls included; panels select by their fields.

    Raises:
        ValueError: for a missing column, a panel of unknown kind or one that selects nothing.
    """
    with style.style():
        figure = compose(claim, quantities, verdicts, cases=cases)
        for kind, metadata in METADATA.items():
            image = io.BytesIO()
            figure.savefig(image, format=kind, metadata=metadata)
            records.write_bytes(stem.with_name(f"{stem.name}.{kind}"), image.getvalue())


def compose(claim: Claim, quantities: pd.DataFrame, verdicts: pd.DataFrame, *, cases: Mapping[str, Case]) -> Figure:
    """The figure of `draw_claim`, not saved; to be called within `style.style()`."""
    quantities = _of_claim(claim, quantities, QUANTITY_COLUMNS, "quantities")
    verdicts = _of_claim(claim, verdicts, VERDICT_COLUMNS, "verdicts")
    columns = 3 if len(claim.figure) in (3, 5, 6) else min(2, len(claim.figure))
    rows = math.ceil(len(claim.figure) / columns)
    places = _places(claim, cases)
    figure = Figure(figsize=(style.TEXT_WIDTH, 1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.04)  # type: ignore[union-attr]
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    legend_lines = 0
    for k, (axes, panel) in enumerate(zip(grid, claim.figure, strict=False)):
        content = Content(claim, panel, cases, quantities, verdicts, places)
        panels.draw(axes, content)
        title = textwrap.fill(panel.title, 40 if columns > 2 else 56)
        axes.set_title(f"({chr(ord('a') + k)}) {title}" if len(claim.figure) > 1 else title)
        legend_lines = max(legend_lines, math.ceil(len(axes.get_legend().legend_handles) / axes.get_legend()._ncols))
    for axes in grid[len(claim.figure) :]:
        axes.set_axis_off()
    _key(figure, sorted(set(quantities["backend"]), key=lambda name: (name != panels.FIRST, name)))
    figure.set_size_inches(style.TEXT_WIDTH, rows * (2.35 + LEGEND_LINE * legend_lines) + 0.25)
    return figure


def _of_claim(claim: Claim, table: pd.DataFrame, columns: tuple[str, ...], name: str) -> pd.DataFrame:
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"the table of {name} lacks the columns {', '.join(missing)}")
    return table[table["claim"] == claim.id]


def _places(claim: Claim, cases: Mapping[str, Case]) -> dict[str, int]:
    """Each regular case's place among the colours: one for all panels, the first that no case beside it in any panel has."""
    regular = {name: case for name, case in cases.items() if case.control is None}
    chosen = [{name for name, case in regular.items() if series.selects(panel, case)} for panel in claim.figure]
    places: dict[str, int] = {}
    for name in regular:
        beside = {other for group in chosen if name in group for other in group}
        taken = {places[other] for other in beside if other in places}
        places[name] = min(set(range(len(regular))) - taken)
    return places


def _key(figure: Figure, backends: list[str]) -> None:
    """What the marks mean, once for all panels."""
    marks = [
        Line2D([], [], color=style.THEORY, marker="o", ls="-", label=panels.FIRST)
        if backend == panels.FIRST
        else Line2D([], [], color=style.THEORY, marker="s", ms=4.8, mew=0.7, mfc="none", ls="none", label=backend)
        for backend in backends
    ]
    bars = Line2D([], [], color="none", label="bars: 95% intervals over seeds; in the legends: fitted slope [95% interval]")
    figure.legend(handles=[*marks, bars], loc="outside lower center", ncols=len(marks) + 1, columnspacing=1.2)
