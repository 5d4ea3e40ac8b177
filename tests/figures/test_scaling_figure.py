"""The figure of the scaling curves shows every point, both backends and theory's powers."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ntkbench.figures import scaling
from ntkbench.performance import workloads
from tests.figures import timings


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(timings.rows())


def lines(figure: Figure) -> dict[str, list[float]]:
    """Label -> y values of every line."""
    return {str(line.get_label()): list(line.get_ydata()) for axes in figure.axes for line in axes.get_lines()}


def test_every_curve_is_drawn_in_both_backends(table: pd.DataFrame) -> None:
    drawn = lines(scaling.compose(table))
    for name, of_curve in table.groupby("curve"):
        for backend, points in of_curve.groupby("backend"):
            assert len(drawn[f"_{name}|{backend}"]) == len(points)
        naive = of_curve["quantity"].iloc[0] == "naive_hierarchy"
        assert len(drawn.get(f"_{name}|products", [])) == (0 if naive else of_curve["size"].nunique())


def test_the_naive_way_is_dashed_in_the_colour_and_panel_of_the_fast_one(table: pd.DataFrame) -> None:
    figure = scaling.compose(table)
    for fast, naive in (("k4-points", "naive-k4-points"), ("orders", "naive-orders")):
        (axes,) = [axes for axes in figure.axes if any(line.get_label() == f"_{fast}|products" for line in axes.get_lines())]
        drawn = {str(line.get_label()): line for line in axes.get_lines()}
        ours, usual = drawn[f"_{fast}|torch"], drawn[f"_{naive}|torch"]
        assert usual.get_color() == ours.get_color()
        assert (ours.get_linestyle(), usual.get_linestyle()) == ("-", "--")
    assert "nested forward mode, jax" in [text.get_text() for text in figure.legends[0].get_texts()]
    without = scaling.compose(table[table["quantity"] != "naive_hierarchy"])
    assert not [text for text in without.legends[0].get_texts() if "nested" in text.get_text()]


def test_the_legend_fits_the_figure(table: pd.DataFrame) -> None:
    figure = scaling.compose(table[table["curve"].isin(["ntk-points", "k4-points", "naive-k4-points", "limiting-points"])])
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width


def test_theory_is_a_line_of_its_largest_power(table: pd.DataFrame) -> None:
    figure = scaling.compose(table)
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left").endswith("time against points")]
    found = sorted(int(str(line.get_label()).split("|")[1]) for line in axes.get_lines() if "_theory" in str(line.get_label()))
    chosen = [curve for curve in timings.curves() if curve.axis == "points" and curve.start.quantity != "naive_hierarchy"]
    terms = [workloads.theory(curve.start.quantity, curve.start.order) for curve in chosen]
    assert found == sorted(workloads.exponents(of_curve, "points")[1] for of_curve in terms)


def test_a_size_without_growth_has_no_point(table: pd.DataFrame) -> None:
    table.loc[table["curve"] == "ntk-points", "peak_bytes"] = 0.0
    figure = scaling.compose(table)
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left").endswith("memory against points")]
    assert [len(line.get_ydata()) for line in axes.get_lines() if str(line.get_label()).startswith("_ntk-points|")] == [0, 0]


def test_without_any_memory_there_is_no_panel_of_it(table: pd.DataFrame) -> None:
    titles = [axes.get_title(loc="left") for axes in scaling.compose(table.assign(peak_bytes=float("nan"))).axes]
    assert not [title for title in titles if "memory" in title]


def test_equal_data_give_equal_bytes(table: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("one", "two"):
        scaling.draw(table, tmp_path / name)
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
