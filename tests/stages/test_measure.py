"""The forecast of a measurement's end, what cannot be measured, and which records of an earlier job still hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import Case, Claim
from ntkbench.claims.base import Arrays
from ntkbench.data import Dataset
from ntkbench.records import read_record, write_record
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


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths that were measured, in order; a measurement is what the width says, and needs no framework's mathematics."""
    widths: list[int] = []

    def measured(self: Claim, backend: Backend, case: Case, data: Dataset, width: int, root: int) -> Arrays:
        widths.append(width)
        return {"number": np.array([float(width)])}

    monkeypatch.setattr(type(cell().claim), "measure", measured)
    return widths


def cell(name: str = "plain", **changed: Any) -> Cell:
    section = TINY["claims"]["hierarchy/truncation"]
    return Cell.make("hierarchy/truncation", name, section["defaults"] | changed, 1, "cpu", "float64")


def run(folder: Path, *cells: Cell) -> None:
    inputs, outputs = ([folder / f"{of.name}.{kind}.npz" for of in cells] for kind in ("inputs", "torch"))
    prepare(cells, inputs)
    measure(cells, "torch", 1, 2**30, inputs, outputs)


def rewrite(path: Path, arrays: Mapping[str, np.ndarray] | None = None, **environment: Any) -> None:
    """The record with other arrays, or as if made in another environment."""
    record = read_record(path)
    facts = record.facts | {"environment": record.facts["environment"] | environment}
    write_record(path, record.arrays if arrays is None else arrays, facts)


def versions(path: Path) -> dict[str, str]:
    return dict(read_record(path).facts["environment"]["versions"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (np.linalg.LinAlgError("the kernel is not positive definite"), "the kernel is not positive definite"),
        (RuntimeError("out of memory"), "out of memory: take fewer --cores, a smaller memory_gib"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "DefaultCPUAllocator: can't allocate memory: take fewer"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 bytes"), "RESOURCE_EXHAUSTED: 9 bytes: take fewer --cores"),
        (MemoryError(), "MemoryError: take fewer --cores"),
    ],
)
def test_what_cannot_be_measured_is_named_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int], error: Exception, words: str
) -> None:
    measured = type(cell().claim).measure

    def fails(self: Claim, backend: Backend, case: Case, *arguments: Any) -> Arrays:
        if case.control:
            raise error
        return measured(self, backend, case, *arguments)

    monkeypatch.setattr(type(cell().claim), "measure", fails)
    with pytest.raises(MeasurementFailed, match=f"hierarchy/truncation shuffled torch, width 8: {words}"):
        run(tmp_path, cell("shuffled", control="shuffled_top"), cell())
    assert calls == [8, 16, 32]
    assert (tmp_path / "plain.torch.npz").exists()
    assert not (tmp_path / "shuffled.torch.npz").exists()


def test_a_measurement_is_kept_for_another_commit_and_not_for_other_versions(tmp_path: Path, calls: list[int]) -> None:
    run(tmp_path, cell())
    path = tmp_path / "plain.torch.npz"
    rewrite(path, commit="another")
    kept = path.read_bytes()
    run(tmp_path, cell())
    assert path.read_bytes() == kept
    assert len(calls) == 3
    now = versions(path)
    rewrite(path, versions=now | {"numpy": "0"})
    run(tmp_path, cell())
    assert len(calls) == 6
    assert versions(path) == now


def test_inputs_are_kept_for_another_commit_and_other_versions_and_not_for_other_arrays(tmp_path: Path) -> None:
    """They are drawn anew to compare them, so that versions which draw the same leave what was measured valid."""
    path = tmp_path / "inputs.npz"
    prepare([cell()], [path])
    drawn = read_record(path).arrays
    rewrite(path, commit="another", versions={"numpy": "0"})
    kept = path.read_bytes()
    prepare([cell()], [path])
    assert path.read_bytes() == kept
    rewrite(path, {**drawn, "y": drawn["y"] + 1})
    prepare([cell()], [path])
    assert np.array_equal(read_record(path).arrays["y"], drawn["y"])
    assert versions(path) != {"numpy": "0"}


def test_inputs_that_cannot_be_drawn_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> None:
        raise ValueError("the source has 2 points")

    monkeypatch.setattr(type(cell().claim), "prepare", missing)
    with pytest.raises(ValueError, match="hierarchy/truncation plain: the source has 2 points"):
        prepare([cell()], [tmp_path / "inputs.npz"])
