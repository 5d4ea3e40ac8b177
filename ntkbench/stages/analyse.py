"""Stage 4: from the measurements of a claim to its quantities and verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench import lineage
from ntkbench.seeding import rng
from ntkbench.stages.cell import Cell
from ntkbench.tables import read_rows, write_table
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
        RecordError: if a file is missing, damaged or foreign, or an output cannot be written.
    """
    records = [cell.read_inputs(path)[1] for cell, path in zip(cells, inputs, strict=True)]
    judged: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for backend, paths in measurements.items():
        judged[backend] = {}
        for cell, record, path in zip(cells, records, paths, strict=True):
            measured, _ = cell.read_measurement(backend, record, path)
            summaries = {width: cell.claim.summarize(cell.case, arrays, width) for width, arrays in measured.items()}
            judged[backend][cell.name] = (cell.case, summaries)
            rows += quantity_rows(cell, backend, summaries)
    known: dict[Path, str] = {}
    compared = [read_rows(lineage.check(path, known), "crosscheck") for path in crosschecks]
    agreed = {cell.name: all(row["agrees"] for row in of) for cell, of in zip(cells, compared, strict=True)}
    verdicts = decide(cells[0].claim, judged, agreed, partial(rng, cells[0].root))
    write_table(quantities, "quantities", rows)
    write_table(judgements, "verdicts", (asdict(row) for row in verdicts))
    sources = [*(path for paths in measurements.values() for path in paths), *crosschecks]
    for output in (quantities, judgements):
        lineage.note(output, "analyse", sources, cells[0].claim.id)


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
