"""Points, lines and legend entries. torch is drawn as filled marks on a line, jax as open squares over them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ntkbench.figures import series, style
from ntkbench.figures.content import FIRST, Content
from ntkbench.figures.series import Line, Points

MOST_NOTES = 4
REGULAR, BELOW = 2.0, 1.2
"""Drawing order of regular cases and of controls; between them lie the fits, below both the theory's lines."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and its name."""

    colour: style.Colour
    dashes: style.Dashes
    label: str
    mark: str = "o"
    zorder: float = REGULAR


def looks(content: Content, lines: list[Line]) -> list[tuple[Line, Look]]:
    """How each line is drawn, by the rule of `ntkbench.figures.places`."""
    titles = names(content, lines)
    controls = list(dict.fromkeys(line.case for line in lines if line.control))
    by_quantity = content.places.by_quantity(content.panel)
    found = []
    for line in lines:
        quantity = content.places.quantities[line.shown]
        if line.control:
            which = controls.index(line.case)
            dashes = style.CONTROL_LINES[which % len(style.CONTROL_LINES)]
            mark = style.mark(quantity if by_quantity else which)
            look = Look(style.CONTROL, dashes, f"{titles[line]} (control)", mark, BELOW)
        elif by_quantity:
            dashes = style.line(content.places.cases[line.case])
            look = Look(style.colour(quantity), dashes, titles[line], style.mark(quantity))
        else:
            place = content.places.cases[line.case]
            look = Look(style.colour(place), style.line(place // len(style.PALETTE)), titles[line])
        found.append((line, look))
    return found


def names(content: Content, lines: list[Line]) -> dict[Line, str]:
    """A line's name: its case, and its quantity where the panel has several."""
    several = len({line.shown for line in lines}) > 1
    return {line: f"{line.case}, {content.claim.label(line.quantity)}" if several else line.case for line in lines}


def markers(
    axes: Axes, points: Points, look: Look, backend: str, shift: float = 1.0, band: bool = False, across: Points | None = None
) -> None:
    """One backend's points with intervals; the label of the artist says what it is, for whoever inspects the figure.

    Args:
        shift: factor on x.
        band: intervals as a band and not as bars.
        across: the points' x with their intervals, where these have any.
    """
    first = backend == FIRST
    label = f"_{look.label}|{backend}"
    marks = ({"marker": look.mark, "ls": look.dashes, "lw": 0.9} if first else style.OPEN_SQUARES) | {"zorder": look.zorder}
    if band:
        axes.plot(points.x, points.centre, color=look.colour, label=label, **marks)
        if first:
            axes.fill_between(points.x, points.low, points.high, color=look.colour, alpha=0.15, lw=0)
        return
    xerr = None if across is None else _reach(across)
    axes.errorbar(
        points.x * shift, points.centre, _reach(points), xerr, color=look.colour, elinewidth=0.8, label=label, **marks
    )


def _reach(points: Points) -> np.ndarray:
    reach: np.ndarray = np.clip(np.stack([points.centre - points.low, points.high - points.centre]), 0, None)
    return reach


def zero(axes: Axes, content: Content) -> list[Artist]:
    """The line of no difference and the bands of the smallest effects, which the legend's entry names; one over the other."""
    axes.axhline(0.0, color=style.THEORY, lw=0.8, zorder=1)
    sizes = series.smallest_effects(content.claim, content.panel.drawn)
    for size in sizes:
        axes.axhspan(-size, size, color=style.BAND, alpha=1 / len(sizes), zorder=0)
    told = " or ".join(f"±{size:.3g}" for size in sizes)
    return [Patch(color=style.BAND, label=f"within the smallest effect, {told}")] if sizes else []


def entry(look: Look, text: str) -> Line2D:
    """A legend entry that looks as the line does."""
    return Line2D([], [], color=look.colour, ls=look.dashes, marker=look.mark, label=text)


def key(content: Content, drawn: list[tuple[Line, Look]], notes: Mapping[str, str] | None = None) -> list[Artist]:
    """Legend entries where lines need no words of their own: with several quantities, first these, then the cases.

    Args:
        drawn: as `looks` returns it.
        notes: case -> what its entry says besides.
    """
    if len({line.shown for line, _ in drawn}) == 1:
        return [entry(look, look.label + (notes or {}).get(line.case, "")) for line, look in drawn]
    quantities: dict[str, Artist] = {}
    cases: dict[str, Artist] = {}
    others: list[Artist] = []
    for line, look in drawn:
        if line.quantity != line.shown:
            others.append(entry(look, look.label))
            continue
        whole = Line2D([], [], color=look.colour, ls="-", marker=look.mark, label=content.claim.label(line.shown))
        quantities.setdefault(line.shown, whole)
        text = line.case + (notes or {}).get(line.case, "") + (" (control)" if line.control else "")
        colour = style.CONTROL if line.control else style.THEORY
        cases.setdefault(line.case, Line2D([], [], color=colour, ls=look.dashes, label=text))
    return [*quantities.values(), *cases.values(), *others]


def collect(gaps: dict[str, dict[float, str]], line: Line, points: Points) -> None:
    """Both backends say the same of the same seeds; one note serves both."""
    if points.gaps:
        gaps.setdefault(line.case, {}).update(points.gaps)


def notes(gaps: Mapping[str, Mapping[float, str]]) -> list[Artist]:
    """Legend entries that say of each case at which widths points are missing, and why."""
    texts = []
    for case, found in gaps.items():
        why = set(found.values())
        widths = ", ".join(f"{x:g}" for x in sorted(found))
        texts.append(f"{case}, width{'s' * (len(found) > 1)} {widths}: {why.pop() if len(why) == 1 else 'seeds not usable'}")
    return alerts(texts)


def alerts(texts: list[str]) -> list[Artist]:
    """Legend entries that say what is missing, a few of them."""
    if len(texts) > MOST_NOTES:
        texts = [*texts[: MOST_NOTES - 1], f"points missing on {len(texts) - MOST_NOTES + 1} more lines, seeds not usable"]
    return [Line2D([], [], color=style.ALERT, marker="x", ls="none", label=text) for text in texts]


def nothing(axes: Axes, drawn: list[Points]) -> None:
    """Says so in the panel where all points are missing."""
    if not any(np.isfinite(points.centre).any() for points in drawn):
        axes.text(0.5, 0.5, "no verdict: no values", transform=axes.transAxes, ha="center", va="center", color=style.ALERT)
        axes.tick_params(axis="y", which="both", left=False, labelleft=False)
