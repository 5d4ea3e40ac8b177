"""What a file was made from, and by which code: written when it is made, followed back before it is used.

A stage's last act on a file is `note`. A later stage calls `check` before it reads the file: from there through all that it was
made from, down to the records of the measurements, nothing may be another file than it was then, made by other code, or copied
from another place. Of records the hashes alone are compared: who reads their arrays holds these against them. A published
table, which lies apart from its measurements, is read without `check`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ntkbench.files import MEND, Note, RecordError, read_note, read_whole, write_note
from ntkbench.records import read_facts
from ntkbench.stages.dependencies import stage_hash


def note(path: Path, stage: str, sources: Iterable[Path], claim: str | None = None, backend: str | None = None) -> None:
    """Say beside a file what it is.

    Args:
        path: the file, just written.
        stage, claim, backend: whose code made it, as `stages.dependencies.stage_hash` takes them.
        sources: the files that it was made from: records, or files with notes of their own.

    Raises:
        RecordError: if the file or the note of a source cannot be read, or the note not be written.
    """
    made_from = {os.path.relpath(source, path.parent): fingerprint(source) for source in sources}
    code = stage_hash(stage, claim, backend)
    write_note(path, stage=stage, claim=claim, backend=backend, code=code, made_from=made_from)


def check(path: Path, known: dict[Path, str] | None = None) -> Path:
    """Follow a file back to the measurements.

    Args:
        path: the file.
        known: what was followed back before in the same stage, with the hash that it carries; what is followed now is added, so
            that sources which several files share are read once.

    Returns:
        `path`, so that it can be read in the same line.

    Raises:
        RecordError: if it or its note is missing or damaged, or it is foreign: written in another place, made by other code or
            from other files than are there now. The same for every file that it was made from.
    """
    _follow(path, {} if known is None else known)
    return path


def _follow(path: Path, known: dict[Path, str]) -> None:
    if path in known:
        return
    found = read_note(path)
    read_whole(path)
    if found.path != path.as_posix():
        raise RecordError(f"{path} is foreign: it was written as {found.path}; {MEND}")
    if found.code != _code(found):
        raise RecordError(f"{path} is foreign: other code of the stage {found.stage} made it; {MEND}")
    for name, hashed in found.made_from.items():
        source = Path(os.path.normpath(path.parent / name))
        carried = known.get(source) or fingerprint(source)
        if carried != hashed:
            raise RecordError(f"{path} is foreign: it was made from another {source} than is there; {MEND}")
        if source.suffix == ".npz":
            known[source] = carried
        else:
            _follow(source, known)
    known[path] = found.sha256


def fingerprint(path: Path) -> str:
    """The hash that a file carries: the `content` of a record, what its note says of any other file.

    Raises:
        RecordError: if the file has none, or cannot be read.
    """
    return str(read_facts(path)["content"]) if path.suffix == ".npz" else read_note(path).sha256


def _code(found: Note) -> str | None:
    """The hash of the code that a note names, as it is here; None where there is no such code."""
    try:
        return stage_hash(found.stage, found.claim, found.backend)
    except (KeyError, ValueError):
        return None
