"""Panels against the width: power laws, paired differences, and exponents along another axis."""

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ntkbench.figures import axis, marks, series, slopes, style
from ntkbench.figures.content import FIRST, Content
from ntkbench.figures.marks import Look
from ntkbench.figures.series import Line, Points, Slope
from ntkbench.verdicts.expectations import Equivalence

CLOSE = 0.05
"""Share of a panel's values within which marks hide each other."""
MARK_LETTERS, REACH = 2.0, 0.25
"""Width of a mark, in letters; share of the distance between neighbours by which a point may be moved."""


def rate(axes: Axes, content: Content) -> list[Artist]:
    """Location over seeds with intervals, fits, and the theory's lines, log-log."""
    gaps: dict[str, dict[float, str]] = {}
    drawn = []
    fitted: dict[Line, dict[str, Slope]] = {}
    looks = marks.looks(content, content.lines())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for line, look in looks:
        how = series.location(content.claim, content.panel, line.shown)
        found = fitted.setdefault(line, {})
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, how)
            if not len(points.x):
                continue
            marks.markers(axes, points, look, backend)
            marks.collect(gaps, line, points)
            slope = series.slope(content.claim, line, content.cases[line.case], backend, content.verdicts)
            if slope is not None:
                found[backend] = slope
                if backend == FIRST:
                    slopes.fit(axes, points, look.label, look.colour, slope, how)
            drawn.append((line, points))
    axis.width_axis(axes, [points for _, points in drawn], content.letters)
    axis.log_limits(axes, [points for _, points in drawn])
    theory = slopes.theory(
        axes, _expected(content, [(line, points) for line, points in drawn if not line.control]), content.letters
    )
    axis.ticks_of_values(axes)
    marks.nothing(axes, [points for _, points in drawn])
    written = [marks.entry(look, slopes.with_slopes(look.label, fitted[line])) for line, look in looks]
    entries = written if any(fitted.values()) else marks.key(content, looks)
    return entries + theory + marks.notes(gaps)


def _expected(content: Content, drawn: list[tuple[Line, Points]]) -> list[tuple[float, list[Points]]]:
    """Each exponent that the panel draws, with the points that are expected to have it: one line for all of them."""
    groups: dict[float, list[Points]] = {}
    for line, points in drawn:
        exponent = content.panel.expected_slope(line.shown, content.cases[line.case], content.claim.expectations)
        if exponent is not None:
            groups.setdefault(exponent, []).append(points)
    return list(groups.items())


def paired(axes: Axes, content: Content) -> list[Artist]:
    """Mean differences with intervals around zero, and the band of the smallest effect."""
    return _means(axes, content, marks.zero(axes, content))


def level(axes: Axes, content: Content) -> list[Artist]:
    """Means with intervals, and the bands where equivalence expects them."""
    expected = [e for e in content.claim.expectations if isinstance(e, Equivalence) and e.quantity in content.panel.quantities]
    found = sorted({(e.value, e.margin) for e in expected})
    for value, margin in found:
        axes.axhspan(value - margin, value + margin, color=style.BAND, zorder=0)
        axes.axhline(value, color=style.THEORY, lw=0.7, zorder=1)
    margins = {margin: ", ".join(f"{value:g}" for value, other in found if other == margin) for _, margin in found}
    text = "; ".join(f"{values} ± {margin:g}" for margin, values in margins.items())
    return _means(axes, content, [Patch(color=style.BAND, label=f"expected: {text}")] if found else [])


def _means(axes: Axes, content: Content, bands: list[Artist]) -> list[Artist]:
    gaps: dict[str, dict[float, str]] = {}
    looks = marks.looks(content, content.lines())
    axes.set_xscale("log", base=2)
    found = [
        {backend: series.along_widths(content.quantities, line, backend, "signed") for backend in content.backends}
        for line, _ in looks
    ]
    found = [{backend: points for backend, points in of_line.items() if len(points.x)} for of_line in found]
    drawn = [points for of_line in found for points in of_line.values()]
    axis.width_axis(axes, drawn, content.letters)
    notes = beside(axes, content, looks, found)
    for (line, _), of_line in zip(looks, found, strict=True):
        for points in of_line.values():
            marks.collect(gaps, line, points)
    return marks.key(content, looks, notes) + bands + marks.notes(gaps)


def beside(axes: Axes, content: Content, looks: list[tuple[Line, Look]], found: list[dict[str, Points]]) -> dict[str, str]:
    """Draws lines on a linear y axis, moved apart where they would hide each other.

    Args:
        found: of each line, backend -> points.

    Returns:
        Case -> what its legend entry says besides, for controls that the axis leaves out.
    """
    regular: list[Points] = []
    controls: dict[str, list[Points]] = {}
    for (line, _), of_line in zip(looks, found, strict=True):
        (controls.setdefault(line.case, []) if line.control else regular).extend(of_line.values())
    notes = axis.out_of_sight(axes, regular, controls)
    drawn = list(zip(looks, found, strict=True))
    seen = [(look, of_line) for (line, look), of_line in drawn if line.case not in notes]
    beyond = [(look, of_line) for (line, look), of_line in drawn if line.case in notes]
    shifts = side_by_side(axes, [list(of_line.values()) for _, of_line in seen], content.letters)
    axes.margins(y=0.08)
    for (look, of_line), shift in zip(seen, shifts, strict=True):
        for backend, points in of_line.items():
            marks.markers(axes, points, look, backend, shift=shift)
    axes.set_ylim(axes.get_ylim())  # what is drawn from here on no longer moves the axis
    for look, of_line in beyond:
        for backend, points in of_line.items():
            marks.markers(axes, points, look, backend)
    marks.nothing(axes, [points for of_line in found for points in of_line.values()])
    return notes


def side_by_side(axes: Axes, drawn: list[list[Points]], letters: int) -> list[float]:
    """Factors on the x of each line, on a logarithmic axis: where intervals would hide each other, lines are moved apart."""
    extents = [_extents(of_line) for of_line in drawn]
    ends = [end for extent in extents for low_high in extent.values() for end in low_high]
    room = CLOSE * (max(ends) - min(ends)) if ends else 0.0
    steps: list[int] = []
    for k, extent in enumerate(extents):
        hidden = {steps[j] for j in range(k) if _meet(extents[j], extent, room)}
        steps.append(next(step for step in _from_the_middle(k + 1) if step not in hidden))
    left, right = axes.get_xlim()
    places = np.log2(sorted({x for extent in extents for x in extent}))
    between = float(np.diff(places).min(initial=1.0))
    step = min(MARK_LETTERS * math.log2(right / left) / letters, REACH * between / max(1, *map(abs, steps)))
    return [2.0 ** (step * place) for place in steps]


def _extents(points: list[Points]) -> dict[float, tuple[float, float]]:
    """Place on the x axis -> ends of the interval over seeds, of all backends."""
    found: dict[float, tuple[float, float]] = {}
    for one in points:
        for x, low, high in zip(one.x, one.low, one.high, strict=True):
            if np.isfinite(low) and np.isfinite(high):
                before = found.get(float(x), (low, high))
                found[float(x)] = (min(low, before[0]), max(high, before[1]))
    return found


def _meet(first: dict[float, tuple[float, float]], second: dict[float, tuple[float, float]], room: float) -> bool:
    shared = first.keys() & second.keys()
    return any(first[x][0] - room < second[x][1] and second[x][0] - room < first[x][1] for x in shared)


def _from_the_middle(count: int) -> list[int]:
    """0, 1, -1, 2, -2 and so on."""
    return [(k + 1) // 2 * (1 if k % 2 else -1) for k in range(count)]
