"""The three kinds of panels. torch is drawn as filled circles on a line, jax as open squares over them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterSciNotation, LogLocator, NullLocator

from ntkbench.claims.base import Case, Claim, Panel
from ntkbench.figures import series, style
from ntkbench.figures.series import Line, Points, Slope
from ntkbench.verdicts.expectations import Rate

MOST_NOTES = 3
MOST_TICKS = 8
FIRST, SECOND = "torch", "jax"
"""Drawn as filled circles and as open squares."""


@dataclass(frozen=True)
class Content:
    """All that a panel draws from.

    Attributes:
        claim, panel: as data.
        cases: name -> case, regular cases and controls, in the order of the study.
        quantities, verdicts: tidy tables, of this claim.
        places: regular case -> its place among the colours, the same in all panels of the figure.
    """

    claim: Claim
    panel: Panel
    cases: Mapping[str, Case]
    quantities: pd.DataFrame
    verdicts: pd.DataFrame
    places: Mapping[str, int]

    @property
    def backends(self) -> list[str]:
        """Those in the table, torch first, so that jax is drawn over it."""
        return sorted(set(self.quantities["backend"]), key=lambda name: (name != FIRST, name))

    def lines(self) -> list[Line]:
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
    columns = 3 if content.panel.kind == "time" else 1
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0, ncols=columns)


def _rate(axes: Axes, content: Content) -> list[Artist]:
    entries, notes, drawn = [], {}, []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for line, look in _looks(content, lines):
        how = series.location(content.claim, content.panel, line.shown)
        slopes = {}
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, how)
            if not len(points.x):
                continue
            _markers(axes, points, look, backend)
            _collect(notes, line, "width", points)
            slope = series.slope(content.claim, line, content.cases[line.case], backend, content.verdicts)
            if slope is not None:
                slopes[backend] = slope
            drawn.append((line, points))
        entries.append(_entry(look, _with_slopes(look.label, slopes)))
    _width_axis(axes, [points for _, points in drawn])
    _log_limits(axes, [points for _, points in drawn])
    _theory(axes, content, [(line, points) for line, points in drawn if not line.control])
    _ticks_of_values(axes)
    _write_notes(axes, notes)
    return entries


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
                    _collect(notes, line, f"width {width}, t", points)
                    drawn.append(points)
    _log_limits(axes, drawn)
    axes.set_xlabel("gradient-flow time t")
    _ticks_of_values(axes)
    _write_notes(axes, notes)
    entries = [Line2D([], [], color=colours[width], label=f"width {width}") for width in widths]
    names = _names(lines)
    several = len(lines) > 1
    return entries + [Line2D([], [], color=style.THEORY, ls=style.line(k), label=names[x]) for k, x in enumerate(lines) if several]


def _paired(axes: Axes, content: Content) -> list[Artist]:
    entries, notes, drawn = [], {}, []
    lines = content.lines()
    axes.set_xscale("log", base=2)
    axes.axhline(0.0, color=style.THEORY, lw=0.8, zorder=1)
    sizes = [s for q in content.panel.quantities if (s := series.smallest_effect(content.claim, q))]
    if sizes:
        axes.axhspan(-max(sizes), max(sizes), color=style.BAND, zorder=0)
    for k, (line, look) in enumerate(_looks(content, lines)):
        # Cases stand side by side at a width: their intervals would hide each other.
        shift = 2 ** (0.09 * (k - (len(lines) - 1) / 2))
        for backend in content.backends:
            points = series.along_widths(content.quantities, line, backend, "signed")
            if len(points.x):
                _markers(axes, points, look, backend, shift=shift)
                _collect(notes, line, "width", points)
                drawn.append(points)
        entries.append(_entry(look, look.label))
    _width_axis(axes, drawn)
    axes.margins(y=0.08)
    _write_notes(axes, notes)
    bands: list[Artist] = [Patch(color=style.BAND, label=f"within the smallest effect, ±{max(sizes):g}")] if sizes else []
    return entries + bands


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and its name."""

    colour: str | tuple[float, float, float]
    dashes: str | tuple[int, tuple[int, ...]]
    label: str


def _looks(content: Content, lines: list[Line]) -> list[tuple[Line, Look]]:
    """Colour tells cases apart, or quantities where the panel has several (then dashes tell cases apart); controls are grey."""
    names = _names(lines)
    regular = [line for line in lines if not line.control]
    order = {case: k for k, case in enumerate(dict.fromkeys(line.case for line in regular))}
    several = len(content.panel.quantities) > 1
    looks, controls = [], 0
    for line in lines:
        if line.control:
            look = Look(style.CONTROL, style.CONTROL_LINES[controls % len(style.CONTROL_LINES)], f"{names[line]} (control)")
            controls += 1
        elif several:
            look = Look(style.colour(content.panel.quantities.index(line.shown)), style.line(order[line.case]), names[line])
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
    marks = {"marker": "o", "ls": look.dashes, "lw": 0.9} if first else {"marker": "s", "ls": "none", "mfc": "none", "ms": 4.8, "mew": 0.7}
    if band:
        axes.plot(points.x, points.centre, color=look.colour, label=label, **marks)
        if first:
            axes.fill_between(points.x, points.low, points.high, color=look.colour, alpha=0.15, lw=0)
        return
    reach = np.clip(np.stack([points.centre - points.low, points.high - points.centre]), 0, None)
    axes.errorbar(points.x * shift, points.centre, yerr=reach, color=look.colour, elinewidth=0.8, label=label, **marks)


