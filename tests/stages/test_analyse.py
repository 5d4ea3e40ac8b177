"""What a claim's analysis takes from the cross-checks, and which of them it refuses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ntkbench.files import RecordError, note_of, read_note, write_note
from ntkbench.records import flatten, read_record, write_record
from ntkbench.stages.analyse import analyse
from ntkbench.stages.cell import Cell
from ntkbench.stages.crosscheck import crosscheck
from ntkbench.stages.prepare import prepare
from ntkbench.tables import read_rows, write_table
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
    "text",
    [
        HEADER,
        HEADER + FIRST,
        HEADER + FIRST + FIRST,
        HEADER + FIRST + NUMBER + NUMBER,
        HEADER + FIRST + NUMBER.replace("number", "other"),
        HEADER + FIRST + NUMBER.replace("plain", "flat"),
        HEADER + FIRST + NUMBER.replace("initialization", "other"),
        HEADER + FIRST + NUMBER.replace("True", "False"),
        HEADER + FIRST.replace("0.0,1e-10", "2e-10,1e-10") + NUMBER,
        HEADER + FIRST.replace("0.0,1e-10", ",1e-10") + NUMBER,
        HEADER + FIRST.replace("1e-10", "inf") + NUMBER,
        HEADER + FIRST + NUMBER[:-1],
    ],
)
def test_a_changed_cross_check_is_refused_by_name(study: Study, text: str) -> None:
    study.crosscheck("plain").write_text(text)
    refused(study, "plain.csv is damaged: its contents do not have the hash that plain.csv.provenance.json records")


def refused(study: Study, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        study.judged()
    assert message in str(caught.value)
    assert str(caught.value).endswith("; delete it and run again")
    assert not (study.root / "judgements.csv").exists()


def test_cross_checks_in_each_others_place_are_refused(study: Study) -> None:
    plain, flat = (study.crosscheck(name) for name in ("plain", "flat"))
    for one, other in ((plain, flat), (note_of(plain), note_of(flat))):
        kept = one.read_text()
        one.write_text(other.read_text())
        other.write_text(kept)
    refused(study, f"{plain} is foreign: it was written as {flat}")


def test_a_cross_check_of_other_measurements_is_refused(study: Study) -> None:
    record = read_record(study.root / "plain-jax.npz")
    write_record(study.root / "plain-jax.npz", record.arrays, record.facts | {"seconds": 2.0})
    refused(study, f"plain.csv is foreign: it was made from another {study.root / 'plain-jax.npz'} than is there")


def test_a_cross_check_that_failed_and_says_so_is_read(study: Study) -> None:
    of = read_note(study.crosscheck("plain"))
    write_table(study.crosscheck("plain"), "crosscheck", [
        {**row, "max_rel": 1e-9, "agrees": False} for row in read_rows(study.crosscheck("plain"), "crosscheck")
    ])  # fmt: skip
    write_note(
        study.crosscheck("plain"), **{name: value for name, value in asdict(of).items() if name not in ("sha256", "path")}
    )
    assert {row["verdict"] for row in study.judged()} == {"invalid"}
