"""Runs and studies as they are named on the command line, and what is read of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Results = Annotated[Path, typer.Argument(help="A run's folder, for instance results/default, or its study's name.")]
STUDIES = Path("workflow/config")
Rows = Sequence[dict[str, Any]]


def study_file(study: Path) -> Path:
    """The file of a study that is given by its name or by its file."""
    return study if study.suffix or len(study.parts) != 1 else STUDIES / f"{study}.yaml"


def run_folder(results: Path) -> Path:
    """The folder of a run that is given by it or by its study's name."""
    named = Path("results") / results
    return named if len(results.parts) == 1 and not results.exists() and named.is_dir() else results


def finished_run(results: Path) -> Path:
    """The folder of a run that has verdicts; an error says how to make them, or which runs have some."""
    if results.is_file():
        raise ValueError(f"{results} is a file; give the folder that it lies in: {results.parent}")
    results = run_folder(results)
    path, name = results / "verdicts.csv", results.resolve().name
    if path.exists():
        return results
    if (STUDIES / f"{name}.yaml").is_file():
        raise ValueError(
            f"{path} is missing: run `make reproduce STUDY={name}`, or snakemake --cores all --config study={name}"
        )
    there = ", ".join(sorted(str(file.parent) for file in Path("results").glob("*/verdicts.csv"))) or "none"
    raise ValueError(f"{path} is missing; folders with verdicts: {there}")


def read_verdicts(results: Path) -> Rows:
    """The verdicts in a run's folder, as `finished_run` finds it."""
    from ntkbench import tables

    return tables.read_rows(finished_run(results) / "verdicts.csv", "verdicts")


def cause(row: dict[str, Any]) -> str:
    """Why a verdict is not decided; that a slope changes along the widths is a remark and decides nothing."""
    remarks = [text for text in row["reason"].split("; ") if text and not text.startswith("the slope changes along the widths")]
    return "; ".join(remarks)
