"""From a finished run to the published one in `results/reference/`: checked whole, then copied.

Measurements are gigabytes and are not published; their hashes are. So are those of what is published.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from ntkbench import files, history, layout, lineage, tables
from ntkbench.claims import get
from ntkbench.config import Study
from ntkbench.records import Record
from ntkbench.report import paper
from ntkbench.stages.cell import Cell

TABLES = ("verdicts", "crosscheck")
TIMED = ("performance", "scaling")
FACTS = "environment.json"
DISK = "disk.json"
"""How much room the results of the published run took."""
HASHES = "measurements.csv"
"""The records that the published tables were made from, inputs included (these have no backend): the hash of each, whole and of
its arrays alone, its size, the hashes of its code and of the inputs that it is of."""
FILES = "files.json"
"""The sha256 of every other file that publication writes, tables, figures and PDF, by its place in the folder."""


def publish(run: Path, reference: Path, study: Study, today: date) -> list[Path]:
    """Copy tables, figures, paper and environment of a run, record its hashes, add its verdicts to the history.

    Args:
        run: `results/<study>`, as the workflow has left it; figures and PDF are in `paper/` beside `results/`.
        reference: the published run, of the same study; its texts are not touched.
        study: what was asked of the run.
        today: the day that the history names.

    Returns:
        The files that were written.

    Raises:
        ValueError: for a run of another study, of a commit with changes or that is not known, that was published before,
            that lacks something, or whose PDF is not what its numbers and figures give; nothing is written then.
        RecordError: if a file is missing, damaged or foreign: made by other code or from other files than are there now.
    """
    known: dict[Path, str] = {}
    for name in (FACTS, *_tables(study)):
        lineage.check(run / name, known)
    facts = files.read_json(run / FACTS)
    rows = tables.read_rows(run / "verdicts.csv", "verdicts")
    past = history.read(reference)
    for figure in _figures(run, study):
        lineage.check(figure, known)
    if problems := [*_of_origin(facts, reference, past), *_of_extent(run, study, facts, rows), *_of_paper(run, study)]:
        raise ValueError(f"{run} cannot be published: " + "; ".join(problems))
    hashed = list(hashes(run, study))
    copies = {to: files.read_whole(path) for to, path in _copies(run, reference, study)}
    for to, payload in copies.items():
        files.write_bytes(to, payload)
    files.write_json(reference / DISK, {"bytes": sum(file.stat().st_size for file in run.rglob("*") if file.is_file())})
    tables.write_table(reference / HASHES, "measurements", hashed)
    record = reference / history.NAME
    tables.write_table(record, "history", past + history.counted(today, facts, rows))
    written = [*copies, reference / DISK, reference / HASHES, record]
    files.write_json(reference / FILES, fingerprints(reference, written))
    return [*written, reference / FILES]


def fingerprints(reference: Path, written: Iterable[Path]) -> dict[str, str]:
    """What `FILES` says of these files of the published run."""
    return {path.relative_to(reference).as_posix(): fingerprint(path) for path in written}


def fingerprint(path: Path) -> str:
    """The sha256 of a file; RecordError if it cannot be read."""
    return hashlib.sha256(files.read_bytes(path)).hexdigest()


def places(study: Study) -> list[str]:
    """Where the copies of a run of a study lie in the folder of the published run."""
    return [to.as_posix() for to, _ in _copies(Path(), Path(), study)]


def _of_origin(facts: dict[str, Any], reference: Path, past: list[dict[str, Any]]) -> Iterator[str]:
    published = files.read_json(reference / FACTS)["study"]
    if facts["study"] != published:
        yield f"it is of the study {facts['study']}, published is {published}"
    if facts["commit"] == "unknown":
        yield "nobody knows of which commit it is: run in a clone of the repository"
    elif facts["dirty"]:
        yield f"files differed from its commit {facts['commit'][:7]}: commit them and run again"
    if facts["commit"] in {row["commit"] for row in past}:
        yield f"a run of its commit {facts['commit'][:7]} is in {reference / history.NAME} already"


def _of_extent(run: Path, study: Study, facts: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the run lacks of its study, and what it has beyond."""
    asked = {
        (id_, expectation.name, name, backend)
        for id_, cases in study.cases.items()
        for expectation in get(id_).expectations
        for name, case in cases.items()
        if case.control is None and expectation.applies(case)
        for backend in study.backends
    }
    judged = {(row["claim"], row["expectation"], row["case"], row["backend"]) for row in rows}
    compared = {(row["claim"], row["case"]) for row in tables.read_rows(run / "crosscheck.csv", "crosscheck")}
    cases = {(id_, name) for id_, of in study.cases.items() for name in of}
    for what, found, wanted in (("verdicts", judged, asked), ("cross-checks", compared, cases)):
        for told, rest in (("lacks", wanted - found), ("has, beyond the study,", found - wanted)):
            if rest:
                yield f"it {told} {len(rest)} {what}, the first is {' '.join(min(rest))}"
    printed = files.read_json(_paper(run) / "generated" / "study.json")
    if (printed["study"], printed["commit"]) != (facts["study"], facts["commit"]):
        yield f"the paper is of a run of {printed['study']} at {printed['commit'][:7]}"


