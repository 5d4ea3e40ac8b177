"""Tidy tables as `.csv`: which there are, their columns, and how they are written and read.

A table appears whole or not at all, and what is read is held against its columns' kinds and against its note, if it has one.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ntkbench.files import MEND, RecordError, read_whole, write_bytes
from ntkbench.verdicts.expectations import Verdict

if TYPE_CHECKING:  # reading rows needs no pandas
    import pandas as pd

COLUMNS: dict[str, dict[str, str]] = {
    "quantities": {
        "claim": "str",
        "case": "str",
        "control": "str",
        "backend": "str",
        "quantity": "str",
        "width": "int",
        "along": "float",
        "seed": "int",
        "value": "float",
    },
    "verdicts": {
        "claim": "str",
        "expectation": "str",
        "kind": "str",
        "source": "str",
        "backend": "str",
        "expected": "str",
        "estimate": "float",
        "ci_low": "float",
        "ci_high": "float",
        "verdict": "verdict",
        "control": "str",
        "seeds": "str",
        "range": "str",
        "case": "str",
        "margin": "float",
        "p_value": "float",
        "reason": "str",
    },
    "crosscheck": {
        "claim": "str",
        "case": "str",
        "quantity": "str",
        "max_abs": "float",
        "max_rel": "float",
        "allowed": "float",
        "agrees": "bool",
    },
    "measurements": {
        "claim": "str",
        "case": "str",
        "backend": "str",
        "content": "str",
        "arrays": "str",
        "bytes": "int",
        "code": "str",
        "inputs": "str",
    },
    "performance": {
        "curve": "str",
        "quantity": "str",
        "backend": "str",
        "axis": "str",
        "size": "int",
        "points": "int",
        "width": "int",
        "depth": "int",
        "outputs": "int",
        "order": "int",
        "input_dim": "int",
        "activation": "str",
        "precision": "str",
        "device": "str",
        "threads": "int",
        "rounds": "int",
        "seconds": "float",
        "roofline_seconds": "float",
        "ratio": "float",
        "first_seconds": "float",
        "flops": "float",
        "peak_bytes": "float",
    },
    "scaling": {
        "curve": "str",
        "quantity": "str",
        "order": "int",
        "backend": "str",
        "axis": "str",
        "measure": "str",
        "smallest": "int",
        "largest": "int",
        "exponent": "float",
        "ci_low": "float",
        "ci_high": "float",
        "theory_low": "int",
        "theory_high": "int",
    },
    "history": {
        "published": "str",
        "commit": "str",
        "results_version": "str",
        "claim": "str",
        "expectation": "str",
        **dict.fromkeys(get_args(Verdict), "int"),
    },
}
"""Columns of the tables, in order, and the kind of value in each (`verdict`: a `Verdict`). An empty number is missing (NaN)."""


def write_table(path: Path, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as the csv called `table` in `COLUMNS`, atomically; floats keep every digit.

    Raises:
        ValueError: if a row's keys are not the table's columns.
        RecordError: as `files.write_bytes`.
    """
    columns = COLUMNS[table]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(f"a row of {table} has the columns {sorted(row)}, expected {sorted(columns)}")
        writer.writerow([_cell(row[name]) for name in columns])
    write_bytes(path, text.getvalue().encode())


def read_rows(path: Path, table: str) -> list[dict[str, Any]]:
    """Read a csv that `write_table` wrote, one dictionary per row, with values of the columns' kinds.

    Raises:
        RecordError: if the file is missing, unreadable, truncated, or has other columns or kinds of values.
    """
    try:
        text = read_whole(path).decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is damaged: it is not text ({error}); {MEND}") from error
    columns = COLUMNS[table]
    header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    if header != list(columns):
        raise RecordError(f"{path} has the columns {', '.join(header)}; expected {', '.join(columns)}; {MEND}")
    if not text.endswith("\n") or any(len(line) != len(columns) for line in lines):
        raise RecordError(f"{path} is truncated; {MEND}")
    try:
        return [{name: _parse(columns[name], text) for name, text in zip(columns, line, strict=True)} for line in lines]
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}; {MEND}") from error


def read_table(path: Path, table: str) -> "pd.DataFrame":
    """As `read_rows`, as a data frame: text and verdicts as str, numbers as float64 or int64, `agrees` as bool."""
    import pandas as pd

    rows = read_rows(path, table)
    dtypes = {"str": "str", "verdict": "str", "int": "int64", "float": "float64", "bool": "bool"}
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=dtypes[kind]) for name, kind in COLUMNS[table].items()}
    )


def _cell(value: Any) -> str:
    """Text of one value; None and NaN are empty."""
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def _parse(kind: str, text: str) -> Any:
    if kind == "str":
        return text
    if kind == "verdict":
        if text not in get_args(Verdict):
            raise ValueError(f"{text!r} is not {' or '.join(get_args(Verdict))}")
        return text
    if kind == "bool":
        if text not in ("True", "False"):
            raise ValueError(f"{text!r} is not True or False")
        return text == "True"
    if kind == "int":
        return int(text)
    return float(text) if text else float("nan")
