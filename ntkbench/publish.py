"""From a finished run to the published one in `results/reference/`: checked whole, then copied."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from ntkbench import files, history, lineage, records
from ntkbench.claims import get
from ntkbench.config import Study

TABLES = ("verdicts", "crosscheck")
TIMED = ("performance", "scaling")
FACTS = "environment.json"
DISK = "disk.json"
"""How much room the results of the published run took."""


def publish(run: Path, reference: Path, study: Study, today: date) -> list[Path]:
    """Copy tables, figures, paper and environment of a run, and add its verdicts to the history.

    Args:
        run: `results/<study>`, as the workflow has left it; figures and PDF are in `paper/` beside `results/`.
        reference: the published run, of the same study; its texts are not touched.
        study: what was asked of the run.
        today: the day that the history names.

    Returns:
        The files that were written.

    Raises:
        ValueError: for a run of another study, of a commit with changes or that is not known, that was published before,
            or that lacks something; nothing is written then.
        RecordError: if a file is missing, damaged or foreign: made by other code or from other files than are there now.
    """
    facts = records.read_json(lineage.check(run / FACTS))
    rows = records.read_rows(lineage.check(run / "verdicts.csv"), "verdicts")
    past = history.read(reference)
    if problems := [*_of_origin(facts, reference, past), *_of_extent(run, study, facts, rows)]:
        raise ValueError(f"{run} cannot be published: " + "; ".join(problems))
    copies = {to: files.read_whole(path) for to, path in _copies(run, reference, study)}
    for to, payload in copies.items():
        records.write_bytes(to, payload)
    records.write_json(reference / DISK, {"bytes": sum(file.stat().st_size for file in run.rglob("*") if file.is_file())})
    record = reference / history.NAME
    records.write_table(record, "history", past + history.counted(today, facts, rows))
    return [*copies, reference / DISK, record]


def _of_origin(facts: dict[str, Any], reference: Path, past: list[dict[str, Any]]) -> Iterator[str]:
    published = records.read_json(reference / FACTS)["study"]
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
    compared = {(row["claim"], row["case"]) for row in records.read_rows(lineage.check(run / "crosscheck.csv"), "crosscheck")}
    cases = {(id_, name) for id_, of in study.cases.items() for name in of}
    for what, found, wanted in (("verdicts", judged, asked), ("cross-checks", compared, cases)):
        for told, rest in (("lacks", wanted - found), ("has, beyond the study,", found - wanted)):
            if rest:
                yield f"it {told} {len(rest)} {what}, the first is {' '.join(min(rest))}"
    printed = records.read_json(run.parent.parent / "paper" / "generated" / "study.json")
    if (printed["study"], printed["commit"]) != (facts["study"], facts["commit"]):
        yield f"the paper is of a run of {printed['study']} at {printed['commit'][:7]}"


def _copies(run: Path, reference: Path, study: Study) -> Iterator[tuple[Path, Path]]:
    """What is written from what."""
    paper = run.parent.parent / "paper"
    curves = study.performance is not None
    for name in (*TABLES, *(TIMED if curves else ())):
        yield reference / f"{name}.csv", lineage.check(run / f"{name}.csv")
    yield reference / FACTS, run / FACTS
    yield reference / "paper.pdf", paper / "main.pdf"
    for stem in (*(id_.replace("/", "-") for id_ in study.cases), *(("scaling",) if curves else ())):
        for ending in ("svg", "png"):
            yield reference / "figures" / f"{stem}.{ending}", paper / "figures" / f"{stem}.{ending}"
