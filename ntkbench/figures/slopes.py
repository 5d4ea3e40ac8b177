"""Fitted and expected slopes of a logarithmic panel, drawn and written."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ntkbench.figures import style
from ntkbench.figures.series import Location, Points, Slope
from ntkbench.verdicts.fit import upper_half


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


def theory(axes: Axes, expected: list[tuple[float, list[Points]]]) -> None:
    """A thin line of each exponent under the points that are expected to have it, labelled directly.

    Labels are spread along the lines, since lines that cross would have them in one place.
    """
    for k, (exponent, points) in enumerate(expected, start=1):
        x = np.concatenate([p.x for p in points])
        centre = np.concatenate([p.centre for p in points])
        good = np.isfinite(centre) & (centre > 0)
        if not good.any():
            continue
        ends = np.array([x[good].min(), x[good].max()])
        factor = 0.6 * float(np.min(centre[good] / x[good] ** exponent))
        axes.plot(ends, factor * ends**exponent, color=style.THEORY, lw=0.7, zorder=1, label=f"_theory|{exponent:g}")
        place = float(ends[0] * (ends[1] / ends[0]) ** (k / (len(expected) + 1)))
        text = f"slope {exponent:g}".replace("-", "−")
        label(axes, text, (place, factor * place**exponent), offset=(-3, -2), va="top")
        bottom = factor * float(min(ends**exponent))
        axes.set_ylim(bottom=min(axes.get_ylim()[0], bottom / 1.6))


def label(
    axes: Axes, text: str, point: tuple[float, float], *, offset: tuple[float, float], va: Literal["top", "bottom"]
) -> None:
    """Names a line of theory to the left of a point on it, `offset` points away."""
    axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="right",
        va=va,
        fontsize=style.SMALL,
        color=style.THEORY,
        # A halo, since other lines may pass there and must not be hidden.
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
        zorder=4,
    )
