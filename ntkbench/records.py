"""Files that the workflow leaves behind: measurements as `.npz`, tidy tables as `.csv`, facts as `.json`.

Every file appears whole or not at all, and what is read is checked before it is used. The mend of a bad file is always
the same: delete it and run again.
"""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

import numpy as np

from ntkbench.files import MEND, RecordError, read_bytes, read_json, read_whole, write_bytes, write_json
from ntkbench.verdicts.expectations import Verdict

if TYPE_CHECKING:  # measuring needs no pandas, so a GPU machine may lack it
    import pandas as pd

__all__ = [
    "COLUMNS",
    "MEND",
    "Measurement",
    "Record",
    "RecordError",
    "flatten",
    "read_facts",
    "read_json",
    "read_record",
    "read_rows",
    "read_table",
    "unflatten",
    "write_bytes",
    "write_json",
    "write_record",
    "write_table",
]

Measurement = dict[int, dict[str, np.ndarray]]
"""Width -> observable -> array."""

PROVENANCE = "provenance"

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


@dataclass(frozen=True)
class Record:
    """What one `.npz` holds.

    Attributes:
        arrays: by name.
        facts: the provenance, plain JSON values; `content` is the SHA-256 of everything else.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    @property
    def content(self) -> str:
        """SHA-256 over arrays and facts."""
        return str(self.facts["content"])


def write_record(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write arrays and their provenance, atomically.

    Non-finite values are data (a run may diverge); how many there are is added to the facts as `nonfinite`.

    Raises:
        RecordError: as `files.write_bytes`.
        ValueError: for an array of Python objects, or facts that are no JSON.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"arrays of Python objects cannot be recorded: {', '.join(objects)}")
    facts = {**facts, "nonfinite": _nonfinite(arrays)}
    facts["content"] = _digest(arrays, facts)
    buffer = io.BytesIO()
    text = json.dumps(facts, sort_keys=True, allow_nan=False).encode()
    np.savez(buffer, allow_pickle=False, **arrays, **{PROVENANCE: np.frombuffer(text, dtype=np.uint8)})
    write_bytes(path, buffer.getvalue())


def read_record(path: Path, expect: Mapping[str, Any] | None = None) -> Record:
    """Read what `write_record` wrote, verified against its hash and against `expect`.

    Args:
        expect: facts that the record must carry with just these values (claim, case, code, ...).

    Raises:
        RecordError: if the file is missing, unreadable, damaged or foreign.
    """
    payload = read_bytes(path)
    try:
        _refuse_oversized(io.BytesIO(payload))
        with np.load(io.BytesIO(payload), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop(PROVENANCE).tobytes())
        content = facts["content"]
        intact = content == _digest(arrays, facts)
        counted = facts["nonfinite"] == _nonfinite(arrays)
    # A damaged archive fails in zipfile, zlib, numpy's header parser or json, each with errors of its own.
    except Exception as error:
        kind = "no npz archive" if not payload.startswith(b"PK") else "damaged or truncated"
        raise RecordError(f"{path} is {kind} ({type(error).__name__}: {error}); {MEND}") from error
    if not intact:
        raise RecordError(f"{path} is damaged: its contents do not have the hash that was recorded; {MEND}")
    if not counted:
        raise RecordError(f"{path} is damaged: it does not hold as many numbers that are not finite as it says; {MEND}")
    for name, wanted in (expect or {}).items():
        if facts.get(name) != wanted:
            raise RecordError(f"{path} is foreign: its {name} is {facts.get(name)!r}, expected {wanted!r}; {MEND}")
    return Record(arrays, facts)


def read_facts(path: Path) -> dict[str, Any]:
    """The provenance of a record alone, neither its arrays nor held against them; RecordError as `read_record`."""
    try:
        with path.open("rb") as file:
            _refuse_oversized(file)
            return dict(json.loads(np.load(file, allow_pickle=False)[PROVENANCE].tobytes()))
    except Exception:  # as there, where what is wrong gets its words
        return read_record(path).facts


def flatten(measurement: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """`{width: {observable: array}}` to `{"width/observable": array}`."""
    return {f"{width}/{name}": array for width, arrays in measurement.items() for name, array in arrays.items()}


def unflatten(arrays: Mapping[str, np.ndarray]) -> Measurement:
    """The inverse of `flatten`."""
    measurement: Measurement = {}
    for key, array in arrays.items():
        width, name = key.split("/", 1)
        measurement.setdefault(int(width), {})[name] = array
    return measurement


def write_table(path: Path, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as the csv called `table` in `COLUMNS`, atomically; floats keep every digit.

    Raises:
        ValueError: if a row's keys are not the table's columns.
        RecordError: as `write_record`.
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


def _nonfinite(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many numbers of each array are not finite, where there are any."""
    floats = {name: array for name, array in arrays.items() if array.dtype.kind in "fc"}
    return {name: bad for name, array in floats.items() if (bad := int(np.count_nonzero(~np.isfinite(array))))}


def _refuse_oversized(file: IO[bytes]) -> None:
    """Members are written as they are: one that unpacks to more than the file holds is not ours, and could fill the memory."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > size:
        raise ValueError(f"its members unpack to {unpacked} bytes, the file has {size}")
    file.seek(0)


def _digest(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    plain = {name: value for name, value in facts.items() if name != "content"}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