def _of_paper(run: Path, study: Study) -> Iterator[str]:
    """What the paper has otherwise than its sources give: the numbers that it prints, and the PDF itself."""
    folder = _paper(run)
    for name, content in paper.generate(run, folder, study.cases, study.performance is not None).items():
        path = folder / "generated" / f"{name}.json"
        if files.read_json(path) != json.loads(json.dumps(content)):
            yield f"{path} is not what the tables give"
    pdf = folder / "main.pdf"
    try:
        if paper.render(pdf.with_suffix(".typ")) != files.read_bytes(pdf):
            yield f"{pdf} is not what its sources give: set again it has other bytes"
    except paper.PaperError as error:
        yield str(error)


def hashes(run: Path, study: Study) -> Iterator[dict[str, Any]]:
    """A row of `HASHES` for each record of a run, read to the last byte; RecordError as `read_record`."""
    for id_, cases in study.cases.items():
        for name in cases:
            cell = Cell.make(**study.cell(id_, name))
            path = layout.inputs(run, id_, name)
            _, inputs = cell.read_inputs(path)
            yield _hashed(cell, "", path, inputs)
            for backend in study.backends:
                path = layout.measurement(run, id_, name, backend)
                yield _hashed(cell, backend, path, cell.read_measurement(backend, inputs, path)[1])


def _hashed(cell: Cell, backend: str, path: Path, record: Record) -> dict[str, Any]:
    return {
        "claim": cell.claim.id,
        "case": cell.name,
        "backend": backend,
        "content": record.content,
        "arrays": record.arrays_hash,
        "bytes": path.stat().st_size,
        "code": record.facts["code"],
        "inputs": record.facts.get("inputs", ""),
    }


def _tables(study: Study) -> list[str]:
    """The files of the tables that are published as they are."""
    return [f"{name}.csv" for name in (*TABLES, *(TIMED if study.performance is not None else ()))]


def _copies(run: Path, reference: Path, study: Study) -> Iterator[tuple[Path, Path]]:
    """What is written from what."""
    for name in (FACTS, *_tables(study)):
        yield reference / name, run / name
    yield reference / "paper.pdf", _paper(run) / "main.pdf"
    yield from ((reference / "figures" / path.name, path) for path in _figures(run, study))


def _figures(run: Path, study: Study) -> list[Path]:
    stems = (*map(layout.figure, study.cases), *(("scaling",) if study.performance is not None else ()))
    return [_paper(run) / "figures" / f"{stem}.{ending}" for stem in stems for ending in ("svg", "png")]


def _paper(run: Path) -> Path:
    return run.parent.parent / "paper"
