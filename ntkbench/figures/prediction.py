"""A network's training as the hierarchy predicts it, order by order, beside the truth."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ntkbench.figures import images, places, style
from ntkbench.hierarchy import Prediction
from ntkbench.scalars import is_whole

HEIGHT = 4.6
MOST_NAMES = 6
"""Of the key, beside each other in the width of a page."""
SHOWN = 3
"""Outputs drawn along time."""


def draw(predictions: Mapping[int, Prediction], truth: np.ndarray, stem: Path | str, seed: int = 0) -> None:
    """Writes `<stem>.svg` and `<stem>.png`, each atomically; equal data give equal bytes.

    Above, outputs of three points, test points where there are any, with the truncation's error as a band about the highest
    order; below, the root mean square error of all outputs by order, beside its estimate.

    Args:
        predictions: by order, of the same network and times.
        truth: (S, T, n + n_test), outputs of the trained networks, training points first.
        stem: path without suffix; its folder is made.
        seed: which of the networks.

    Raises:
        ValueError: if there are no predictions, or what is given are none, or of different times or several outputs; if the
            truth does not fit them or is not finite; for a seed that they do not have, or a stem that is no path of a file.
        RecordError: if a file cannot be written.
    """
    if not isinstance(stem, (str, Path)) or not Path(stem).name:
        raise ValueError(f"stem must be the path of the figure without its suffix, got {stem!r}")
    with style.style():
        images.write(compose(predictions, truth, seed), Path(stem))


def compose(predictions: Mapping[int, Prediction], truth: np.ndarray, seed: int = 0) -> Figure:
    """The figure of `draw`, not saved; to be called within `style.style()`."""
    outputs = _checked(predictions)
    truth = np.asarray(truth)
    _check_truth(truth, outputs)
    if not is_whole(seed) or seed not in range(len(truth)):
        raise ValueError(f"seed must be one of the {len(truth)} networks, from 0 on, got {seed!r}")
    figure = Figure(figsize=(style.TEXT_WIDTH, HEIGHT), layout=ConstrainedLayoutEngine(w_pad=0.06))
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _paths(above, predictions, {order: of_seeds[seed] for order, of_seeds in outputs.items()}, truth[seed], seed)
    for order, of_seeds in outputs.items():
        prediction = predictions[order]
        error = np.sqrt(((of_seeds[seed] - truth[seed]) ** 2).mean(axis=1))
        below.plot(prediction.times, error, color=style.colour(places.of_order(order)), marker="o", label=f"_error|{order}")
        below.plot(
            prediction.times,
            prediction.truncation[seed],
            color=style.colour(places.of_order(order)),
            ls=(0, (4, 2)),
            label=f"_estimate|{order}",
        )
    horizon = min(float(prediction.horizon[seed]) for prediction in predictions.values())
    for axes in (above, below):
        if np.isfinite(horizon):
            axes.axvline(horizon, color=style.CONTROL, lw=0.8, ls=(0, (2, 2)), label="_horizon")
    above.set_title(
        "(a) outputs of " + ("test" if next(iter(predictions.values())).f_test is not None else "training") + " points"
    )
    above.set_ylabel("output f")
    below.set_title("(b) error of all outputs, root mean square, and its estimate")
    below.set(xscale="log", yscale="log", xlabel="time t", ylabel="error")
    _key(figure, list(outputs), np.isfinite(horizon))
    return figure


def _checked(predictions: Mapping[int, Prediction]) -> dict[int, np.ndarray]:
    """The outputs by order, in its order; ValueError for what cannot be drawn."""
    if not isinstance(predictions, Mapping):
        raise ValueError(f"predictions is a {type(predictions).__name__}: give a mapping of orders to predictions")
    if not predictions:
        raise ValueError("there is nothing to draw: give a prediction of one order at least")
    for order, prediction in predictions.items():
        if not is_whole(order) or order not in range(places.LOWEST, places.HIGHEST + 1):
            raise ValueError(f"predictions has the order {order!r}: give orders from {places.LOWEST} to {places.HIGHEST}")
        if not isinstance(prediction, Prediction):
            raise ValueError(f"predictions[{order}] is a {type(prediction).__name__}: give what predict_training returns")
        if prediction.f.ndim != 3:
            raise ValueError(f"predictions[{order}] has {prediction.f.shape[-1]} outputs: the figure is of networks of one")
    first, *others = sorted(predictions)
    for order in others:
        if not np.array_equal(predictions[order].times, predictions[first].times):
            raise ValueError(f"the predictions of orders {first} and {order} have different times: give the same to both")
    return {order: _outputs(predictions[order]) for order in (first, *others)}


def _check_truth(truth: np.ndarray, outputs: Mapping[int, np.ndarray]) -> None:
    """ValueError unless it is real, finite, and shaped as every order's outputs."""
    if truth.dtype.kind not in "fiu":
        raise ValueError(f"truth has dtype {truth.dtype}: give the outputs of the trained networks, real numbers")
    for order, predicted in outputs.items():
        if predicted.shape != truth.shape:
            raise ValueError(f"truth has shape {truth.shape}, the prediction of order {order} asks for {predicted.shape}")
    if not np.isfinite(truth).all():
        raise ValueError("truth has entries that are not finite: draw the times before training diverged")


