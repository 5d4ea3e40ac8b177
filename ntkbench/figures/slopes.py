"""Fitted and expected slopes of a logarithmic panel, drawn and written."""

import itertools
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from ntkbench.figures import style
from ntkbench.figures.series import Location, Points, Slope
from ntkbench.verdicts.fit import upper_half

PLACES = 31
"""Along a line, where its label may stand."""
HEIGHT_LETTERS = 31.0
"""Of a panel; as all that follows in letters of the legend's, which are 3.7 points wide."""
WIDE, TALL = 1.0, 2.0
MARGIN = 0.7
"""Between a line and its label."""
ROOM, ENOUGH = 0.3, 1.8
"""Distance of a label to other lines that it must have, and that is enough: marks reach over half of it."""

BESIDE: Mapping[bool, tuple[tuple[float, float], Literal["left", "right"]]] = {
    True: ((3, -2), "left"),
    False: ((-3, -2), "right"),
}
"""Whether a line rises -> where its label stands, points, and on which side of it the line is."""


def number(value: float, digits: int = 2) -> str:
    """Fixed decimals, with a minus sign proper."""
    return f"{value:.{digits}f}".replace("-", "−")


def with_slopes(label: str, slopes: Mapping[str, Slope]) -> str:
    """The line's name, then its fitted slope and interval: once if the backends agree to the digits shown."""
    # Spaces that do not break keep an estimate and its interval on one line.
    texts = {b: f"{number(s.estimate)}\u00a0[{number(s.low)},\u00a0{number(s.high)}]" for b, s in slopes.items()}
    if not texts:
        return label
    if len(set(texts.values())) == 1:
        return f"{label}: {next(iter(texts.values()))}"
    return f"{label}: " + ", ".join(f"{backend} {text}" for backend, text in texts.items())


def fit(axes: Axes, points: Points, name: str, colour: style.Colour, slope: Slope, how: Location) -> None:
    """The fitted power law as a wide pale line, over the widths that it was fitted to."""
    fitted = np.isin(points.x, upper_half([int(x) for x in points.x]))
    x, centre = points.x[fitted], points.centre[fitted]
    scaled = centre * x**-slope.estimate
    factor = np.exp(np.log(scaled).mean()) if how == "geometric" else scaled.mean()
    axes.plot(x, factor * x**slope.estimate, color=colour, lw=4.0, alpha=0.3, zorder=1.5, label=f"_{name}|fit")


def theory(axes: Axes, expected: list[tuple[float, list[Points]]], letters: int) -> list[Artist]:
    """A thin line of each exponent under the points that are expected to have it, labelled directly where there is room.

    Args:
        axes: with its limits; they are lowered where a line asks for it.
        expected: exponents and points.
        letters: that fit on a line as wide as the panel.

    Returns:
        The legend's entry for all lines, where one of them has no room for its label.
    """
    lines: dict[float, np.ndarray] = {}
    for exponent, points in expected:
        x = np.concatenate([p.x for p in points])
        centre = np.concatenate([p.centre for p in points])
        good = np.isfinite(centre) & (centre > 0)
        if not good.any():
            continue
        ends = np.array([x[good].min(), x[good].max()])
        factor = 0.6 * float(np.min(centre[good] / x[good] ** exponent))
        axes.plot(ends, factor * ends**exponent, color=style.THEORY, lw=0.7, zorder=1, label=f"_theory|{exponent:g}")
        axes.set_ylim(bottom=min(axes.get_ylim()[0], factor * float(min(ends**exponent)) / 1.6))
        along = np.geomspace(ends[0], ends[1], PLACES)[1:-1]
        lines[exponent] = np.column_stack([along, factor * along**exponent])
    places = _places(axes, lines, letters)
    if places is None:
        text = ", ".join(f"{exponent:g}" for exponent in lines).replace("-", "−")
        return [Line2D([], [], color=style.THEORY, lw=0.7, label=f"expected slope{'s' * (len(lines) > 1)} {text}")]
    for exponent, point in places.items():
        # Below the line: its points lie above.
        offset, ha = BESIDE[exponent > 0]
        label(axes, _text(exponent), point, offset=offset, va="top", ha=ha)
    return []


def _text(exponent: float) -> str:
    return f"slope {exponent:g}".replace("-", "−")


def _places(axes: Axes, lines: Mapping[float, np.ndarray], letters: int) -> dict[float, tuple[float, float]] | None:
    """Where on its line each label is farthest from all other lines and labels, up to `ENOUGH`; of equals, nearest its middle.

    Distances are in letters, of which the panel's width has so many: it has no size yet. None if one has no `ROOM` anywhere.

    Args:
        axes: what it has drawn is not to be hidden.
        lines: exponent -> (k, 2), points on its line.
        letters: as in `theory`.
    """
    size = np.array([letters, HEIGHT_LETTERS])
    project = axes.transScale + axes.transLimits
    drawn = {
        line: _along(nodes[np.isfinite(nodes).all(axis=1)])
        for line in axes.lines
        for nodes in [project.transform(np.column_stack([line.get_xdata(), line.get_ydata()])) * size]
    }
    found: dict[float, tuple[float, float]] = {}
    labels = [np.empty((0, 2))]
    for exponent, points in lines.items():
        others = [xy for line, xy in drawn.items() if line.get_label() != f"_theory|{exponent:g}"]
        hidden = np.concatenate(others + labels)
        boxes = [_box(x, y, exponent) for x, y in project.transform(points) * size]
        room = [min(_clearance(box, hidden), ENOUGH) if box.x0 > 0 and box.x1 < letters and box.y0 > 0 else 0 for box in boxes]
        if max(room) < ROOM:
            return None
        k = max(range(len(boxes)), key=lambda k: (room[k], -abs(k - len(boxes) // 2)))
        found[exponent] = (float(points[k, 0]), float(points[k, 1]))
        labels.append(_filled(boxes[k]))
    return found


def _box(x: float, y: float, exponent: float) -> Bbox:
    """Of the label beside a point, in letters."""
    width = WIDE * len(_text(exponent))
    return Bbox.from_bounds(x + MARGIN if exponent > 0 else x - MARGIN - width, y - MARGIN - TALL, width, TALL)


def _along(nodes: np.ndarray) -> np.ndarray:
    """Points on the line through the nodes, (k, 2)."""
    steps = np.linspace(0, 1, PLACES)[:, None]
    return np.concatenate([nodes, *(first + steps * (last - first) for first, last in itertools.pairwise(nodes))])


def _filled(box: Bbox) -> np.ndarray:
    """Points all over a box, (k, 2)."""
    x, y = np.meshgrid(np.linspace(box.x0, box.x1, PLACES), np.linspace(box.y0, box.y1, 3))
    return np.column_stack([x.ravel(), y.ravel()])


def _clearance(box: Bbox, points: np.ndarray) -> float:
    """Distance from a box to the nearest of the points."""
    apart = np.maximum(np.maximum(box.min - points, points - box.max), 0)
    return float(np.hypot(*apart.T).min(initial=math.inf))


def label(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    *,
    offset: tuple[float, float],
    va: Literal["top", "bottom"],
    ha: Literal["left", "right"] = "right",
) -> None:
    """Names a line of theory beside a point on it, `offset` points away."""
    axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=style.SMALL,
        color=style.THEORY,
        # A halo, since other lines may pass there and must not be hidden.
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
        zorder=4,
    )
