"""The forecast of a measurement's end, and a measurement that cannot be made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench.stages.cell import Cell
from ntkbench.stages.measure import MeasurementFailed, measure, seconds_left
from ntkbench.stages.prepare import prepare
from tests.tiny import TINY


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


def test_what_cannot_be_measured_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = TINY["claims"]["hierarchy/truncation"]
    cell = Cell.make("hierarchy/truncation", "plain", section["defaults"], 1, "cpu", "float64")
    prepare([cell], [tmp_path / "inputs.npz"])

    def singular(*arguments: Any) -> None:
        raise np.linalg.LinAlgError("the kernel is not positive definite")

    monkeypatch.setattr(type(cell.claim), "measure", singular)
    with pytest.raises(MeasurementFailed, match="hierarchy/truncation plain torch, width 8: the kernel is not positive"):
        measure([cell], "torch", 1, 2**30, [tmp_path / "inputs.npz"], [tmp_path / "torch.npz"])
