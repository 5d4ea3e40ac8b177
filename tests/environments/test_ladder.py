"""The cross-check's tolerances follow from what was measured, by the rule that `ladder` states."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ntkbench.crosscheck import CEILING, TOLERANCES, compare
from tests.environments import deviations, ladder

FOUND = ladder.measured()
PAGE = ladder.ROOT / "docs" / "gpu.md"


@pytest.mark.parametrize("pair", sorted(FOUND))
def test_every_rung_is_what_the_rule_gives(pair: tuple[str, str]) -> None:
    assert TOLERANCES[pair] == pytest.approx(ladder.rung(FOUND[pair], pair))


@pytest.mark.parametrize("pair", sorted(FOUND))
def test_what_does_not_agree_is_what_is_listed(pair: tuple[str, str]) -> None:
    off = {one.place for one in FOUND[pair] if not one.max_rel <= min(TOLERANCES[pair] * one.growth, CEILING)}
    assert off == set(ladder.UNFIT.get(pair, ()))


def test_the_cpu_is_measured_in_both_precisions_and_a_gpu_in_double() -> None:
    assert {("float64", "cpu"), ("float64", "cuda"), ("float32", "cpu")} <= set(FOUND)
    assert all(len(rows) > 200 for rows in FOUND.values())


def test_a_worse_deviation_would_move_the_rung() -> None:
    pair = ("float64", "cpu")
    least = ladder.worst(FOUND[pair], pair)
    assert ladder.rung([*FOUND[pair], replace(least, max_rel=10 * least.max_rel)], pair) == pytest.approx(10 * TOLERANCES[pair])
    mild = [one for one in FOUND[pair] if one.need < 1e-12]
    assert ladder.rung(mild, pair) < TOLERANCES[pair]


def test_a_pair_that_nobody_measured_is_told_and_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ladder, "FOLDER", tmp_path)
    rows = [line for line in ladder.table().splitlines() if "not measured" in line]
    assert [row.split(" | ")[:2] for row in rows] == [["| float32", "cpu"], ["| float32", "cuda"]]


def test_the_page_has_the_table() -> None:
    assert ladder.table() in PAGE.read_text(encoding="utf-8"), "python -m tests.environments.ladder prints it"


@pytest.mark.parametrize("growth", [1e4, 1e7])
@pytest.mark.parametrize("wrong", [lambda f: -f, lambda f: np.zeros_like(f), lambda f: f[::-1]])
def test_no_growth_lets_a_wrong_array_pass_in_single_precision(growth: float, wrong: object) -> None:
    right = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    measured = {16: {"f": right}}, {16: {"f": wrong(right)}}  # type: ignore[operator]
    (row,) = compare(*measured, {"f": growth}, "float32", "cpu", claim="c", case="d")
    assert row.allowed == CEILING
    assert not row.agrees


def test_what_cannot_be_measured_is_told_with_its_reason(tmp_path: Path) -> None:
    (cell, *_) = deviations.cells("cpu", "float32")
    for backend in ("torch", "jax"):
        stem = tmp_path / f"{str(cell).replace('/', '_').replace(' ', '-')}-{backend}"
        np.savez(stem.with_suffix(".npz"), **{"16/K2": np.ones((2, 2), np.float32 if backend == "torch" else np.float64)})
    rows, reason = deviations.compared(cell, tmp_path)
    assert (rows, "K2 at width 16 is float32 in one measurement" in reason) == ([], True)
    stem.with_suffix(".txt").write_text("jax: singular")
    assert deviations.compared(cell, tmp_path) == ([], "jax: singular")
