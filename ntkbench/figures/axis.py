"""Limits and ticks."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterSciNotation, LogLocator, NullLocator

from ntkbench.figures.series import Points

LABEL_SHARE = 0.97
"""Of an axis that its label may be long: letters differ by a little between the resolutions that a figure is saved at."""
MARGIN = 1.4
"""Factor from the first and the last point to the ends of a logarithmic x axis."""
FAR = 1.0
"""Beyond the regular cases, in units of the range that they span, from where a control is left to the legend."""
BETWEEN_LABELS = 1.5
"""Letters from one tick label to the next, at least."""


def width_axis(axes: Axes, drawn: list[Points], letters: int) -> None:
    """Widths below the panel, `letters` wide."""
    widths = sorted({x for points in drawn for x in points.x})
    ticks_at(axes, widths, letters)
    axes.set_xlim(min(widths) / MARGIN, max(widths) * MARGIN)
    axes.set_xlabel("width m")


def ticks_at(axes: Axes, values: list[float], letters: int) -> None:
    """Ticks on a logarithmic x axis where there are data, the last one always, and each before whose label has room."""
    per_log = letters / (math.log(values[-1] / values[0]) + 2 * math.log(MARGIN))
    shown = [values[-1]]
    for value in values[-2::-1]:
        apart = per_log * math.log(shown[-1] / value)
        if apart >= (len(_text(value)) + len(_text(shown[-1]))) / 2 + BETWEEN_LABELS:
            shown.append(value)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _text(x)))
    axes.xaxis.set_minor_locator(NullLocator())


def _text(value: float) -> str:
    """Whole numbers in full, others with three digits."""
    return f"{value:.3g}" if value < 1 else f"{value:g}"


def log_limits(axes: Axes, drawn: list[Points]) -> None:
    """From the data and not from interval ends at zero, which a logarithmic axis would run after."""
    found = _ends(drawn)
    if found:
        axes.set_ylim(*found)


def out_of_sight(axes: Axes, regular: list[Points], controls: Mapping[str, list[Points]]) -> dict[str, str]:
    """Controls that lie so far away that they would flatten all else, with what a legend says of each.

    Call it before points are drawn: what is there already, such as the line of no difference, is in sight.

    Args:
        controls: case -> its points, of all quantities and backends; a case with any point near the regular ones stays.
    """
    ends = np.concatenate([axes.dataLim.intervaly, *(side for points in regular for side in (points.low, points.high))])
    ends = ends[np.isfinite(ends)]
    room = FAR * np.ptp(ends) if len(ends) else 0.0
    notes = {}
    for case, drawn in controls.items():
        centres = np.concatenate([points.centre for points in drawn]) if drawn else np.empty(0)
        centres = centres[np.isfinite(centres)]
        if len(centres) and room and ((centres > ends.max() + room).all() or (centres < ends.min() - room).all()):
            nearest, farthest = (f"{value:.2g}".replace("-", "−") for value in sorted((centres.min(), centres.max()), key=abs))
            notes[case] = f", off the axis at {nearest}" + (f" to {farthest}" if farthest != nearest else "")
    return notes


def log_across(axes: Axes, drawn: list[Points], letters: int) -> None:
    """Limits and ticks of a logarithmic x axis of values; the points' x as their centres, with intervals."""
    found = _ends(drawn)
    if not found:
        return
    low, high = found
    axes.set_xlim(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    ticks_at(axes, [x for k in decades for step in steps if low <= (x := float(f"{step}e{k}")) <= high], letters)


def _ends(drawn: list[Points]) -> tuple[float, float] | None:
    """Of a logarithmic axis; None where nothing is positive and finite."""
    if not drawn:
        return None
    centre = np.concatenate([points.centre for points in drawn])
    low = np.concatenate([points.low for points in drawn])
    high = np.concatenate([points.high for points in drawn])
    seen = centre[np.isfinite(centre) & (centre > 0)]
    if not len(seen):
        return None
    ends = low[np.isfinite(low) & (low > seen.min() / 4)]
    bottom, top = min(seen.min(), *ends), max(seen.max(), *high[np.isfinite(high)])
    # Marks at the ends need as much of a panel's height, however many decades it spans.
    room = max(1.5, (top / bottom) ** 0.05)
    return bottom / room, top * room


def ticks_of_values(axes: Axes) -> None:
    """Whole decades; within one decade also 2 and 5, so that an axis never has fewer than two labels."""
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=9))
    axes.yaxis.set_minor_locator(LogLocator(base=10, subs=_between(decades), numticks=20))
    if decades < 2:
        axes.yaxis.set_minor_formatter(LogFormatterSciNotation(base=10, labelOnlyBase=False, minor_thresholds=(10, 10)))
        axes.tick_params(axis="y", which="minor", labelsize=6.5)
    else:
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _between(decades: float) -> tuple[float, ...]:
    """Of each decade, where small ticks are; on a long axis only the decades that have no label."""
    if decades < 2:
        return 2.0, 5.0
    return tuple(range(2, 10)) if decades < 7 else (1.0,)


def fit_label(axes: Axes) -> None:
    """Makes the letters of a y label smaller if it is longer than its axis; the figure must have been laid out."""
    label = axes.yaxis.label
    excess = float(label.get_window_extent().height / (LABEL_SHARE * axes.get_window_extent().height))
    if excess > 1:
        label.set_fontsize(float(label.get_fontsize()) / excess)
