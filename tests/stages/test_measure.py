"""The forecast of a measurement's end."""

import pytest

from ntkbench.stages.measure import seconds_left


def test_the_first_width_foretells_nothing() -> None:
    assert seconds_left({8: 30.0}, [16, 32]) is None


def test_the_last_width_leaves_nothing() -> None:
    assert seconds_left({8: 30.0}, []) == 0
    assert seconds_left({8: 30.0, 16: 2.0}, []) == 0


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_a_power_law_is_continued(exponent: float) -> None:
    cost = {width: 0.01 * width**exponent for width in (8, 16, 32, 64)}
    left = seconds_left({width: cost[width] for width in (8, 16)}, [32, 64])
    assert left == pytest.approx(cost[32] + cost[64])


def test_a_fall_is_compilation_and_is_not_continued() -> None:
    assert seconds_left({8: 30.0, 16: 2.0}, [32, 64]) == pytest.approx(4.0)


def test_no_forecast_grows_faster_than_the_cube() -> None:
    assert seconds_left({8: 1e-12, 16: 1.0}, [32]) == pytest.approx(8.0)
