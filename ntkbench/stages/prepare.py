"""Stage 1: the data that all seeds and both backends share."""

from dataclasses import asdict
from pathlib import Path

from ntkbench.provenance import environment
from ntkbench.records import write_record
from ntkbench.stages.cell import Cell


def prepare(cell: Cell, output: Path) -> None:
    """Write the inputs of a cell: x, y, x_test, y_test.

    Parameters are not stored: each seed's are a function of the study's seed and the network's shapes
    (`FullyConnected.initialize`), so that the seed in the record's facts determines them for both backends.

    Raises:
        ValueError: if the data source cannot give what the case asks for.
        RecordError: if the output cannot be written.
    """
    data = cell.claim.prepare(cell.case, cell.root)
    facts = {
        **cell.identity_of_inputs(),
        "root": cell.root,
        "parameters": cell.case.as_dict(),
        "environment": environment(),
    }
    write_record(output, asdict(data), facts)
