"""Made again: what the records of a claim give when they are reduced once more, and whether a file says the same."""

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ntkbench import tables
from ntkbench.crosscheck import StructureMismatch, compare, device_of
from ntkbench.facts import settings
from ntkbench.files import MEND, RecordError
from ntkbench.records import Measurement, Record, read_record, unflatten
from ntkbench.seeding import rng
from ntkbench.stages.analyse import Summaries, quantity_rows
from ntkbench.stages.cell import Cell
from ntkbench.trace.run import Run
from ntkbench.units import counted
from ntkbench.verdicts.decide import decide

ROUNDING = 1e-9
"""Relative; what another machine or other versions may change in a number that is made again."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a check found: `differs` may have its cause further up, `damaged` is the file's own fault."""

    kind: Literal["same", "differs", "damaged"]
    text: str

    @classmethod
    def of(cls, same: bool, told: str, otherwise: str) -> "Finding":
        """Of one comparison, in words for either outcome."""
        return cls("same", told) if same else cls("differs", otherwise)


@dataclass
class Evidence:
    """A claim's records, verified, and what they are reduced to.

    Attributes:
        cells: the claim's cases.
        inputs: case -> its record; measured: (case, backend) -> the facts of its record. Those that can be used.
        summaries: (case, backend) -> width -> quantity -> values.
        checks: case -> the rows of its cross-check, made again.
        faults: file -> what is wrong with it.
    """

    cells: Sequence[Cell]
    inputs: dict[str, Record] = field(default_factory=dict)
    measured: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    summaries: dict[tuple[str, str], Summaries] = field(default_factory=dict)
    checks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)


def gather(run: Run, claim: str, strict: bool) -> Evidence:
    """Read every record of a claim, one case at a time, and reduce it.

    Args:
        strict: whether data that are drawn again must be equal, or may differ by rounding.
    """
    found = Evidence(run.cells(claim))
    for cell in found.cells:
        path = run.inputs(cell)
        try:
            found.inputs[cell.name] = _read_inputs(path, cell)
        except RecordError as error:
            found.faults[path] = str(error)
            continue
        if fault := _drawn_otherwise(cell, found.inputs[cell.name], strict):
            found.faults[path] = f"{path} is foreign: {fault}"
        _measurements(run, cell, found)
    return found


def _measurements(run: Run, cell: Cell, found: Evidence) -> None:
    arrays: dict[str, Measurement] = {}
    for backend in run.study.backends:
        path = run.measurement(cell, backend)
        try:
            record = _read_measurement(path, cell, backend, found.inputs[cell.name])
        except RecordError as error:
            found.faults[path] = str(error)
            continue
        arrays[backend] = unflatten(record.arrays)
        found.measured[cell.name, backend] = record.facts
        found.summaries[cell.name, backend] = {
            width: cell.claim.summarize(cell.case, of_width, width) for width, of_width in arrays[backend].items()
        }
    if len(arrays) == len(run.study.backends):
        device = device_of(*(found.measured[cell.name, backend]["backend_facts"] for backend in arrays))
        first, second = arrays.values()
        try:
            rows = compare(first, second, cell.claim.growth, cell.precision, device, claim=cell.claim.id, case=cell.name)
        except StructureMismatch as error:
            found.faults[run.crosscheck(cell)] = str(error)
        else:
            found.checks[cell.name] = [asdict(row) for row in rows]


def _read_inputs(path: Path, cell: Cell) -> Record:
    """The record of the data of this case and of these settings; of which code it is, the trace says apart.

    Its hash of the settings is over every field of the case. A field that the case has got since had its default then.
    """
    wanted = cell.identity_of_inputs()
    record = read_record(path, {name: wanted[name] for name in ("kind", "claim", "case")})
    if record.facts["config"] != wanted["config"] and not _same_but_for_new_fields(cell, record.facts):
        raise _other_settings(path, record, wanted)
    return record


