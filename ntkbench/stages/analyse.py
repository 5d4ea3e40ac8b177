"""Stage 4: from the measurements of a claim to its quantities and verdicts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench.crosscheck import within
from ntkbench.records import MEND, RecordError, read_rows, write_table
from ntkbench.seeding import rng
from ntkbench.stages.cell import Cell
from ntkbench.verdicts.decide import decide

Summaries = dict[int, dict[str, np.ndarray]]
"""Width -> quantity -> (S,) or (S, T)."""


def analyse(
    cells: Sequence[Cell],
    inputs: Sequence[Path],
    measurements: Mapping[str, Sequence[Path]],
    crosschecks: Sequence[Path],
    quantities: Path,
    judgements: Path,
) -> None:
    """Summarize and judge every case of one claim.

    Args:
        cells: the cases of the claim.
        inputs: the record of each cell's inputs, in the order of `cells`.
        measurements: backend -> the record of each cell, in the order of `cells`.
        crosschecks: the csv of each cell, in the order of `cells`.
        quantities, judgements: the csv files to write.

    Raises:
        RecordError: if a file is missing, damaged or foreign, or an output cannot be written; also if a cross-check speaks of
            another claim or case, not of just the observables that were measured, or contradicts its own numbers.
    """
    records = [cell.read_inputs(path)[1] for cell, path in zip(cells, inputs, strict=True)]
    judged: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    observables: dict[str, set[str]] = {cell.name: set() for cell in cells}
    for backend, paths in measurements.items():
        judged[backend] = {}
        for cell, record, path in zip(cells, records, paths, strict=True):
            measured, _ = cell.read_measurement(backend, record, path)
            observables[cell.name] |= {name for arrays in measured.values() for name in arrays}
            summaries = {width: cell.claim.summarize(cell.case, arrays, width) for width, arrays in measured.items()}
            judged[backend][cell.name] = (cell.case, summaries)
            rows += quantity_rows(cell, backend, summaries)
    agreed = {cell.name: agreement(cell, observables[cell.name], path) for cell, path in zip(cells, crosschecks, strict=True)}
    verdicts = decide(cells[0].claim, judged, agreed, partial(rng, cells[0].root))
    write_table(quantities, "quantities", rows)
    write_table(judgements, "verdicts", (asdict(row) for row in verdicts))


def agreement(cell: Cell, observables: Collection[str], path: Path) -> bool:
    """Whether the backends agree in every observable of a cell, by its cross-check.

    A csv carries no hash as a record does, and one that is cut between two lines reads well: it is held against the
    measurement instead.

    Args:
        observables: the names that were measured.
        path: the csv of the cell.

    Raises:
        RecordError: if the file is missing, damaged or foreign: rows of another claim or case, not one row for each
            observable, or an `agrees` that is not what `max_rel` and `allowed` say.
    """
    rows = read_rows(path, "crosscheck")
    for row in rows:
        if (row["claim"], row["case"]) != (cell.claim.id, cell.name):
            place = f"{cell.claim.id} {cell.name}"
            raise RecordError(f"{path} is foreign: it has a row of {row['claim']} {row['case']}, expected {place}; {MEND}")
    compared = sorted(row["quantity"] for row in rows)
    if compared != sorted(observables):
        named = ", ".join(compared) or "nothing"
        raise RecordError(f"{path} is damaged: it compares {named}, measured were {', '.join(sorted(observables))}; {MEND}")
    for row in rows:
        if row["agrees"] != within(row["max_rel"], row["allowed"]):
            numbers = f"max_rel {row['max_rel']:.3g} and allowed {row['allowed']:.3g}"
            raise RecordError(f"{path} is damaged: {row['quantity']} has agrees {row['agrees']} with {numbers}; {MEND}")
    return all(row["agrees"] for row in rows)


def quantity_rows(cell: Cell, backend: str, summaries: Summaries) -> Iterator[dict[str, Any]]:
    """Tidy rows, one per seed and, for quantities of shape (S, T), per place on the claim's axis.

    Raises:
        ValueError: for a quantity of another shape.
    """
    places = cell.claim.along(cell.case)
    for width, summary in summaries.items():
        for quantity, values in summary.items():
            if values.shape[1:] not in ((), (len(places),)) or values.ndim == 0:
                raise ValueError(
                    f"{cell.claim.id} {cell.name}: {quantity} has shape {values.shape}; expected (S,) or (S, {len(places)})"
                )
            for seed, of_seed in enumerate(values):
                for place, value in zip(places, of_seed, strict=True) if values.ndim == 2 else [(None, of_seed)]:
                    yield {
                        "claim": cell.claim.id,
                        "case": cell.name,
                        "control": cell.case.control,
                        "backend": backend,
                        "quantity": quantity,
                        "width": width,
                        "along": place,
                        "seed": seed,
                        "value": value,
                    }
