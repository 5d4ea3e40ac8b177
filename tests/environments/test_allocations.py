"""A study goes on where an allocation ended: a width is measured once, however often its job is cut, on one kind of device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.backends.torch.backend import TorchBackend
from ntkbench.claims import Case, Claim
from ntkbench.claims.base import Arrays
from ntkbench.data import Dataset
from ntkbench.records import read_record
from ntkbench.stages.cell import Cell
from ntkbench.stages.measure import measure
from ntkbench.stages.prepare import prepare
from tests.tiny import TINY

WIDTHS = (8, 16, 32)


class Ended(BaseException):
    """Stands for what ends a process without asking the code in it."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """`begun`: the widths whose measurement began, in order; `cut`: those in whose midst the allocation ends, each once."""
    told: dict[str, list[Any]] = {"begun": [], "cut": []}

    def measured(self: Claim, backend: Backend, case: Case, data: Dataset, width: int, root: int) -> Arrays:
        told["begun"].append(width)
        if width in told["cut"]:
            told["cut"].remove(width)
            raise Ended
        return {"number": np.array([width + 1 / 3])}

    monkeypatch.setattr(type(cell().claim), "measure", measured)
    return told


def cell() -> Cell:
    section = TINY["claims"]["hierarchy/truncation"]
    return Cell.make("hierarchy/truncation", "plain", section["defaults"] | {"widths": list(WIDTHS)}, 1, "cpu", "float64")


def allocate(folder: Path) -> None:
    """One allocation: what the job of a case does, from its start."""
    measure([cell()], "torch", 1, 2**30, [folder / "inputs.npz"], [folder / "torch.npz"])


def test_every_allocation_goes_on_with_the_width_that_the_last_one_was_in(tmp_path: Path, calls: dict[str, list[Any]]) -> None:
    prepare([cell()], [tmp_path / "inputs.npz"])
    calls["cut"] = [16, 32]
    for _ in range(2):
        with pytest.raises(Ended):
            allocate(tmp_path)
        assert not (tmp_path / "torch.npz").exists()
    allocate(tmp_path)
    assert calls["begun"] == [8, 16, 16, 32, 32]
    assert not (tmp_path / "torch.parts").exists()
    uninterrupted = tmp_path / "whole"
    prepare([cell()], [uninterrupted / "inputs.npz"])
    allocate(uninterrupted)
    one, two = (read_record(folder / "torch.npz").arrays for folder in (tmp_path, uninterrupted))
    assert set(one) == {f"{width}/number" for width in WIDTHS}
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_another_kind_of_device_begins_anew(
    tmp_path: Path, calls: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Widths of one measurement are of one device: its last digits are its own."""
    prepare([cell()], [tmp_path / "inputs.npz"])
    calls["cut"] = [16]
    with pytest.raises(Ended):
        allocate(tmp_path)
    facts = TorchBackend.facts
    monkeypatch.setattr(TorchBackend, "facts", lambda self: {**facts(self), "device_name": "another GPU"})
    allocate(tmp_path)
    assert calls["begun"] == [8, 16, 8, 16, 32]