def _read_measurement(path: Path, cell: Cell, backend: str, inputs: Record) -> Record:
    """The record of a measurement from these inputs, whose settings are its own."""
    wanted = cell.identity_of_measurement(backend, inputs)
    record = read_record(path, {name: wanted[name] for name in ("kind", "claim", "case", "backend", "inputs")})
    if record.facts["config"] != wanted["config"]:
        new_fields = inputs.facts["config"] != cell.identity_of_inputs()["config"]
        if not new_fields or record.facts["backend_facts"]["precision"] != cell.precision:
            raise _other_settings(path, record, wanted)
    return record


def _other_settings(path: Path, record: Record, wanted: Mapping[str, Any]) -> RecordError:
    return RecordError(f"{path} is foreign: its config is {record.facts['config']!r}, expected {wanted['config']!r}; {MEND}")


def _same_but_for_new_fields(cell: Cell, facts: Mapping[str, Any]) -> bool:
    recorded, here = (settings(cell.claim.case_type, of) for of in (facts["parameters"], cell.case.as_dict()))
    return facts["root"] == cell.root and recorded == here


def _drawn_otherwise(cell: Cell, record: Record, strict: bool) -> str:
    """What is wrong with a case's data, drawn again from the study's seed; nothing where they are the same."""
    again = asdict(cell.claim.prepare(cell.case, cell.root))
    near = 0.0 if strict else ROUNDING
    other = [name for name, array in again.items() if not _close(record.arrays.get(name), np.asarray(array), near)]
    return f"its {', '.join(other)} are not what the seed {cell.root} gives when they are drawn again" if other else ""


def _close(recorded: np.ndarray | None, again: np.ndarray, near: float) -> bool:
    return recorded is not None and recorded.shape == again.shape and np.allclose(recorded, again, rtol=near, atol=near)


def quantities(run: Run, found: Evidence) -> list[dict[str, Any]]:
    """The rows of the claim's quantities; without those of records that cannot be used."""
    return [
        row
        for backend in run.study.backends
        for cell in found.cells
        for row in quantity_rows(cell, backend, found.summaries.get((cell.name, backend), {}))
    ]


def verdicts(run: Run, found: Evidence) -> list[dict[str, Any]]:
    """The rows of the claim's verdicts, decided again; a case whose records cannot be used is left out."""
    agreed = {name: all(row["agrees"] for row in rows) for name, rows in found.checks.items()}
    judged = {
        backend: {
            cell.name: (cell.case, found.summaries[cell.name, backend])
            for cell in found.cells
            if (cell.name, backend) in found.summaries
        }
        for backend in run.study.backends
    }
    first = found.cells[0]
    return [asdict(row) for row in decide(first.claim, judged, agreed, partial(rng, first.root))]


def against(path: Path, table: str, rows: Iterable[Row], strict: bool) -> Finding:
    """Whether a csv holds just these rows: byte for byte, or (not `strict`) its numbers to rounding."""
    try:
        there = tables.read_rows(path, table)
        payload = path.read_bytes()
    except RecordError as error:
        return Finding("damaged", str(error))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        tables.write_table(made, table, rows)
        if made.read_bytes() == payload:
            return Finding("same", f"{counted(len(there), 'row')}, made again byte for byte")
        return same_rows(there, tables.read_rows(made, table), strict)


def same_rows(there: Sequence[Row], again: Sequence[Row], strict: bool) -> Finding:
    """Whether two lists of rows say the same, or where they first differ."""
    if len(there) != len(again):
        return Finding("differs", f"it has {counted(len(there), 'row')}, made again {len(again)}")
    worst = 0.0
    for k, (one, other) in enumerate(zip(there, again, strict=True)):
        for name in one:
            distance = _distance(one[name], other[name])
            if distance > (0.0 if strict else ROUNDING):
                return Finding("differs", f"row {k + 2} has {name} {one[name]}, made again {other[name]}")
            worst = max(worst, distance)
    return Finding("same", f"{counted(len(there), 'row')}, " + (f"made again to {worst:.1g}" if worst else "made again, equal"))


def _distance(one: Any, other: Any) -> float:
    """Relative, 0 for equal values of any kind (missing ones too), infinite for values that differ and are no numbers."""
    if one == other or (one != one and other != other):
        return 0.0
    if not (isinstance(one, float) and isinstance(other, float) and math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other))
