"""Records: what is measured and from what data, as `.npz` of arrays and their provenance, with a hash of both inside.

What is read is checked before it is used. The mend of a bad record is always the same: delete it and run again.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ntkbench.files import MEND, RecordError, read_bytes, write_bytes

Measurement = dict[int, dict[str, np.ndarray]]
"""Width -> observable -> array."""

PROVENANCE = "provenance"
"""The member of the archive that is no array of the record, but its facts as JSON."""


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

    @property
    def arrays_hash(self) -> str:
        """SHA-256 over the arrays alone: a measurement that is made again has other facts, its seconds among them."""
        return _digest(self.arrays, {})


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
