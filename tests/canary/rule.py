"""When the results version must go up, and what must go with it."""

import shutil
from dataclasses import replace
from pathlib import Path

from ntkbench.comparison import ComparedObservable, ComparedVerdict, Run, compare, read_run
from tests.canary.study import HISTORY, STORED, digest, files, history

MEND = "raise RESULTS_VERSION in ntkbench/provenance.py by one, run `make canary`, and say in CHANGELOG.md what moves and why"


class Refused(Exception):
    """A canary that may not be stored; the message says why."""


def moved(folder: Path, stored: Path = STORED) -> list[str]:
    """What a run has otherwise than the stored one, by more than rounding: a line each."""
    runs = [_judged(read_run(of)) for of in (folder, stored)]
    compared = compare(*runs, across_versions=True)
    rows = [row for row in compared.rows if row.outcome != "reproduced"]
    found = [f"{row.claim} {row.case} {row.backend}, {_name(row)}: {row.reason}" for row in rows]
    lone = set(runs[0].measurements) ^ set(runs[1].measurements)
    return found + [f"{' '.join(cell)}: only in one of the two" for cell in sorted(lone)]


def _judged(run: Run) -> Run:
    """With the control's verdict in each verdict, so that invalid ones, as small cases have, are compared as well."""
    return replace(run, verdicts=[{**row, "verdict": f"{row['verdict']} ({row['control']})"} for row in run.verdicts])


def _name(row: ComparedVerdict | ComparedObservable) -> str:
    return row.expectation if isinstance(row, ComparedVerdict) else row.quantity


def faults(version: int, changelog: str, stored: Path = STORED, ledger: Path = HISTORY) -> list[str]:
    """What is wrong with the stored canary, measured or not: its version, its history, the changelog."""
    lines = history(ledger)
    versions = [number for number, _ in lines]
    found = []
    if versions != list(range(1, len(lines) + 1)):
        found.append(f"{ledger.name} has the versions {versions}, expected 1, 2, ... without a gap")
    if (recorded := read_run(stored).results_version) != version:
        found.append(f"the canary is of results version {recorded}, the code is of {version}: run `make canary`")
    if not versions or versions[-1] != version:
        found.append(f"{ledger.name} ends with another version than {version}: run `make canary`")
    if not lines or lines[-1][1] != digest(stored):
        found.append(f"the canary is not the one of {ledger.name}: it was renewed without a new results version; {MEND}")
    found += [f"CHANGELOG.md says nothing of results version {n}" for n in versions if f"Results version {n}:" not in changelog]
    return found


def renew(folder: Path, version: int, stored: Path = STORED, ledger: Path = HISTORY) -> None:
    """Store a run as the canary of a new results version.

    Raises:
        Refused: if the version is not one above the last; the one that is there stays.
    """
    last = len(history(ledger)) if ledger.exists() else 0
    if version != last + 1:
        raise Refused(
            f"the last canary is of results version {last} and the code is of {version}: nothing is stored. "
            f"If results moved, {MEND}; if they did not, it needs no renewal"
        )
    shutil.rmtree(stored, ignore_errors=True)
    for file in files(folder):
        (stored / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, stored / file)
    if not ledger.exists():
        ledger.write_text("results_version,sha256\n", encoding="utf-8")
    with ledger.open("a", encoding="utf-8") as file:
        file.write(f"{version},{digest(stored)}\n")
