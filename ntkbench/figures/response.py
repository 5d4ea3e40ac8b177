"""Panels of one quantity against another: a dose and its response, with the claim's axis as the parameter of the curve."""

from dataclasses import replace

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ntkbench.figures import axis, marks, series, slopes
from ntkbench.figures.along_axis import at_largest, key, missing, notes
from ntkbench.figures.content import Content
from ntkbench.figures.series import Points


def response(axes: Axes, content: Content) -> list[Artist]:
    """Geometric means with intervals in both directions, log-log: a line per case and quantity, at the case's largest width."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    dose = content.panel.quantities[0]
    chosen = at_largest(content, content.lines())
    places: set[float] = set()
    gaps: dict[str, str] = {}
    drawn, across, expected = [], [], []
    for line, width, look in chosen:
        for backend in content.backends:
            y = series.along_axis(content.quantities, line, backend, width, "geometric")
            x = series.along_axis(content.quantities, replace(line, quantity=dose), backend, width, "geometric")
            points, doses = _where_both_are(x, y)
            marks.markers(axes, points, look, backend, across=doses)
            missing(gaps, look, points)
            places.update(y.x)
            drawn.append(points)
            across.append(doses)
            expected += [] if line.control else [points]
    axis.log_limits(axes, drawn)
    axis.log_across(axes, across, content.letters)
    axes.set_xlabel(content.panel.xlabel or content.claim.label(dose))
    theory = [] if content.panel.slope is None else slopes.theory(axes, [(content.panel.slope, expected)], content.letters)
    axis.ticks_of_values(axes)
    marks.nothing(axes, drawn)
    along = Line2D([], [], ls="none", label=f"along the lines: {content.claim.axis}, {min(places):g} to {max(places):g}")
    return [*key(content, chosen), along, *theory, *notes(gaps)]


def _where_both_are(x: Points, y: Points) -> tuple[Points, Points]:
    """The response over its dose, and the dose with its interval, at the places that both have; in the order of the places."""
    shared, of_x, of_y = np.intersect1d(x.x, y.x, return_indices=True)
    kept = np.isfinite(x.centre[of_x]) & np.isfinite(y.centre[of_y])
    of_x, of_y = of_x[kept], of_y[kept]
    gaps = {place: why for found in (x, y) for place, why in found.gaps.items() if place in shared}
    dose = Points(shared[kept], x.centre[of_x], x.low[of_x], x.high[of_x], {})
    return Points(dose.centre, y.centre[of_y], y.low[of_y], y.high[of_y], dict(sorted(gaps.items()))), dose
