"""Tidy rows of a claim's quantities."""

import numpy as np
import pytest

from ntkbench.stages.analyse import quantity_rows
from ntkbench.stages.cell import Cell
from tests.tiny import TINY

SECTION = TINY["claims"]["hierarchy/truncation"]
CELL = Cell.make("hierarchy/truncation", "shuffled", {**SECTION["defaults"], "control": "shuffled_top"}, 1, "cpu", "float64")


def test_scalars_and_paths_become_rows() -> None:
    path = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    rows = list(quantity_rows(CELL, "jax", {8: {"error_p2": path[:, -1], "error_p2_path": path}}))
    assert len(rows) == 3 + 6
    scalars = [row for row in rows if row["along"] is None]
    assert [(row["seed"], row["value"]) for row in scalars] == [(0, 2.0), (1, pytest.approx(np.nan, nan_ok=True)), (2, 6.0)]
    times = [(row["seed"], row["along"], row["value"]) for row in rows if row["quantity"] == "error_p2_path"]
    assert times[:3] == [(0, 0.5, 1.0), (0, 1.0, 2.0), (1, 0.5, 3.0)]
    assert {(row["claim"], row["case"], row["control"], row["backend"], row["width"]) for row in rows} == {
        ("hierarchy/truncation", "shuffled", "shuffled_top", "jax", 8)
    }


@pytest.mark.parametrize("shape", [(), (3, 5), (3, 2, 2)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shuffled: error_p2 has shape .* expected \(S,\) or \(S, 2\)"):
        list(quantity_rows(CELL, "jax", {8: {"error_p2": np.zeros(shape)}}))
