"""The core tests in every supported combination: `python -m tests.environments.matrix FOLDER`, which `make test-matrix` does.

Environments are made in FOLDER and kept. What was found stands in `tests/environments/matrix.csv` and, as a table, in
`docs/environments.md`. A combination that cannot be installed here is `not run`, with the reason, and keeps what an earlier
run found where there is one.

Exits with 1 where a test failed or a process did not come to its end, else with 3 where a combination was not run.
"""

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tests.environments import core
from tests.matrix.combinations import Combination, NotInstalled, combinations, install

TABLE = Path(__file__).resolve().parent / "matrix.csv"
PAGE = core.ROOT / "docs" / "environments.md"
MARKS = "<!-- test-matrix -->", "<!-- /test-matrix -->"
FAILED, NOT_RUN = 1, 3


@dataclass(frozen=True)
class Row:
    """One combination; `reason` says why it did not pass."""

    combination: str
    python: str
    torch: str
    jax: str
    numpy: str
    outcome: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: int = 0
    commit: str = ""
    reason: str = ""


def tried(combination: Combination, folder: Path, workers: int) -> Row:
    """Install a combination, and run the core tests in it."""
    try:
        python = install(combination, folder / combination.name)
    except NotInstalled as error:
        return untried(combination, str(error))
    told = subprocess.run([str(python), "-c", WHAT], capture_output=True, text=True, check=True, cwd=core.ROOT).stdout.split()
    found = core.run(python, workers, OMP_NUM_THREADS="1")
    return Row(combination.name, *told, *judged(found))


def untried(combination: Combination, reason: str) -> Row:
    """A combination that nothing is known of."""
    versions = combination.versions()
    wanted = (versions[name] for name in ("torch", "jax", "numpy"))
    return Row(combination.name, combination.python, *wanted, "not run", reason=reason)


WHAT = """
import platform
from importlib import metadata
print(platform.python_version(), *map(metadata.version, ("torch", "jax", "numpy")))
"""


def judged(found: core.Outcome) -> tuple[str, int, int, int, int, str, str]:
    """The fields of a row from `outcome` on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=core.ROOT, capture_output=True, text=True, check=False)
    reason = "; ".join(filter(None, [found.unfinished, *found.wrong[:3]]))
    counts = (found.counts.get("passed", 0), len(found.wrong), found.counts.get("skipped", 0))
    return "passed" if found.passed else "failed", *counts, round(found.seconds), commit.stdout.strip(), reason


def read(path: Path) -> dict[str, Row]:
    """What was found before."""
    if not path.exists():
        return {}
    kinds = {field.name: int if field.type in (int, "int") else str for field in fields(Row)}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [Row(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]
    return {row.combination: row for row in rows}


def write(path: Path, rows: Sequence[Row]) -> None:
    """As `read` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def markdown(rows: Sequence[Row]) -> str:
    """The table of docs/environments.md."""
    about = {combination.name: combination.about for combination in combinations()}
    lines = ["| combination | Python | torch | jax | numpy | core tests |", "|---|---|---|---|---|---|"]
    for row in rows:
        told = f"{row.passed} passed, {row.failed} failed, {row.skipped} skipped, {row.seconds} s"
        found = f"not run: {row.reason}" if row.outcome == "not run" else told
        more = f": {row.reason}" if row.outcome == "failed" else ""
        lines.append(f"| {about[row.combination]} | {row.python} | {row.torch} | {row.jax} | {row.numpy} | {found}{more} |")
    return "\n".join(lines)


def exit_code(rows: Sequence[Row]) -> int:
    """Of this run: what was not run is not passed."""
    outcomes = {row.outcome for row in rows}
    return FAILED if "failed" in outcomes else NOT_RUN if "not run" in outcomes else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=[c.name for c in combinations()], help="these combinations")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    asked = parser.parse_args()
    before, now = read(TABLE), []
    for combination in combinations():
        if not asked.only or combination.name in asked.only:
            now.append(tried(combination, asked.folder, asked.workers))
            print(markdown(now[-1:]).splitlines()[-1], flush=True)
    kept = {row.combination: row for row in now if row.outcome != "not run" or row.combination not in before}
    rows = [{**before, **kept}.get(c.name) or untried(c, "not tried yet") for c in combinations()]
    write(TABLE, rows)
    start, end = MARKS
    page = PAGE.read_text(encoding="utf-8")
    printed = f"{start}\n{markdown(rows)}\n{end}"
    PAGE.write_text(re.sub(f"{start}.*{end}", lambda _: printed, page, flags=re.S), encoding="utf-8")
    return exit_code(now)


if __name__ == "__main__":
    sys.exit(main())
