"""From the tables of a published run to the records that it does not keep: by their hashes, and by what makes them again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ntkbench import layout, tables
from ntkbench.files import RecordError
from ntkbench.publish import HASHES
from ntkbench.records import read_record
from ntkbench.trace import code
from ntkbench.trace.link import Link, Status, records_besides
from ntkbench.trace.run import Run
from ntkbench.units import counted

Rows = Mapping[tuple[str, str], dict[str, Any]]
"""Case and backend (empty: its inputs) -> what was published of a record."""


def of_hashes(run: Run, claim: str, case: str | None) -> list[Link]:
    """From the tables of a claim to its records, their code and the command."""
    again = Link("again", "ok", f"{_checkout(run)}make reproduce STUDY={run.study.name}, then trace it in {_own(run)}")
    path = run.folder / HASHES
    if not path.is_file():
        return [*not_kept(run), again]
    try:
        rows = {(row["case"], row["backend"]): row for row in tables.read_rows(path, "measurements") if row["claim"] == claim}
        checks = [row for row in tables.read_rows(run.folder / "crosscheck.csv", "crosscheck") if row["claim"] == claim]
    except RecordError as error:
        return [Link("measurement", "broken", str(error)), again]
    asked = [row["agrees"] for row in checks if case in (None, row["case"])]
    told = f"{run.folder / 'crosscheck.csv'} says: the frameworks agree in {sum(asked)} of {counted(len(asked), 'observable')}"
    cases = list(dict.fromkeys(row["case"] for row in checks))
    return [Link("cross-check", "ok", told), *_records(run, claim, case, cases, rows), *_code(run, case, rows), again]


def not_kept(run: Run) -> list[Link]:
    """That there are tables only, and of which commit they are."""
    facts = run.facts
    why = "" if (run.folder / HASHES).is_file() else f" It was published before {HASHES} was, which has hashes of records."
    return [
        Link(
            "measurement",
            "not kept",
            f"{run.folder} keeps tables only: no quantities, measurements and inputs to check them by.{why}",
        ),
        Link("code", "not kept", f"made at commit {facts['commit']}" + (" with uncommitted changes" if facts["dirty"] else "")),
    ]


def _records(run: Run, claim: str, case: str | None, cases: list[str], rows: Rows) -> Iterator[Link]:
    """A link for each record of a case; of the claim's other cases only where something is to be said."""
    rest: list[Status] = []
    for name in cases:
        for backend in (*sorted(run.facts["backends"]), ""):
            link = _record(run, claim, name, backend, rows)
            if name == case or link.status not in ("ok", "not kept"):
                yield link
            else:
                rest.append(link.status)
    if rest:
        status: Status = "not kept" if "not kept" in rest else "ok"
        yield Link("measurement", status, f"{run.folder / HASHES} has the hashes of {records_besides(len(rest), case)}")


def _record(run: Run, claim: str, case: str, backend: str, rows: Rows) -> Link:
    """What was published of a record, against the one that a run of the study has left here, if any."""
    name = "measurement" if backend else "inputs"
    own = _own(run)
    path = layout.measurement(own, claim, case, backend) if backend else layout.inputs(own, claim, case)
    row, inputs = rows.get((case, backend)), rows.get((case, ""))
    if row is None or inputs is None:
        return Link(name, "broken", f"{run.folder / HASHES} has no row of {claim} {case} {backend}".rstrip())
    if backend and row["inputs"] != inputs["content"]:
        return Link(name, "broken", f"{run.folder / HASHES}: {claim} {case} {backend} is of other inputs than are published")
    if not path.is_file():
        command = f"{_checkout(run)}snakemake --cores all --config study={run.study.name} {path}"
        return Link(name, "not kept", f"sha256 {row['content']}, {row['bytes']} bytes; made again by {command}")
    try:
        record = read_record(path)
    except RecordError as error:
        return Link(name, "broken", str(error))
    if record.content == row["content"]:
        return Link(name, "ok", f"{path}: the published one, content {record.content[:12]} verified")
    if record.arrays_hash == row["arrays"]:
        return Link(name, "ok", f"{path}: made again, the same arrays byte for byte, {record.arrays_hash[:12]}")
    told = f"{path}: its arrays are {record.arrays_hash[:12]}, published {row['arrays'][:12]}"
    return Link(name, "changed", f"{told}; ntkbench compare {own} {run.folder} says how near the results are")


def _code(run: Run, case: str | None, rows: Rows) -> list[Link]:
    """The code that measured, as the checkout or the published commit has it."""
    told: dict[tuple[Status, str], None] = {}
    for (name, backend), row in rows.items():
        if case in (None, name):
            stage = "measure" if backend else "inputs"
            there, here, text = code.told(row["code"], run.facts, stage, row["claim"], backend or None)
            told["ok" if here else "changed" if there else "broken", f"{stage} {backend}".rstrip() + f": {text}"] = None
    return [Link("code", status, text) for status, text in told]


def _own(run: Run) -> Path:
    """Where a run of the study leaves its results."""
    return run.folder.parent / run.study.name


def _checkout(run: Run) -> str:
    commit = str(run.facts["commit"])
    at = "" if commit == "unknown" else f"git checkout {commit[:12]} && "
    if run.study_file.parent == run.folder:  # no commit has it among the workflow's studies
        kept = f"{run.study.name}.yaml"
        return f"cp {run.study_file} /tmp/{kept} && {at}cp /tmp/{kept} workflow/config/ && "
    return at
