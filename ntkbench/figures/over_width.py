"""Panels against the width: power laws, paired differences, and exponents along another axis."""

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ntkbench.figures import axis, marks, series, slopes, style
from ntkbench.figures.content import FIRST, Content
from ntkbench.figures.series import Line, Points
from ntkbench.verdicts.expectations import Equivalence, Rate


def rate(axes: Axes, content: Content) -> list[Artist]:
    """Location over seeds with intervals, fits, and the theory's lines, log-log."""
    entries: list[Artist] = []
    gaps: dict[str, str] = {}
    drawn = []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for line, look in marks.looks(content, lines):
        how = series.location(content.claim, content.panel, line.shown)
        found = {}
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
        entries.append(marks.entry(look, slopes.with_slopes(look.label, found)))
    axis.width_axis(axes, [points for _, points in drawn], content.letters)
    axis.log_limits(axes, [points for _, points in drawn])
    slopes.theory(axes, _expected(content, [(line, points) for line, points in drawn if not line.control]))
    axis.ticks_of_values(axes)
    return entries + marks.notes(gaps)


def _expected(content: Content, drawn: list[tuple[Line, Points]]) -> list[tuple[float, list[Points]]]:
    """The panel's slope with all that is drawn; without one, the exponent of each quantity's `Rate` with its points.

    Quantities of one exponent share a line.
    """
    if content.panel.slope is not None:
        return [(content.panel.slope, [points for _, points in drawn])]
    groups: dict[float, list[Points]] = {}
    for line, points in drawn:
        found = series.expectation_of(content.claim, line, content.cases[line.case], (Rate,))
        if isinstance(found, Rate):
            groups.setdefault(found.exponent, []).append(points)
    return list(groups.items())


def paired(axes: Axes, content: Content) -> list[Artist]:
    """Mean differences with intervals around zero, and the band of the smallest effect."""
    axes.axhline(0.0, color=style.THEORY, lw=0.8, zorder=1)
    sizes = [s for q in content.panel.quantities if (s := series.smallest_effect(content.claim, q))]
    if sizes:
        axes.axhspan(-max(sizes), max(sizes), color=style.BAND, zorder=0)
    bands: list[Artist] = [Patch(color=style.BAND, label=f"within the smallest effect, ±{max(sizes):g}")] if sizes else []
    return _means(axes, content, bands)


def level(axes: Axes, content: Content) -> list[Artist]:
    """Means with intervals, and the bands where equivalence expects them."""
    expected = [e for e in content.claim.expectations if isinstance(e, Equivalence) and e.quantity in content.panel.quantities]
    found = sorted({(e.value, e.margin) for e in expected})
    for value, margin in found:
        axes.axhspan(value - margin, value + margin, color=style.BAND, zorder=0)
        axes.axhline(value, color=style.THEORY, lw=0.7, zorder=1)
    text = ", ".join(f"{value:g} ± {margin:g}" for value, margin in found)
    return _means(axes, content, [Patch(color=style.BAND, label=f"expected: {text}")] if found else [])


def _means(axes: Axes, content: Content, bands: list[Artist]) -> list[Artist]:
    entries: list[Artist] = []
    gaps: dict[str, str] = {}
    drawn = []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    for k, (line, look) in enumerate(marks.looks(content, lines)):
        # Cases stand side by side at a width: their intervals would hide each other.
        shift = 2 ** (min(0.09, 0.7 / len(lines)) * (k - (len(lines) - 1) / 2))
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, "signed")
            if len(points.x):
                marks.markers(axes, points, look, backend, shift=shift)
                marks.collect(gaps, line, points)
                drawn.append(points)
        entries.append(marks.entry(look, look.label))
    axis.width_axis(axes, drawn, content.letters)
    axes.margins(y=0.08)
    return entries + bands + marks.notes(gaps)