def _entry(look: Look, text: str) -> Line2D:
    return Line2D([], [], color=look.colour, ls=look.dashes, marker="o", label=text)


def number(value: float, digits: int = 2) -> str:
    """Fixed decimals, with a minus sign proper."""
    return f"{value:.{digits}f}".replace("-", "−")


def _with_slopes(label: str, slopes: Mapping[str, Slope]) -> str:
    """The line's name, then its fitted slope and interval: once if the backends agree to the digits shown."""
    texts = {b: f"{number(s.estimate)} [{number(s.low)}, {number(s.high)}]" for b, s in slopes.items()}
    if not texts:
        return label
    if len(set(texts.values())) == 1:
        return f"{label}: {next(iter(texts.values()))}"
    return f"{label}: " + ", ".join(f"{backend} {text}" for backend, text in texts.items())


def _theory(axes: Axes, content: Content, drawn: list[tuple[Line, Points]]) -> None:
    """A thin line of the expected slope under the data of each quantity, labelled directly."""
    for exponent, points in _expected(content, drawn):
        x = np.concatenate([p.x for p in points])
        low = np.concatenate([np.where(p.low > 0, p.low, p.centre) for p in points])
        good = np.isfinite(low)
        if not good.any():
            continue
        ends = np.array([x[good].min(), x[good].max()])
        factor = 0.6 * float(np.min(low[good] / x[good] ** exponent))
        axes.plot(ends, factor * ends**exponent, color=style.THEORY, lw=0.7, zorder=1, label=f"_theory|{exponent:g}")
        middle = math.exp(float(np.mean(np.log(ends))))
        axes.annotate(
            f"slope {exponent:g}".replace("-", "−"), (middle, factor * middle**exponent), xytext=(-3, -2), textcoords="offset points",
            ha="right", va="top", fontsize=style.SMALL, color=style.THEORY,
        )  # fmt: skip
        bottom = factor * float(min(ends**exponent))
        axes.set_ylim(bottom=min(axes.get_ylim()[0], bottom / 1.6))


def _expected(content: Content, drawn: list[tuple[Line, Points]]) -> list[tuple[float, list[Points]]]:
    """The panel's slope with all that is drawn; without one, the exponent of each quantity's `Rate`, with that quantity's points.

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


def _width_axis(axes: Axes, drawn: list[Points]) -> None:
    widths = sorted({int(x) for points in drawn for x in points.x})
    shown = widths[:: math.ceil(len(widths) / MOST_TICKS)]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x < 10_000 else f"{x / 1024:g}k"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(widths) / 1.35, max(widths) * 1.35)
    axes.set_xlabel("width m")


def _log_limits(axes: Axes, drawn: list[Points]) -> None:
    """From the data and not from interval ends at zero, which a logarithmic axis would run after."""
    if not drawn:
        return
    centre = np.concatenate([points.centre for points in drawn])
    low = np.concatenate([points.low for points in drawn])
    high = np.concatenate([points.high for points in drawn])
    seen = centre[np.isfinite(centre) & (centre > 0)]
    if len(seen):
        ends = low[np.isfinite(low) & (low > seen.min() / 4)]
        axes.set_ylim(min(seen.min(), *ends) / 1.5, max(seen.max(), *high[np.isfinite(high)]) * 1.5)


def _ticks_of_values(axes: Axes) -> None:
    """Whole decades; within one decade also 2 and 5, so that an axis never has fewer than two labels."""
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=9))
    axes.yaxis.set_minor_locator(LogLocator(base=10, subs=(2.0, 5.0) if decades < 2 else tuple(range(2, 10)), numticks=20))
    if decades < 2:
        axes.yaxis.set_minor_formatter(LogFormatterSciNotation(base=10, labelOnlyBase=False, minor_thresholds=(10, 10)))
        axes.tick_params(axis="y", which="minor", labelsize=6.5)
    else:
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _collect(notes: dict[str, str], line: Line, axis: str, points: Points) -> None:
    """Both backends say the same of the same seeds; one note serves both."""
    for x, why in points.gaps.items():
        notes[f"{line.case}, {axis} {x:g}"] = why


def _write_notes(axes: Axes, notes: Mapping[str, str]) -> None:
    if not notes:
        return
    texts = [f"{where}: {why}" for where, why in notes.items()]
    if len(texts) > MOST_NOTES:
        texts = [*texts[: MOST_NOTES - 1], f"and {len(texts) - MOST_NOTES + 1} more points with seeds not usable"]
    axes.annotate(
        "\n".join(texts), (1, 1), xycoords="axes fraction", xytext=(-3, -3), textcoords="offset points", ha="right", va="top",
        fontsize=style.SMALL - 0.5, color="#A00000", bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.0}, zorder=5,
    )  # fmt: skip
