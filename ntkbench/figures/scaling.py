"""Seconds and memory against size, both backends, with the powers of theory as lines, and the naive way beside the fast one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ntkbench.figures import axis, images, slopes, style
from ntkbench.performance import workloads
from ntkbench.performance.scaling import POWER_AXES, upper_half

AXES: Mapping[str, tuple[str, str]] = {
    "points": ("n", "points n"),
    "width": ("m", "width m"),
    "depth": ("H", "hidden layers H"),
    "outputs": ("O", "outputs O"),
    "order": ("r", "order r"),
}
"""Symbol in a power, and label."""
MEASURES = {"seconds": "seconds", "peak_bytes": "memory, bytes"}
COLUMNS, HEIGHT, KEY_HEIGHT = 3, 2.15, 0.55
FIRST = "torch"
NAIVE = "naive_hierarchy"
Panel = tuple[str, str]
"""Axis and measure."""


def draw(timings: pd.DataFrame, stem: Path) -> None:
    """Writes `<stem>.svg` and `<stem>.png`, each atomically; equal data give equal bytes.

    Args:
        timings: the table `performance` of `ntkbench.records`.
        stem: path without suffix; its folder is made.
    """
    with style.style():
        images.write(compose(timings), stem)


def compose(timings: pd.DataFrame) -> Figure:
    """The figure of `draw`, not saved; to be called within `style.style()`."""
    panels: list[Panel] = [(name, "seconds") for name in AXES if (timings["axis"] == name).any()]
    if timings.loc[timings["axis"] == "points", "peak_bytes"].gt(0).any():
        panels.append(("points", "peak_bytes"))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(style.TEXT_WIDTH, rows * HEIGHT + KEY_HEIGHT), layout=ConstrainedLayoutEngine(w_pad=0.06))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    looks = _looks(timings)
    for k, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        _panel(axes, timings[timings["axis"] == panel[0]], panel, looks)
        axes.set_title(f"({chr(ord('a') + k)}) {'time' if panel[1] == 'seconds' else 'memory'} against {panel[0]}")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    _key(figure, timings, looks)
    return figure


def label(quantity: str, order: int, along: str) -> str:
    """What a curve is of."""
    if along == "order":
        return r"$K_2$ to $K_r$"
    return {"ntk": "NTK", "limiting": "limiting kernels"}.get(quantity, f"$K_{order}$")


def _labels(timings: pd.DataFrame) -> list[str]:
    return [
        label(str(q), int(o), str(a)) for q, o, a in zip(timings["quantity"], timings["order"], timings["axis"], strict=True)
    ]


def _looks(timings: pd.DataFrame) -> dict[str, str]:
    """Label -> colour, one for all panels."""
    return {name: style.colour(k) for k, name in enumerate(dict.fromkeys(_labels(timings)))}


def _panel(axes: Axes, rows: pd.DataFrame, panel: Panel, looks: Mapping[str, str]) -> None:
    along, measure = panel
    axes.set_yscale("log")
    if along in POWER_AXES:
        axes.set_xscale("log", base=2)
    rows = rows.assign(label=_labels(rows))
    for name, of_curve in rows.groupby("curve", sort=False):
        colour = looks[str(of_curve["label"].iloc[0])]
        for backend, points in of_curve.groupby("backend", sort=False):
            shown = points[points[measure] > 0].sort_values("size")
            naive = points["quantity"].iloc[0] == NAIVE
            axes.plot(shown["size"], shown[measure], color=colour, label=f"_{name}|{backend}", **_look(str(backend), naive))
            if measure == "seconds" and backend == FIRST and not naive:
                axes.plot(
                    shown["size"], shown["roofline_seconds"], color=colour, lw=0.8, ls=(0, (1, 1)), label=f"_{name}|products"
                )
        if along in POWER_AXES and measure == "seconds" and of_curve["quantity"].iloc[0] != NAIVE:
            _theory(axes, of_curve, along)
    sizes = sorted({float(size) for size in rows["size"]})
    if along in POWER_AXES:
        axes.set_xlim(sizes[0] / axis.MARGIN, sizes[-1] * axis.MARGIN)
    axis.ticks_at(axes, sizes[:: max(1, len(sizes) // 7)], 24)
    axes.set_ylim(top=2 * axes.get_ylim()[1])
    axes.set_xlabel(AXES[along][1])
    axes.set_ylabel(MEASURES[measure])


def _theory(axes: Axes, of_curve: pd.DataFrame, along: str) -> None:
    """The largest power among theory's leading terms, above the slowest backend's upper half."""
    first = of_curve.iloc[0]
    _, power = workloads.exponents(workloads.theory(first["quantity"], int(first["order"])), along)  # type: ignore[arg-type]
    sizes = np.array(upper_half(sorted({int(size) for size in of_curve["size"]})), dtype=float)
    slowest = of_curve.groupby("size")["seconds"].max()
    factor = 1.5 * float(max(slowest.loc[int(size)] / size**power for size in sizes))
    axes.plot(sizes, factor * sizes**power, color=style.THEORY, lw=0.7, zorder=1, label=f"_theory|{power}")
    symbol = AXES[along][0]
    text = f"${symbol}^{power}$" if power > 1 else f"${symbol}$"
    slopes.label(axes, text, (sizes[-1], factor * sizes[-1] ** power), offset=(0, 1), va="bottom")


def _look(backend: str, naive: bool) -> dict[str, Any]:
    """Filled marks are the first backend's, open and larger ones another's; triangles on dashes are the naive way."""
    if naive:
        return {"marker": "^", "ls": "--", "lw": 0.8} | ({} if backend == FIRST else {"mfc": "none", "ms": 4.8, "mew": 0.7})
    return {"marker": "o", "ls": "-"} if backend == FIRST else style.OPEN_SQUARES


def _key(figure: Figure, timings: pd.DataFrame, looks: Mapping[str, str]) -> None:
    """What colours and marks mean, once for all panels."""
    backends = sorted(set(timings["backend"]), key=lambda name: (name != FIRST, name))
    colours = [Line2D([], [], color=colour, lw=2.5, label=name) for name, colour in looks.items()]
    ways = {False: "", True: "nested forward mode, "} if (timings["quantity"] == NAIVE).any() else {False: ""}
    marks = [
        Line2D([], [], color=style.THEORY, **_look(name, naive), label=f"{way}{name}")
        for naive, way in ways.items()
        for name in backends
    ]
    lines = [
        Line2D([], [], color=style.THEORY, lw=0.8, ls=(0, (1, 1)), label="the same matrix products alone (torch)"),
        Line2D([], [], color=style.THEORY, lw=0.7, label="largest power of theory"),
    ]
    figure.legend(handles=[*colours, *marks, *lines], loc="outside lower center", ncols=3, columnspacing=1.2)
