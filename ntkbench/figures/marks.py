"""Points, lines and legend entries. torch is drawn as filled circles on a line, jax as open squares over them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ntkbench.figures import style
from ntkbench.figures.content import FIRST, Content
from ntkbench.figures.series import Line, Points

MOST_NOTES = 3
REGULAR, BELOW = 2.0, 1.2
"""Drawing order of regular cases and of controls; between them lie the fits, below both the theory's lines."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and its name."""

    colour: style.Colour
    dashes: style.Dashes
    label: str
    zorder: float = REGULAR


def looks(content: Content, lines: list[Line]) -> list[tuple[Line, Look]]:
    """Colour tells cases apart, or quantities where the panel has several (then dashes tell cases apart); controls are grey."""
    titles = names(lines)
    regular = [line for line in lines if not line.control]
    order = {case: k for k, case in enumerate(dict.fromkeys(line.case for line in regular))}
    several = len(content.panel.quantities) > 1
    # Of the whole figure, so that a quantity has one colour in all of its panels.
    shown = list(dict.fromkeys(name for panel in content.claim.figure for name in panel.quantities))
    looks, controls = [], 0
    for line in lines:
        if line.control:
            dashes = style.CONTROL_LINES[controls % len(style.CONTROL_LINES)]
            look = Look(style.CONTROL, dashes, f"{titles[line]} (control)", BELOW)
            controls += 1
        elif several:
            look = Look(style.colour(shown.index(line.shown)), style.line(order[line.case]), titles[line])
        else:
            place = content.places[line.case]
            look = Look(style.colour(place), style.line(place // len(style.PALETTE)), titles[line])
        looks.append((line, look))
    return looks


def names(lines: list[Line]) -> dict[Line, str]:
    """A line's name: its case, and its quantity where the panel has several."""
    several = len({line.shown for line in lines}) > 1
    return {line: f"{line.case}, {line.quantity.replace('_', ' ')}" if several else line.case for line in lines}


def markers(axes: Axes, points: Points, look: Look, backend: str, shift: float = 1.0, band: bool = False) -> None:
    """One backend's points with intervals; the label of the artist says what it is, for whoever inspects the figure."""
    first = backend == FIRST
    label = f"_{look.label}|{backend}"
    marks = ({"marker": "o", "ls": look.dashes, "lw": 0.9} if first else style.OPEN_SQUARES) | {"zorder": look.zorder}
    if band:
        axes.plot(points.x, points.centre, color=look.colour, label=label, **marks)
        if first:
            axes.fill_between(points.x, points.low, points.high, color=look.colour, alpha=0.15, lw=0)
        return
    reach = np.clip(np.stack([points.centre - points.low, points.high - points.centre]), 0, None)
    axes.errorbar(points.x * shift, points.centre, yerr=reach, color=look.colour, elinewidth=0.8, label=label, **marks)


def entry(look: Look, text: str) -> Line2D:
    """A legend entry that looks as the line does."""
    return Line2D([], [], color=look.colour, ls=look.dashes, marker="o", label=text)


def collect(notes: dict[str, str], line: Line, points: Points) -> None:
    """Both backends say the same of the same seeds; one note serves both."""
    for x, why in points.gaps.items():
        notes[f"{line.case}, width {x:g}"] = why


def notes(notes: Mapping[str, str]) -> list[Artist]:
    """Legend entries that say where points are missing and why."""
    texts = [f"{where}: {why}" for where, why in notes.items()]
    if len(texts) > MOST_NOTES:
        texts = [*texts[: MOST_NOTES - 1], f"{len(texts) - MOST_NOTES + 1} more points missing, seeds not usable"]
    return [Line2D([], [], color=style.ALERT, marker="x", ls="none", label=text) for text in texts]
