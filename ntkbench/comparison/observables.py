"""What two runs measured from the same draws, element by element."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntkbench import claims
from ntkbench.comparison.levels import Level, Outcome
from ntkbench.comparison.runs import Cell, Run
from ntkbench.comparison.verdicts import NOT_HERE, NOT_THERE
from ntkbench.crosscheck import Measurement, StructureMismatch, compare, device_of
from ntkbench.facts import settings
from ntkbench.records import Record, read_facts, read_record, unflatten

STRUCTURE = "all observables"
"""The quantity of a row that speaks of a whole measurement."""
BOTH = "torch, jax"
"""The backend of a row that speaks of both."""


@dataclass(frozen=True)
class ComparedObservable:
    """One observable of one measurement against the same of a reference run, the worst over the widths.

    Attributes:
        max_rel: largest difference of two entries, relative to the observable's scale at its width.
        allowed: what torch and jax may differ by in it.
        level: how nearly the two agree; None where they are not compared.
        reason: why it differs or is not comparable, empty where it was reproduced.
    """

    claim: str
    case: str
    backend: str
    quantity: str
    max_rel: float
    allowed: float
    level: Level | None
    outcome: Outcome
    reason: str


def compare_observables(run: Run, reference: Run) -> Iterator[ComparedObservable]:
    """Compare every measurement that both runs keep, by the rule and the tolerances of the cross-check.

    An observable is *bitwise* the same if it has the same bytes at every width, and *within rounding* if it differs by no more
    than torch and jax may. Either reproduces it. One whose entries are not finite at the same places in both (training
    diverged) and that is not the same to the byte is *not comparable*. Measurements of cases with other settings *differ* in
    runs of one study, in others they are not comparable. A width, an observable or a seed that one run alone has makes the
    measurement *differ*.

    The runs must be of the same root and precision: from other draws nothing could be expected of single entries. Of one study,
    where both keep measurements, one that the reference alone has is *lost*, one that it lacks *not comparable*.

    Yields:
        Rows in the order of claims, cases, backends and observables.

    Raises:
        RecordError: if a record is missing, damaged, or of another case or backend than its place says.
    """
    known = set(claims.all_claims())
    lone = set(run.measurements) ^ set(reference.measurements)
    if run.study != reference.study or not run.measurements or not reference.measurements:
        lone = set()  # tables alone, or another question
    for cell in sorted(set(run.measurements) & set(reference.measurements) | lone):
        claim = cell[0]
        if cell in lone:
            missing = cell not in run.measurements
            yield _whole(cell, "lost" if missing else "not comparable", NOT_HERE if missing else NOT_THERE)
            continue
        if claim not in known:
            yield _whole(cell, "not comparable", "the claim is not known here, and with it the tolerances")
        elif other := _other_settings(run, reference, cell):
            yield _whole(cell, "differs" if run.asks_as(reference) else "not comparable", other)
        else:
            first, second = (_record(of.measurements[cell], cell) for of in (run, reference))
            yield from _compare_cell(cell, claims.get(claim).growth, first, second)


def disagreements(run: Run) -> Iterator[ComparedObservable]:
    """Observables in which the backends of this run do not agree: they *differ*, whatever the reference has."""
    for row in run.disagreements:
        why = f"the cross-check failed: torch and jax are {row['max_rel']:.2g} apart, rounding allows {row['allowed']:.2g}"
        place = (row["claim"], row["case"], BOTH, row["quantity"])
        yield ComparedObservable(*place, row["max_rel"], row["allowed"], Level.APART, "differs", why)


def _record(path: Path, cell: Cell) -> Record:
    claim, case, backend = cell
    return read_record(path, {"kind": "measurement", "claim": claim, "case": case, "backend": backend})


def _whole(cell: Cell, outcome: Outcome, reason: str) -> ComparedObservable:
    level = Level.APART if outcome == "differs" else None
    return ComparedObservable(*cell, STRUCTURE, math.nan, math.nan, level, outcome, reason)


def _other_settings(run: Run, reference: Run, cell: Cell) -> str:
    """What the cases do not have alike; a field that came into being between the runs had its default before."""
    case_type = claims.get(cell[0]).case_type
    here, there = (settings(case_type, read_facts(of.inputs(cell))["parameters"]) for of in (run, reference))
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return "; ".join(f"{name} is {here.get(name)} here, {there.get(name)} there" for name in names)


def _compare_cell(cell: Cell, growth: Mapping[str, float], mine: Record, theirs: Record) -> Iterator[ComparedObservable]:
    first, second = unflatten(mine.arrays), unflatten(theirs.arrays)
    settings = [record.facts["backend_facts"] for record in (mine, theirs)]
    device = device_of(*settings)
    try:
        rows = compare(first, second, growth, str(settings[0]["precision"]), device, claim=cell[0], case=cell[1])
    except StructureMismatch as error:
        yield _whole(cell, "differs", str(error).partition(": ")[2])
        return
    for row in rows:
        level: Level | None = Level.APART
        outcome: Outcome = "reproduced"
        reason = ""
        if _same_bytes(first, second, row.quantity):
            level = Level.BITWISE
        elif row.agrees:
            level = Level.ROUNDING
        elif math.isnan(row.max_rel):
            level, outcome, reason = None, "not comparable", "not finite in both, at the same places"
        else:
            outcome, reason = "differs", f"it is off by {row.max_rel:.2g} of its scale, rounding allows {row.allowed:.2g}"
        yield ComparedObservable(*cell, row.quantity, row.max_rel, row.allowed, level, outcome, reason)


def _same_bytes(first: Measurement, second: Measurement, name: str) -> bool:
    """Whether an observable is the same to the byte at all widths; the signs of zeros and NaN count."""
    pairs = [(first[width][name], second[width][name]) for width in first if name in first[width]]
    return all(np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)) for a, b in pairs)
