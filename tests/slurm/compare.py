"""Whether two runs of a study in two checkouts made the same: measurements bit for bit, tables and figures byte for byte."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ntkbench import records

RUN = frozenset({"seconds", "peak_memory_bytes", "environment", "content"})
"""Facts of a record that speak of the run and not of the result; `content` is the hash of all others."""
SIZES = ("curve", "quantity", "order", "backend", "axis", "size", "measure", "smallest", "largest")
"""Columns of timings that no clock decides."""
MEMORY = "peak_bytes"
"""The measure whose rows a run decides: a process that did not grow has none (`ntkbench.performance.scaling.table`)."""
COMPARED = (".csv", ".svg", ".npz")


def differences(study: str, one: Path, other: Path) -> Iterator[str]:
    """A line for each file that lacks in one of the checkouts or differs between them.

    Compared are `results/<study>/` and `paper/figures/`. Of timings the sizes have to be the same, and nothing else can be; of
    what is neither a record nor a table nor a figure (facts of the run, the notes beside tables) only that it is there.
    """
    found = [{path.relative_to(root): path for path in _files(root, study)} for root in (one, other)]
    for name in sorted(found[0].keys() ^ found[1].keys()):
        yield f"{name} is only in {one if name in found[0] else other}"
    for name in sorted(found[0].keys() & found[1].keys()):
        yield from (f"{name}: {what}" for what in _of_file(found[0][name], found[1][name]))


def compared(study: str, root: Path) -> int:
    """How many files of a checkout are compared by what they hold."""
    return sum(path.suffix in COMPARED for path in _files(root, study))


def _files(root: Path, study: str) -> Iterator[Path]:
    for folder in (root / "results" / study, root / "paper" / "figures"):
        yield from (path for path in folder.rglob("*") if path.is_file())


def _of_file(one: Path, other: Path) -> Iterator[str]:
    if _timed(one):
        if _sizes(one) != _sizes(other):
            yield "other sizes were timed"
    elif one.suffix == ".npz":
        yield from _of_record(records.read_record(one), records.read_record(other))
    elif one.suffix in COMPARED and one.read_bytes() != other.read_bytes():
        yield "the bytes differ"


def _timed(path: Path) -> bool:
    """Timings, and what is fitted to them."""
    return path.parent.name == "performance" or path.stem in ("performance", "scaling")


def _sizes(path: Path) -> list[list[str]]:
    """What each row of a table of timings is of, where the study decides that there is one; nothing of a figure."""
    if path.suffix != ".csv":
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("measure") != MEMORY]
    return [[row[name] for name in SIZES if name in row] for row in rows]


def _of_record(one: records.Record, other: records.Record) -> Iterator[str]:
    if one.arrays.keys() != other.arrays.keys():
        yield f"arrays {sorted(one.arrays.keys() ^ other.arrays.keys())} are in one of them only"
    for name in one.arrays.keys() & other.arrays.keys():
        mine, theirs = one.arrays[name], other.arrays[name]
        if (mine.dtype, mine.shape, mine.tobytes()) != (theirs.dtype, theirs.shape, theirs.tobytes()):
            yield f"the array {name} differs"
    for name in sorted(one.facts.keys() | other.facts.keys()):
        mine, theirs = _fact(one.facts, name), _fact(other.facts, name)
        if name not in RUN and mine != theirs:
            yield f"{name} is {mine!r} and {theirs!r}"


def _fact(facts: dict[str, Any], name: str) -> Any:
    return facts.get(name, "absent")
