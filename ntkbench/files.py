"""Whole files or none: bytes and JSON, and for a file that holds no hash of itself a note beside it that does.

`verdicts.csv` is described by `verdicts.csv.provenance.json`: its hash, what made it and from what. Whoever reads the file
holds it against its note, so that a changed digit is refused; `ntkbench.lineage` writes the notes and follows them.
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

MEND = "delete it and run again"
NOTE = ".provenance.json"


class RecordError(Exception):
    """A file that cannot be used or written; the message names it, what is wrong and the mend."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What stands beside a file.

    Attributes:
        sha256: of the file's bytes.
        path: where it was written; a copy in another place is foreign there.
        stage, claim, backend: of the code that made it, a key of `ntkbench.stages.dependencies.ENTRY` and its axes.
        code: the hash of that code.
        made_from: what it was made from, relative to its folder -> the hash that this had: the `content` of a record, the
            `sha256` of any other file.
    """

    sha256: str
    path: str
    stage: str
    claim: str | None
    backend: str | None
    code: str
    made_from: dict[str, str]


def note_of(path: Path) -> Path:
    """Where the note of a file is."""
    return path.with_name(path.name + NOTE)


def write_note(path: Path, **facts: Any) -> None:
    """Describe a file that is there: `facts` are those of `Note` beyond its hash and place.

    Raises:
        RecordError: if the file cannot be read or the note not be written.
    """
    note = Note(sha256=hashlib.sha256(read_bytes(path)).hexdigest(), path=path.as_posix(), **facts)
    write_json(note_of(path), asdict(note))


def read_note(path: Path) -> Note:
    """What the note of a file says.

    Raises:
        RecordError: if it is missing or damaged; the mend is to make the file anew, since its note cannot be.
    """
    file, mend = note_of(path), f"delete {path} and run again"
    if not os.path.lexists(path):
        raise RecordError(f"{path} is missing; run again")
    if not os.path.lexists(file):
        raise RecordError(f"{path} has lost {file.name}, which says what it was made from; {mend}")
    try:
        return Note(**json.loads(read_bytes(file)))
    except (RecordError, TypeError, ValueError) as error:
        raise RecordError(f"{file} is damaged ({error}); {mend}") from error


def read_whole(path: Path) -> bytes:
    """The bytes of a file, held against its note where it has one.

    Raises:
        RecordError: as `read_bytes` and `read_note`, and if the bytes are not those that were written.
    """
    payload = read_bytes(path)
    if os.path.lexists(note_of(path)) and read_note(path).sha256 != hashlib.sha256(payload).hexdigest():
        raise RecordError(f"{path} is damaged: its contents do not have the hash that {note_of(path).name} records; {MEND}")
    return payload


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), atomically.

    Raises:
        RecordError: as `write_bytes`.
        ValueError: if `value` holds a number that is not finite.
    """
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read strict JSON; RecordError if the file is missing, unreadable or damaged."""
    try:
        return json.loads(read_whole(path), parse_constant=_refuse)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}; {MEND}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; RecordError if it is missing, empty or cannot be read, with the mend."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(f"{path} is missing; run again") from error
    except IsADirectoryError as error:
        raise RecordError(f"{path} is a folder, expected a file; {MEND}") from error
    except PermissionError as error:
        raise RecordError(f"{path} may not be read by this user; give read permission, or {MEND}") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}); check the disk, or {MEND}") from error
    if not payload:
        raise RecordError(f"{path} is empty; {MEND}")
    return payload


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that a reader sees all of it or none: a temporary file in the same folder, flushed and renamed.

    Raises:
        RecordError: if the disk is full or read-only, or the folder may not be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        note_of(path).unlink(missing_ok=True)  # it is of the file that was there
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RecordError(cannot_write(path, error)) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(path: Path, error: OSError) -> str:
    """What the system's refusal to write a file means, with the mend."""
    mends: Sequence[tuple[tuple[int, ...], str]] = (
        ((errno.ENOSPC, errno.EDQUOT), "the disk is full: free some space and run again"),
        ((errno.EROFS,), "the file system is read-only: work in a writable copy"),
        ((errno.EACCES, errno.EPERM), f"the folder {path.parent} may not be written by this user: give write permission"),
        ((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), "a folder and a file are in each other's place: remove it and run again"),
    )
    for numbers, mend in mends:
        if error.errno in numbers:
            return f"{path} cannot be written: {mend}"
    return f"{path} cannot be written ({error.strerror}): check the disk and run again"
