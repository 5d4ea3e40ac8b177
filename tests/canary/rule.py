"""When the results version must go up, and what must go with it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ntkbench.comparison import ComparedObservable, ComparedVerdict, Run, compare, read_run
from tests.canary.study import HERE, HISTORY, PARTS, digest, files, history

MEND = "raise RESULTS_VERSION in ntkbench/provenance.py by one, run `make canary`, and say in CHANGELOG.md what moves and why"


class Refused(Exception):
    """A canary that may not be stored; the message says why."""


def moved(folder: Path, stored: Path) -> list[str]:
    """What a run has otherwise than the stored one, by more than rounding: a line each."""
    runs = [_judged(read_run(of)) for of in (folder, stored)]
    compared = compare(*runs, across_versions=True)
    rows = [row for row in compared.rows if row.outcome != "reproduced"]
    return [f"{row.claim} {row.case} {row.backend}, {_name(row)}: {row.reason}" for row in rows]


def _judged(run: Run) -> Run:
    """With the control's verdict in each verdict, so that invalid ones, as small cases have, are compared as well."""
    return replace(run, verdicts=[{**row, "verdict": f"{row['verdict']} ({row['control']})"} for row in run.verdicts])


def _name(row: ComparedVerdict | ComparedObservable) -> str:
    return row.expectation if isinstance(row, ComparedVerdict) else row.quantity


def faults(version: int, changelog: str, here: Path = HERE) -> list[str]:
    """What is wrong with the stored canary, measured or not: its version, its history, the changelog.

    Args:
        here: the folder of the parts and of their history.
    """
    lines = history(here)
    versions = list(dict.fromkeys(number for number, _, _ in lines))
    now = [(part, sha) for number, part, sha in lines if number == version]
    found = []
    if versions != list(range(1, len(versions) + 1)):
        found.append(f"{HISTORY} has the versions {versions}, expected 1, 2, ... without a gap")
    if not versions or lines[-1][0] != version:
        found.append(f"{HISTORY} ends with another version than {version}: run `make canary`")
    if sorted(part for part, _ in now) != sorted(PARTS):
        found.append(f"{HISTORY} has other parts of version {version} than {', '.join(PARTS)}, each once: run `make canary`")
    for part in PARTS:
        if not (here / part).is_dir():
            found.append(f"the canary has lost {part}: run `make canary`, or bring it back")
            continue
        if (recorded := read_run(here / part).results_version) != version:
            found.append(f"the canary is of results version {recorded} in {part}, the code is of {version}: run `make canary`")
        if (part, digest(here / part)) not in now:
            found.append(f"the canary {part} is not that of {HISTORY}: it was renewed without a new results version; {MEND}")
    untold = [number for number in versions if f"Results version {number}:" not in changelog]
    return found + [f"CHANGELOG.md says nothing of results version {number}" for number in untold]


def due(version: int, here: Path = HERE) -> list[str]:
    """The parts that are to be stored: all of a new results version, of the last one those that it has not.

    Raises:
        Refused: if there is none, or the version is neither the last nor one above.
    """
    lines = history(here) if (here / HISTORY).exists() else []
    last = max((number for number, _, _ in lines), default=0)
    parts = [part for part in PARTS if (version, part) not in {(number, part) for number, part, _ in lines}]
    if version not in (last, last + 1) or not parts:
        raise Refused(
            f"the last canary is of results version {last} and the code is of {version}: nothing is stored. "
            f"If results moved, {MEND}; if they did not, it needs no renewal"
        )
    return parts


def renew(run: Callable[[str], Path], version: int, here: Path = HERE) -> list[str]:
    """Store the parts that are due.

    Args:
        run: of a part, which it makes.

    Returns:
        The parts that were stored.

    Raises:
        Refused: as `due`; what is there stays.
    """
    parts = due(version, here)
    for part in parts:
        folder = run(part)
        shutil.rmtree(here / part, ignore_errors=True)
        for file in files(folder):
            (here / part / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, here / part / file)
    ledger = here / HISTORY
    if not ledger.exists():
        ledger.write_text("results_version,part,sha256\n", encoding="utf-8")
    with ledger.open("a", encoding="utf-8") as file:
        file.writelines(f"{version},{part},{digest(here / part)}\n" for part in parts)
    return parts
