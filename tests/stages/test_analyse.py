"""What a claim's analysis takes from the cross-checks, and which of them it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ntkbench.records import RecordError, flatten, read_rows, write_record, write_table
from ntkbench.stages.analyse import analyse
from ntkbench.stages.cell import Cell
from ntkbench.stages.crosscheck import crosscheck
from ntkbench.stages.prepare import prepare
from tests.workflow.stub_claim import Stub, StubCase


class Pair(Stub):
    """A claim that has two observables and costs nothing."""

    id: ClassVar = "convergence/initialization"

    def summarize(self, case: StubCase, arrays: Mapping[str, np.ndarray], width: int) -> dict[str, np.ndarray]:
        return {"number": arrays["number"]}


def cell(name: str, **fields: Any) -> Cell:
    plain = {"dataset": "sphere", "train_size": 3, "input_dim": 4, "activation": "tanh", "depth": 1, "seeds": 8}
    return Cell(Pair(), name, StubCase(**plain, widths=(16, 32, 64), **fields), 1, "cpu", "float64")


CELLS = (cell("plain"), cell("flat", control="flat"))


@dataclass(frozen=True)
class Study:
    """The files of two cells; in `diverged` the observable that comes first in the cross-check is not finite."""

    root: Path
    diverged: str = ""

    def crosscheck(self, name: str) -> Path:
        return self.root / "crosscheck" / f"{name}.csv"

    def make(self) -> "Study":
        for of in CELLS:
            prepare([of], [self.root / f"{of.name}.npz"])
            _, inputs = of.read_inputs(self.root / f"{of.name}.npz")
            draws = np.random.default_rng(of.name == "flat").standard_normal((3, of.case.seeds))
            power = 0 if of.case.control else -1
            number = {w: np.exp(0.05 * z) * float(w) ** power for w, z in zip(of.case.widths, draws, strict=True)}
            first = np.full(of.case.seeds, np.nan if of.name == self.diverged else 1.0)
            arrays = flatten({w: {"first": first, "number": samples} for w, samples in number.items()})
            for backend in ("torch", "jax"):
                facts = of.identity_of_measurement(backend, inputs) | {"backend_facts": {"device": "cpu"}}
                write_record(self.root / f"{of.name}-{backend}.npz", arrays, facts)
            measured = {backend: [self.root / f"{of.name}-{backend}.npz"] for backend in ("torch", "jax")}
            crosscheck([of], [self.root / f"{of.name}.npz"], measured, [self.crosscheck(of.name)])
        return self

    def judged(self) -> list[dict[str, Any]]:
        names = [of.name for of in CELLS]
        analyse(
            CELLS,
            [self.root / f"{name}.npz" for name in names],
            {backend: [self.root / f"{name}-{backend}.npz" for name in names] for backend in ("torch", "jax")},
            [self.crosscheck(name) for name in names],
            self.root / "quantities.csv",
            self.root / "judgements.csv",
        )
        return read_rows(self.root / "judgements.csv", "verdicts")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path).make()


def test_backends_that_agree_give_a_verdict(study: Study) -> None:
    rows = study.judged()
    assert [(row["backend"], row["case"], row["verdict"]) for row in rows] == [
        ("torch", "plain", "supported"),
        ("jax", "plain", "supported"),
    ]


@pytest.mark.parametrize("name", ["plain", "flat"])
def test_one_observable_that_does_not_agree_is_enough(tmp_path: Path, name: str) -> None:
    study = Study(tmp_path, diverged=name).make()
    agrees = [(row["quantity"], row["agrees"]) for row in read_rows(study.crosscheck(name), "crosscheck")]
    assert agrees == [("first", False), ("number", True)]
    for row in study.judged():
        assert row["verdict"] == "invalid"
        assert f"the cross-check of {name} failed" in row["reason"]


HEADER = "claim,case,quantity,max_abs,max_rel,allowed,agrees\n"
FIRST = "convergence/initialization,plain,first,0.0,0.0,1e-10,True\n"
NUMBER = "convergence/initialization,plain,number,0.0,0.0,1e-10,True\n"


def test_the_cross_check_is_as_the_tests_below_write_it(study: Study) -> None:
    assert study.crosscheck("plain").read_text() == HEADER + FIRST + NUMBER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "is damaged: it compares nothing, measured were first, number"),
        (HEADER + FIRST, "is damaged: it compares first, measured were first, number"),
        (HEADER + FIRST + FIRST, "is damaged: it compares first, first, measured were first, number"),
        (HEADER + FIRST + NUMBER + NUMBER, "is damaged: it compares first, number, number, measured were first, number"),
        (HEADER + FIRST + NUMBER.replace("number", "other"), "is damaged: it compares first, other, measured were"),
        (HEADER + FIRST + NUMBER.replace("plain", "flat"), "is foreign: it has a row of convergence/initialization flat, exp"),
        (
            HEADER + FIRST + NUMBER.replace("initialization", "other"),
            "is foreign: it has a row of convergence/other plain, exp",
        ),
        (
            HEADER + FIRST + NUMBER.replace("True", "False"),
            "is damaged: number has agrees False with max_rel 0 and allowed 1e-10",
        ),
        (
            HEADER + FIRST.replace("0.0,1e-10", "2e-10,1e-10") + NUMBER,
            "is damaged: first has agrees True with max_rel 2e-10 and",
        ),
        (HEADER + FIRST.replace("0.0,1e-10", ",1e-10") + NUMBER, "is damaged: first has agrees True with max_rel nan and"),
        (HEADER + FIRST.replace("1e-10", "inf") + NUMBER, "is damaged: first has agrees True with max_rel 0 and allowed inf"),
        (HEADER + FIRST + NUMBER[:-1], "is truncated"),
    ],
)
def test_a_damaged_or_foreign_cross_check_is_refused_by_name(study: Study, text: str, message: str) -> None:
    study.crosscheck("plain").write_text(text)
    with pytest.raises(RecordError) as caught:
        study.judged()
    assert f"{study.crosscheck('plain')} {message}" in str(caught.value)
    assert str(caught.value).endswith("; delete it and run again")
    assert not (study.root / "judgements.csv").exists()


def test_cross_checks_in_each_others_place_are_refused(study: Study) -> None:
    plain, flat = (study.crosscheck(name).read_text() for name in ("plain", "flat"))
    study.crosscheck("plain").write_text(flat)
    study.crosscheck("flat").write_text(plain)
    with pytest.raises(RecordError, match=r"plain\.csv is foreign"):
        study.judged()


def test_a_cross_check_that_failed_and_says_so_is_read(study: Study) -> None:
    write_table(study.crosscheck("plain"), "crosscheck", [
        {**row, "max_rel": 1e-9, "agrees": False} for row in read_rows(study.crosscheck("plain"), "crosscheck")
    ])  # fmt: skip
    assert {row["verdict"] for row in study.judged()} == {"invalid"}
