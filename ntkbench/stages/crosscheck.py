"""Stage 3: one backend against the other, element by element."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ntkbench import lineage
from ntkbench.crosscheck import CrosscheckRow, StructureMismatch, compare, device_of
from ntkbench.stages.cell import Cell
from ntkbench.tables import write_table


class CrosscheckFailed(Exception):
    """The backends disagree; the message names observables, differences and where the evidence is kept."""


def crosscheck(
    cells: Sequence[Cell], inputs: Sequence[Path], measurements: Mapping[str, Sequence[Path]], outputs: Sequence[Path]
) -> None:
    """Compare the measurements of each cell, and write one row per observable.

    Args:
        cells: whose backends are compared.
        inputs: the record of each cell's inputs, in the order of `cells`.
        measurements: backend -> the record of each cell, in the order of `cells`; two backends.
        outputs: the csv of each cell, in the order of `cells`. Where the backends disagree it is kept as
            `<name>.failed.csv`, since the workflow removes the outputs of a failed job.

    Where training diverged alike in both backends nothing can be compared: such rows do not agree, which makes the verdicts
    invalid, but they are no disagreement.

    Raises:
        ValueError: unless there are two backends.
        RecordError: if a record is missing, damaged or foreign.
        CrosscheckFailed: if any observable of any cell disagrees; all cells have been compared.
    """
    if len(measurements) != 2:
        raise ValueError(f"a cross-check needs two backends, got {', '.join(measurements) or 'none'}")
    failures = []
    for index, (cell, source, output) in enumerate(zip(cells, inputs, outputs, strict=True)):
        try:
            _crosscheck_cell(cell, source, {backend: paths[index] for backend, paths in measurements.items()}, output)
        except CrosscheckFailed as error:
            failures.append(str(error))
    if failures:
        raise CrosscheckFailed("\n".join(failures))


def _crosscheck_cell(cell: Cell, inputs: Path, measurements: Mapping[str, Path], output: Path) -> None:
    _, record = cell.read_inputs(inputs)
    (first, first_record), (second, second_record) = (
        cell.read_measurement(backend, record, path) for backend, path in measurements.items()
    )
    device = device_of(first_record.facts["backend_facts"], second_record.facts["backend_facts"])
    try:
        rows = compare(first, second, cell.claim.growth, cell.precision, device, claim=cell.claim.id, case=cell.name)
    except StructureMismatch as error:
        raise CrosscheckFailed(str(error)) from error
    table = [asdict(row) for row in rows]
    failed = output.with_name(f"{output.stem}.failed.csv")
    if wrong := [row for row in rows if not row.agrees and not math.isnan(row.max_rel)]:
        write_table(failed, "crosscheck", table)
        raise CrosscheckFailed(_report(cell, list(measurements), wrong, failed))
    write_table(output, "crosscheck", table)
    lineage.note(output, "crosscheck", measurements.values(), cell.claim.id)
    failed.unlink(missing_ok=True)


def _report(cell: Cell, backends: list[str], wrong: Sequence[CrosscheckRow], kept: Path) -> str:
    lines = [f"{cell}: {' and '.join(backends)} disagree (all rows in {kept})"]
    lines += [f"  {row.quantity}: max_rel {row.max_rel:.3g}, allowed {row.allowed:.3g}" for row in wrong]
    return "\n".join(lines)
