"""Run one small study under everything that must not change its results, and compare: `python -m tests.matrix FOLDER`.

Each variation runs in a copy of the checkout below FOLDER, environments are made in FOLDER/environments; what is done is kept.
`--only NAMES` runs some; without it all that are missing run, and the matrix is written to `results/reference/matrix.csv` and
`docs/reproduction.md`. A variation whose environment cannot be made here is marked `not run`, with the reason.

Exits with 1 where a run failed or does not agree with the base.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from ntkbench import comparison
from ntkbench.comparison import Level
from tests.matrix import table
from tests.matrix.combinations import NotInstalled, install
from tests.matrix.variations import STUDY, Variation, variations
from tests.scratch import ROOT, copy_checkout

PUBLISHED, PAGE = ROOT / "results" / "reference" / "matrix.csv", ROOT / "docs" / "reproduction.md"
BACKENDS = ("torch", "jax")


class RunFailed(Exception):
    """A run that has not reached its end; the message has its last lines."""


def run(variation: Variation, folder: Path, environments: Path, checkout: Path) -> Path:
    """Run a variation, go on where it was interrupted, or keep what it found before; the folder of its results.

    Args:
        folder: of its copy of the checkout.
        environments: where environments are made.
        checkout: the sources that all variations share, so that none sees an edit made meanwhile.

    Raises:
        NotInstalled: if its environment cannot be made.
        RunFailed: if the workflow fails.
    """
    results = folder / "results" / STUDY
    if (results / "environment.json").exists():
        return results
    python = install(variation.combination, environments / variation.combination.name)
    shutil.copytree(checkout, folder, dirs_exist_ok=True)
    study = yaml.safe_dump(variation.study(), sort_keys=False)
    (folder / "workflow" / "config" / f"{STUDY}.yaml").write_text(study, encoding="utf-8")
    settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SNAKEMAKE_PROFILE")}
    command = [str(python.absolute()), "-m", "snakemake", "--cores", str(variation.threads)]
    for targets in variation.targets():
        whole = [*command, *targets, "--config", f"study={STUDY}", "summary=False"]
        done = subprocess.run(whole, cwd=folder, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailed(done.stdout[-3000:] + done.stderr[-3000:])
    return results


def rows_of(variation: Variation, results: Path | str, base: Path, commit: str) -> list[dict[str, str]]:
    """The rows of a variation: its folder of results against the base's, or why there is none; `commit`: of the sources."""
    combination = variation.combination
    plain = dict.fromkeys(table.COLUMNS, "")
    plain |= {
        "variation": variation.name,
        "about": variation.about,
        "python": combination.python,
        **{name: combination.versions()[name] for name in ("torch", "jax", "numpy")},
        "threads": str(variation.threads),
        "order": "backwards" if variation.backwards else "forwards",
    }
    if isinstance(results, str):
        return [{**plain, "backend": backend, "status": results} for backend in BACKENDS]
    facts = json.loads((results / "environment.json").read_text(encoding="utf-8"))
    plain |= {name: str(facts[name]) for name in ("python", "results_version", "processor", "platform", "cpus")}
    # As the frameworks say themselves, with the build.
    plain |= {name: facts["backends"][name][0]["version"] for name in BACKENDS} | {"numpy": facts["versions"]["numpy"]}
    plain["commit"] = commit
    if results == base:
        return [{**plain, "backend": backend, "status": "base"} for backend in BACKENDS]
    compared = comparison.compare(comparison.read_run(results), comparison.read_run(base))
    return [{**plain, "backend": backend, "status": "run", **_counts(compared, backend)} for backend in BACKENDS]


def _counts(compared: comparison.Comparison, backend: str) -> dict[str, str]:
    observables = [row for row in compared.observables if row.backend == backend]
    verdicts = [row for row in compared.verdicts if row.backend == backend]
    counts = {}
    for what, rows in (("observables", observables), ("verdicts", verdicts)):
        levels = Counter(row.level for row in rows if row.outcome == "reproduced")
        counts[f"{what}_bitwise"] = levels[Level.BITWISE]
        counts[f"{what}_within_rounding"] = levels[Level.ROUNDING]
        counts[f"{what}_apart"] = sum(row.outcome in ("differs", "lost") for row in rows)
        counts[f"{what}_not_compared"] = sum(row.outcome == "not comparable" for row in rows)
    worst = max((row for row in observables if row.level is not None), key=lambda row: row.max_rel / row.allowed)
    found = {name: str(count) for name, count in counts.items()}
    named = f"{worst.claim} {worst.case} {worst.quantity}"
    return {**found, "worst_of_allowed": f"{worst.max_rel / worst.allowed:.3g}", "worst_observable": named}


def _commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", "HEAD", "--", "ntkbench"], check=False).returncode
    return (done.stdout.strip() or "unknown") + (" with changes" if changed else "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=[variation.name for variation in variations()])
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    checkout, commit = folder / "checkout", folder / "commit.txt"
    if not commit.exists():
        copy_checkout(checkout)
        commit.write_text(_commit(), encoding="utf-8")
    found: dict[str, Path | str] = {}
    failed = False
    for variation in variations():
        if asked.only and variation.name not in asked.only:
            continue
        print(f"{variation.name}: {variation.about}", flush=True)
        try:
            found[variation.name] = run(variation, folder / variation.name, folder / "environments", checkout)
        except NotInstalled as error:
            found[variation.name] = f"not run: {error}"
        except RunFailed as error:
            found[variation.name], failed = "failed", True
            print(error, file=sys.stderr)
        print(f"  {found[variation.name]}", flush=True)
    if asked.only:
        return int(failed)
    base = found["base"]
    if isinstance(base, str):
        print(f"there is nothing to compare with: the base {base}", file=sys.stderr)
        return 1
    rows = [
        row
        for variation in variations()
        for row in rows_of(variation, found[variation.name], base, commit.read_text(encoding="utf-8"))
    ]
    table.write(PUBLISHED, rows)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(table.put_into(page, table.markdown(rows)), encoding="utf-8")
    apart = [row for row in rows if row["status"] == "run" and (row["observables_apart"], row["verdicts_apart"]) != ("0", "0")]
    for row in apart:
        print(f"{row['variation']} in {row['backend']} does not agree with the base", file=sys.stderr)
    return int(failed or bool(apart))


if __name__ == "__main__":
    sys.exit(main())
