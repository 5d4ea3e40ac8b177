"""How every figure of the suite looks: one style, set in one place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import seaborn

TEXT_WIDTH = 6.7
"""Width of the paper's text block, inches; figures are drawn at this size so that their letters are printed at theirs."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours without the yellow, which is lost on white."""

Colour = str | tuple[float, float, float]
Dashes = str | tuple[int, tuple[float, ...]]

MARKS = ("o", "^", "d", "v", "X", "<", ">")
"""One beside each colour, since controls are grey and a page may be printed so."""

LINES: tuple[Dashes, ...] = ("-", (0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (4.5, 1.2)), (0, (4, 1, 1, 1, 1, 1)), (0, (1.5, 2.5)))
"""Second code after colour; dashes with wider gaps are kept for the controls."""

CONTROL = "#7F7F7F"
CONTROL_LINES: tuple[Dashes, ...] = ((0, (4, 2)), (0, (2, 2)), (0, (6, 2, 2, 2)))
THEORY = "#333333"
BAND = "#EFEFEF"
ALERT = "#A00000"
SMALL = 6.5
OPEN_SQUARES: dict[str, Any] = {"marker": "s", "ls": "none", "mfc": "none", "ms": 4.8, "mew": 0.7}
"""Larger than the marks that they are drawn over, so that agreement is seen as a mark in a square."""

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    # Else letters are as wide as whole pixels have it, up to a tenth wider at the resolution of SVG than at that of PNG.
    "text.hinting": "none",
    "axes.titlesize": 8.0,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelpad": 2.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    **{f"{axis}tick.{kind}.width": 0.6 for axis in "xy" for kind in ("major", "minor")},
    "xtick.bottom": True,
    "ytick.left": True,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#E2E2E2",
    "axes.grid": True,
    "axes.grid.which": "major",
    "axes.axisbelow": True,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.4,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "legend.borderpad": 0.0,
    "legend.labelspacing": 0.25,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",
    "svg.hashsalt": "ntkbench",
    "savefig.dpi": 220,
}


@contextmanager
def style() -> Iterator[None]:
    """Draws and saves within it look alike and yield the same bytes, whatever the user's own settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        seaborn.set_theme(context="paper", style="ticks", rc=_RC)
        yield


def colour(index: int) -> str:
    """The colour of the `index`-th thing drawn."""
    return PALETTE[index % len(PALETTE)]


def mark(index: int) -> str:
    """The mark beside the `index`-th colour."""
    return MARKS[index % len(MARKS)]


def line(index: int) -> Dashes:
    """The line style of the `index`-th second code."""
    return LINES[index % len(LINES)]


def widths_colours(widths: list[int]) -> dict[int, tuple[float, float, float]]:
    """A sequential map, light for the narrowest width and dark for the widest; readable in grey."""
    return dict(zip(widths, seaborn.color_palette("crest", len(widths)), strict=True))
