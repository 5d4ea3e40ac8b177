"""The three kinds of panels. torch is drawn as filled circles on a line, jax as open squares over them."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from ntkbench.claims.base import Case, Claim, Panel
from ntkbench.figures import axis, series, slopes, style
from ntkbench.figures.series import Line, Points
from ntkbench.verdicts.expectations import Rate

MOST_NOTES = 3
AXIS_HEIGHT = 0.37
"""Of tick labels and axis label below a panel, inches."""
HANDLE_LETTERS = 8
"""Room of a legend's line and marker, in letters."""
FIRST, SECOND = "torch", "jax"
"""Drawn as filled circles and as open squares."""
REGULAR, BELOW = 2.0, 1.2
"""Drawing order of regular cases and of controls; between them lie the fits, below both the theory's lines."""


@dataclass(frozen=True)
class Content:
    """All that a panel draws from.

    Attributes:
        claim, panel: as data.
        cases: name -> case, regular cases and controls, in the order of the study.
        quantities, verdicts: tidy tables, of this claim.
        letters: that fit on a line as wide as the panel.
        places: regular case -> its place among the colours, the same in all panels of the figure.
    """

    claim: Claim
    panel: Panel
    cases: Mapping[str, Case]
    quantities: pd.DataFrame
    verdicts: pd.DataFrame
    places: Mapping[str, int]
    letters: int

    @property
    def backends(self) -> list[str]:
        """Those in the table, torch first, so that jax is drawn over it."""
        return sorted(set(self.quantities["backend"]), key=lambda name: (name != FIRST, name))

    def lines(self) -> list[Line]:
        """What the panel draws; ValueError if there is nothing."""
        return series.lines(self.claim, self.panel, self.cases, self.quantities)


def draw(axes: Axes, content: Content) -> None:
    """Draws one panel with its legend below.

    Raises:
        ValueError: for an unknown kind, or where there is nothing to draw.
    """
    kinds: dict[str, Callable[[Axes, Content], list[Artist]]] = {"rate": _rate, "time": _time, "paired": _paired}
    if content.panel.kind not in kinds:
        raise ValueError(
            f"{content.claim.id}, panel {content.panel.title!r}: kind {content.panel.kind!r} is unknown; "
            f"choose one of {', '.join(kinds)}"
        )
    entries = kinds[content.panel.kind](axes, content)
    axes.set_ylabel(content.panel.ylabel)
    _legend(axes, entries, content.letters)


def _legend(axes: Axes, entries: list[Artist], letters: int) -> None:
    """Below the panel and no wider than it (a wider one would make the panel collapse)."""
    for entry in entries:
        entry.set_label(_wrap(str(entry.get_label()), letters - HANDLE_LETTERS))
    longest = max(len(text) for entry in entries for text in str(entry.get_label()).splitlines())
    columns = max(1, letters // (longest + HANDLE_LETTERS + 1))
    below = axes.transAxes + ScaledTranslation(0, -AXIS_HEIGHT, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0, ncols=columns,
        columnspacing=1.0,
    )  # fmt: skip


def _wrap(text: str, letters: int) -> str:
    return textwrap.fill(text, letters, subsequent_indent="  ", break_on_hyphens=False)


def _rate(axes: Axes, content: Content) -> list[Artist]:
    entries: list[Artist] = []
    notes: dict[str, str] = {}
    drawn = []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for line, look in _looks(content, lines):
        how = series.location(content.claim, content.panel, line.shown)
        found = {}
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, how)
            if not len(points.x):
                continue
            _markers(axes, points, look, backend)
            _collect(notes, line, points)
            slope = series.slope(content.claim, line, content.cases[line.case], backend, content.verdicts)
            if slope is not None:
                found[backend] = slope
                if backend == FIRST:
                    slopes.fit(axes, points, look.label, look.colour, slope, how)
            drawn.append((line, points))
        entries.append(_entry(look, slopes.with_slopes(look.label, found)))
    axis.width_axis(axes, [points for _, points in drawn], content.letters)
    axis.log_limits(axes, [points for _, points in drawn])
    slopes.theory(axes, _expected(content, [(line, points) for line, points in drawn if not line.control]))
    axis.ticks_of_values(axes)
    return entries + _notes(notes)


def _time(axes: Axes, content: Content) -> list[Artist]:
    lines = [line for line in content.lines() if not line.control]
    chosen = content.quantities[content.quantities["case"].isin([line.case for line in lines])]
    widths = sorted({int(width) for width in chosen["width"]})
    colours = style.widths_colours(widths)
    axes.set_xscale("log")
    axes.set_yscale("log")
    notes: dict[str, str] = {}
    drawn = []
    for k, line in enumerate(lines):
        how = series.location(content.claim, content.panel, line.shown)
        for width in widths:
            look = Look(colours[width], style.line(k), f"{line.case}, width {width}")
            for backend in content.backends:
                points = series.along_times(content.quantities, line, backend, width, how)
                if len(points.x):
                    _markers(axes, points, look, backend, band=True)
                    if points.gaps:
                        since, why = next(iter(points.gaps.items()))
                        notes[f"{line.case}, width {width}, from t = {since:g}"] = why
                    drawn.append(points)
    axis.log_limits(axes, drawn)
    axis.ticks_at(axes, sorted({x for points in drawn for x in points.x}), content.letters)
    axes.set_xlabel("gradient-flow time t")
    axis.ticks_of_values(axes)
    entries: list[Artist] = [Line2D([], [], color=colours[width], label=f"width {width}") for width in widths]
    names = _names(lines)
    if len(lines) > 1:
        entries += [Line2D([], [], color=style.THEORY, ls=style.line(k), label=names[line]) for k, line in enumerate(lines)]
    return [*entries, *_notes(notes)]


