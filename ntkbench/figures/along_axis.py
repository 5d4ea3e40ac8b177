"""Panels along the claim's own axis: lines, differences, and the map of which quantity is smallest over width and axis."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ntkbench.figures import axis, marks, over_width, series, slopes, style
from ntkbench.figures.content import Content
from ntkbench.figures.marks import Look
from ntkbench.figures.series import Line, Points


def along(axes: Axes, content: Content) -> list[Artist]:
    """A line per width, from light to dark; with several quantities a line for each, at the largest width."""
    lines = [line for line in content.lines() if not line.control]
    several = len({line.shown for line in lines}) > 1
    axes.set_xscale("log")
    axes.set_yscale("log")
    chosen = at_largest(content, lines) if several else _of_widths(content, lines)
    entries = key(content, chosen) if several else _key_of_widths(content, lines)
    gaps: dict[str, str] = {}
    drawn = []
    for line, width, look in chosen:
        how = series.location(content.claim, content.panel, line.shown)
        for backend in content.backends:
            points = series.along_axis(content.quantities, line, backend, width, how)
            if len(points.x):
                marks.markers(axes, points, look, backend, band=True)
                missing(gaps, look, points)
                drawn.append(points)
    axis.log_limits(axes, drawn)
    _axis(axes, drawn, content)
    if content.panel.slope is not None:
        entries += slopes.theory(axes, [(content.panel.slope, drawn)], content.letters)
    axis.ticks_of_values(axes)
    marks.nothing(axes, drawn)
    return [*entries, *notes(gaps)]


def difference(axes: Axes, content: Content) -> list[Artist]:
    """Means around zero, with the band of the smallest effect: a line per case and quantity, at the case's largest width."""
    bands = marks.zero(axes, content)
    chosen = at_largest(content, content.lines())
    found = [
        {b: points for b in content.backends if len((points := series.along_axis(content.quantities, line, b, m, "signed")).x)}
        for line, m, _ in chosen
    ]
    drawn = [points for of_line in found for points in of_line.values()]
    gaps: dict[str, str] = {}
    axes.set_xscale("log")
    _axis(axes, drawn, content)
    ends = [x for points in drawn for x in points.x]
    axes.set_xlim(min(ends) / axis.MARGIN, max(ends) * axis.MARGIN)
    notes_of = over_width.beside(axes, content, [(line, look) for line, _, look in chosen], found)
    for (_, _, look), of_line in zip(chosen, found, strict=True):
        for points in of_line.values():
            missing(gaps, look, points)
    return [*key(content, chosen, notes_of), *bands, *notes(gaps)]


Drawn = tuple[Line, int, Look]
"""A line, its width, and how it is drawn."""


def missing(gaps: dict[str, str], look: Look, points: Points) -> None:
    """Notes from where on a line lacks points, and why."""
    if points.gaps:
        since, why = next(iter(points.gaps.items()))
        gaps[f"{look.label}, from {since:g}"] = why


def notes(gaps: Mapping[str, str]) -> list[Artist]:
    """Their legend entries."""
    return marks.alerts([f"{where}: {why}" for where, why in gaps.items()])


def _widths(content: Content, lines: list[Line]) -> list[int]:
    chosen = content.quantities[content.quantities["case"].isin([line.case for line in lines])]
    return sorted({int(width) for width in chosen["width"]})


def _of_widths(content: Content, lines: list[Line]) -> list[Drawn]:
    widths = _widths(content, lines)
    colours = style.widths_colours(widths)
    return [
        (line, width, Look(colours[width], style.line(k), f"{line.case}, width {width}"))
        for k, line in enumerate(lines)
        for width in widths
    ]


def at_largest(content: Content, lines: list[Line]) -> list[Drawn]:
    """Each line at the largest width of its case."""
    return [(line, max(_widths(content, [line])), look) for line, look in marks.looks(content, lines)]


def _key_of_widths(content: Content, lines: list[Line]) -> list[Artist]:
    widths = _widths(content, lines)
    colours = style.widths_colours(widths)
    names = marks.names(content, lines)
    key: list[Artist] = [Line2D([], [], color=colours[width], label=f"width {width}") for width in widths]
    if len(lines) > 1:
        key += [Line2D([], [], color=style.THEORY, ls=style.line(k), label=names[line]) for k, line in enumerate(lines)]
    return key


def key(content: Content, chosen: list[Drawn], besides: Mapping[str, str] | None = None) -> list[Artist]:
    """Legend entries of lines at the largest width of their case, which they name; `besides`: case -> what else they say."""
    names = {line.case: f", width {width}{(besides or {}).get(line.case, '')}" for line, width, _ in chosen}
    return marks.key(content, [(line, look) for line, _, look in chosen], names)


def _axis(axes: Axes, drawn: list[Points], content: Content) -> None:
    axis.ticks_at(axes, sorted({x for points in drawn for x in points.x}), content.letters)
    axes.set_xlabel(content.claim.axis)


def best(axes: Axes, content: Content) -> list[Artist]:
    """Which quantity is smallest (geometric mean over seeds) at each width and place, for the first case of the panel."""
    lines = [line for line in content.lines() if not line.control]
    lines = [line for line in lines if line.case == lines[0].case]
    widths = _widths(content, lines)
    found = [
        [series.along_axis(content.quantities, line, content.backends[0], width, "geometric") for width in widths]
        for line in lines
    ]
    places = found[0][0].x
    values = np.array([[points.centre for points in of_line] for of_line in found])
    known = np.isfinite(values).any(axis=0)
    smallest = np.where(known, np.where(np.isfinite(values), values, np.inf).argmin(axis=0), np.nan)
    colours = [style.colour(content.places.quantities[line.shown]) for line in lines]
    axes.pcolormesh(
        _edges(np.array(widths)), _edges(places), smallest.T,
        cmap=ListedColormap(colours), vmin=-0.5, vmax=len(lines) - 0.5, alpha=0.75, edgecolors="white", linewidth=0.5,
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axis.ticks_at(axes, [float(width) for width in widths], content.letters)
    axes.set_xlabel("width m")
    axis.ticks_of_values(axes)
    marks.nothing(axes, [points for of_line in found for points in of_line])
    entries: list[Artist] = [
        Patch(color=colour, alpha=0.75, label=f"{content.claim.label(line.shown)} is smallest")
        for line, colour in zip(lines, colours, strict=True)
    ]
    return [Line2D([], [], ls="none", label=lines[0].case), *entries]


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around positive centres, half way between them on a logarithmic axis."""
    logs = np.log(centres)
    middles = (logs[1:] + logs[:-1]) / 2
    edges: np.ndarray = np.exp(np.concatenate([[2 * logs[0] - middles[0]], middles, [2 * logs[-1] - middles[-1]]]))
    return edges
