"""The table of ratios, from made-up runs; part of the ordinary tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.performance import ratios, rounds
from tests.performance.synthetic import entry, written


def test_ratios_compare_the_medians_of_rounds(tmp_path: Path) -> None:
    path = written(
        tmp_path / "run.json",
        entry([0.002, 0.002, 9.0], [0.001, 0.001, 0.5], [0.02], calls=5, peer_peak_mib=1234.0),
        entry([0.004], [0.002], framework="jax"),
        entry([0.003], [0.003], framework="jax", precision="float32", peak_mib=None),
    )
    single, jax, torch = ratios.rows(rounds.read(path).measured)
    assert torch[:7] == ("ntk", "n=2", "torch", "float64", "2", "2", "10")
    assert torch[7].startswith("2 (")
    assert torch[8:] == ("0.5", "1.5", "3", "1.23e+03")
    assert jax[6:9] == ("-", "2", "0.5")
    assert single[7:] == ("1", "-", "1.5", "-", "-")
    header, *lines = ratios.table(ratios.COLUMNS, [single, jax, torch]).splitlines()
    assert header.split("  ")[0] == "quantity"
    assert len(lines) == 3


def test_intervals_cover_the_true_ratio() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        above, below = 3 * draw.lognormal(sigma=0.1, size=15), draw.lognormal(sigma=0.1, size=15)
        low, high = ratios.ratio(above, below).split("(")[1].rstrip(")").split("..")
        covered += float(low) <= 3 <= float(high)
    assert 180 <= covered < 200


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ([], "no benchmarks"),
        ([entry([1.0], [1.0])] * 2, "twice"),
        ([entry([1.0], [1.0]), entry([1.0], [1.0], framework="jax", threads=2)], "mixes"),
        ([entry([1.0], [1.0]), entry([1.0], [1.0], framework="jax", device="cuda")], "mixes"),
    ],
)
def test_files_that_would_mislead_are_refused(tmp_path: Path, benchmarks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rounds.read(written(tmp_path / "run.json", *benchmarks))


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"rows": 1}'])
def test_a_file_that_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(ValueError, match=r"run\.json is missing: `make benchmark RUN_FILE="):
        rounds.read(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is no file of `make benchmark`"):
        rounds.read(path)
