"""The figure of a prediction shows every order, the truth, the band and the estimates."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ntkbench.figures import prediction, style
from ntkbench.hierarchy import Prediction

TIMES = np.array([1.0, 2.0, 4.0])


def predictions(horizon: float = np.inf, test: bool = True) -> dict[int, Prediction]:
    found = {}
    for order in (2, 3, 4):
        f = np.linspace(0, 1, 12).reshape(1, 3, 4) + 10.0**-order
        truncation = np.full((1, 3), 10.0**-order)
        f_test = f[..., :2] if test else None
        found[order] = Prediction(TIMES, f, f_test, "tensors", np.array([4]), np.zeros(1), truncation, np.array([horizon]))
    return found


def truth(test: bool = True) -> np.ndarray:
    f = np.linspace(0, 1, 12).reshape(1, 3, 4)
    return np.concatenate([f, f[..., :2]], axis=2) if test else f


def lines(figure: Figure) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for axes in figure.axes for line in axes.get_lines()}


def test_errors_and_estimates_of_every_order_are_drawn() -> None:
    drawn = lines(prediction.compose(predictions(), truth()))
    for order in (2, 3, 4):
        assert drawn[f"_error|{order}"] == pytest.approx([10.0**-order] * 3)
        assert drawn[f"_estimate|{order}"] == pytest.approx([10.0**-order] * 3)
        assert sum(label.startswith(f"_{order}|") for label in drawn) == 2
    assert {label for label in drawn if label.startswith("_truth|")} == {"_truth|4", "_truth|5"}
    assert "_horizon" not in drawn


def test_an_order_has_the_colour_that_it_has_in_the_figures_of_claims() -> None:
    some = {order: found for order, found in predictions().items() if order != 3}
    drawn = {str(line.get_label()): line for axes in prediction.compose(some, truth()).axes for line in axes.get_lines()}
    assert [drawn[f"_error|{order}"].get_color() for order in some] == [style.PALETTE[0], style.PALETTE[2]]


def test_the_horizon_is_drawn_where_there_is_one_and_training_points_where_no_others_are() -> None:
    figure = prediction.compose(predictions(2.0, test=False), truth(test=False))
    assert "_horizon" in lines(figure)
    assert figure.axes[0].get_title(loc="left").endswith("training points")


def test_a_truth_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="truth has shape"):
        prediction.compose(predictions(), truth(test=False))


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="give a prediction of one order at least"):
        prediction.compose({}, truth())


def test_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    for stem in (tmp_path / "one", str(tmp_path / "two")):
        prediction.draw(predictions(), truth(), stem)
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