def _outputs(prediction: Prediction) -> np.ndarray:
    """(S, T, n + n_test)."""
    return prediction.f if prediction.f_test is None else np.concatenate([prediction.f, prediction.f_test], axis=-1)


def _paths(
    axes: Axes, predictions: Mapping[int, Prediction], outputs: Mapping[int, np.ndarray], truth: np.ndarray, seed: int
) -> None:
    """The points at which the lowest order errs most at the last time, since they show the orders apart."""
    lowest, highest = min(outputs), max(outputs)
    first = 0 if predictions[lowest].f_test is None else predictions[lowest].f.shape[-1]
    errors = np.nan_to_num(np.abs(outputs[lowest] - truth)[-1, first:], nan=np.inf)
    shown = first + np.argsort(-errors)[:SHOWN]
    times, band = predictions[highest].times, predictions[highest].truncation[seed]
    for point in shown:
        path = outputs[highest][:, point]
        colour = style.colour(places.of_order(highest))
        axes.fill_between(times, path - band, path + band, color=colour, alpha=0.2, lw=0, label=f"_band|{point}")
        for order, of_order in outputs.items():
            axes.plot(times, of_order[:, point], color=style.colour(places.of_order(order)), label=f"_{order}|{point}")
        axes.plot(times, truth[:, point], color=style.THEORY, ls="none", marker="o", ms=2.4, label=f"_truth|{point}")
    drawn = np.concatenate([truth[:, shown].ravel(), *(of_order[:, shown].ravel() for of_order in outputs.values())])
    axes.set_ylim(*_limits(truth[:, shown], drawn))


def _limits(truth: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """All that is drawn, but no more than the truth's own range beside it: predictions that blow up leave the panel."""
    low, high = float(truth.min()), float(truth.max())
    span = (high - low) or 1.0
    drawn = drawn[np.isfinite(drawn)]
    return max(float(drawn.min()), low - span) - 0.05 * span, min(float(drawn.max()), high + span) + 0.05 * span


def _key(figure: Figure, orders: list[int], horizon: bool) -> None:
    """What colours and marks mean, once for both panels."""
    names = {2: "frozen NTK (order 2)"}
    handles = [Line2D([], [], color=style.THEORY, ls="none", marker="o", ms=2.4, label="trained network")]
    handles += [
        Line2D([], [], color=style.colour(places.of_order(order)), lw=2, label=names.get(order, f"order {order}"))
        for order in orders
    ]
    handles.append(Line2D([], [], color=style.THEORY, ls=(0, (4, 2)), label="estimate"))
    if horizon:
        handles.append(Line2D([], [], color=style.CONTROL, lw=0.8, ls=(0, (2, 2)), label="horizon"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), MOST_NAMES), columnspacing=1.2)