def _paired(axes: Axes, content: Content) -> list[Artist]:
    entries: list[Artist] = []
    notes: dict[str, str] = {}
    drawn = []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    axes.axhline(0.0, color=style.THEORY, lw=0.8, zorder=1)
    sizes = [s for q in content.panel.quantities if (s := series.smallest_effect(content.claim, q))]
    if sizes:
        axes.axhspan(-max(sizes), max(sizes), color=style.BAND, zorder=0)
    for k, (line, look) in enumerate(_looks(content, lines)):
        # Cases stand side by side at a width: their intervals would hide each other.
        shift = 2 ** (min(0.09, 0.7 / len(lines)) * (k - (len(lines) - 1) / 2))
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, "signed")
            if len(points.x):
                _markers(axes, points, look, backend, shift=shift)
                _collect(notes, line, points)
                drawn.append(points)
        entries.append(_entry(look, look.label))
    axis.width_axis(axes, drawn, content.letters)
    axes.margins(y=0.08)
    bands: list[Artist] = [Patch(color=style.BAND, label=f"within the smallest effect, ±{max(sizes):g}")] if sizes else []
    return entries + bands + _notes(notes)


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and its name."""

    colour: style.Colour
    dashes: style.Dashes
    label: str
    zorder: float = REGULAR


def _looks(content: Content, lines: list[Line]) -> list[tuple[Line, Look]]:
    """Colour tells cases apart, or quantities where the panel has several (then dashes tell cases apart); controls are grey."""
    names = _names(lines)
    regular = [line for line in lines if not line.control]
    order = {case: k for k, case in enumerate(dict.fromkeys(line.case for line in regular))}
    several = len(content.panel.quantities) > 1
    # Of the whole figure, so that a quantity has one colour in all of its panels.
    shown = list(dict.fromkeys(name for panel in content.claim.figure for name in panel.quantities))
    looks, controls = [], 0
    for line in lines:
        if line.control:
            dashes = style.CONTROL_LINES[controls % len(style.CONTROL_LINES)]
            look = Look(style.CONTROL, dashes, f"{names[line]} (control)", BELOW)
            controls += 1
        elif several:
            look = Look(style.colour(shown.index(line.shown)), style.line(order[line.case]), names[line])
        else:
            place = content.places[line.case]
            look = Look(style.colour(place), style.line(place // len(style.PALETTE)), names[line])
        looks.append((line, look))
    return looks


def _names(lines: list[Line]) -> dict[Line, str]:
    """A line's name: its case, and its quantity where the panel has several."""
    several = len({line.shown for line in lines}) > 1
    return {line: f"{line.case}, {line.quantity.replace('_', ' ')}" if several else line.case for line in lines}


def _markers(axes: Axes, points: Points, look: Look, backend: str, shift: float = 1.0, band: bool = False) -> None:
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


def _entry(look: Look, text: str) -> Line2D:
    return Line2D([], [], color=look.colour, ls=look.dashes, marker="o", label=text)


def _expected(content: Content, drawn: list[tuple[Line, Points]]) -> list[tuple[float, list[Points]]]:
    """The panel's slope with all that is drawn; without one, the exponent of each quantity's `Rate` with its points.

    Quantities of one exponent share a line.
    """
    if content.panel.slope is not None:
        return [(content.panel.slope, [points for _, points in drawn])]
    groups: dict[float, list[Points]] = {}
    for line, points in drawn:
        rate = series.expectation_of(content.claim, line, content.cases[line.case], (Rate,))
        if isinstance(rate, Rate):
            groups.setdefault(rate.exponent, []).append(points)
    return list(groups.items())


def _collect(notes: dict[str, str], line: Line, points: Points) -> None:
    """Both backends say the same of the same seeds; one note serves both."""
    for x, why in points.gaps.items():
        notes[f"{line.case}, width {x:g}"] = why


def _notes(notes: Mapping[str, str]) -> list[Artist]:
    """Legend entries that say where points are missing and why."""
    texts = [f"{where}: {why}" for where, why in notes.items()]
    if len(texts) > MOST_NOTES:
        texts = [*texts[: MOST_NOTES - 1], f"{len(texts) - MOST_NOTES + 1} more points missing, seeds not usable"]
    return [Line2D([], [], color=style.ALERT, marker="x", ls="none", label=text) for text in texts]
