"""Stage 1: the data that all seeds and both backends share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench.files import RecordError
from ntkbench.provenance import environment
from ntkbench.records import read_record, write_record
from ntkbench.stages.cell import Cell


def prepare(cells: Sequence[Cell], outputs: Sequence[Path]) -> None:
    """Write the inputs of each cell: x, y, x_test, y_test.

    Parameters are not stored: each seed's are a function of the study's seed and the network's shapes
    (`FullyConnected.initialize`), so that the seed in the record's facts determines them for both backends.
    A record that says the same already is left as it is: what was measured from it stays valid.

    Raises:
        ValueError: if the data source cannot give what a case asks for; the message names the case.
        RecordError: if an output cannot be written.
    """
    machine = environment()
    for cell, output in zip(cells, outputs, strict=True):
        try:
            arrays = asdict(cell.claim.prepare(cell.case, cell.root))
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
        if not _recorded(cell, arrays, output):
            facts = {"root": cell.root, "parameters": cell.case.as_dict(), "environment": machine}
            write_record(output, arrays, {**cell.identity_of_inputs(), **facts})


def _recorded(cell: Cell, arrays: Mapping[str, Any], path: Path) -> bool:
    try:
        record = read_record(path, cell.identity_of_inputs())
    except RecordError:
        return False
    return all(np.array_equal(record.arrays[name], array) for name, array in arrays.items())
