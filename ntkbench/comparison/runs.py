"""What a comparison needs of a run: its tables, its facts, and where its measurements are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkbench import layout
from ntkbench.facts import read_environment
from ntkbench.tables import read_rows

Cell = tuple[str, str, str]
"""Claim, case, backend."""


@dataclass(frozen=True)
class Run:
    """A folder `results/<study>`, or a published one that keeps tables only.

    Attributes:
        verdicts: the rows of `verdicts.csv`.
        rounding: (claim, case) -> the largest `allowed` of its cross-check; empty without `crosscheck.csv`.
        facts: `environment.json`, empty without one.
        measurements: cell -> its record; empty where the run keeps tables only.
        disagreements: the rows of `crosscheck.csv` in which the backends do not agree.
    """

    folder: Path
    verdicts: Sequence[Mapping[str, Any]]
    rounding: Mapping[tuple[str, str], float]
    facts: Mapping[str, Any]
    measurements: Mapping[Cell, Path]
    disagreements: Sequence[Mapping[str, Any]] = ()

    @property
    def study(self) -> str | None:
        """The name of the study, None where the folder does not say."""
        return self.facts.get("study")

    @property
    def results_version(self) -> int | None:
        """The version of its results, None where none was recorded."""
        return self.facts.get("results_version")

    @property
    def root(self) -> int | None:
        """The study's seed, None where it was not recorded."""
        return self.facts.get("root")

    @property
    def precisions(self) -> set[str]:
        """The precisions that its backends computed in; none where they were not recorded."""
        devices = [device for of_backend in self.facts.get("backends", {}).values() for device in of_backend]
        return {str(device["precision"]) for device in devices if "precision" in device}

    def asks_as(self, other: "Run") -> bool:
        """Whether both are of one study and root, by what they say of themselves: every question must be the same then."""
        return None not in (self.study, self.root) and (self.study, self.root) == (other.study, other.root)

    def inputs(self, cell: Cell) -> Path:
        """The record of a cell's inputs."""
        claim, case, _ = cell
        return layout.inputs(self.folder, claim, case)


def read_run(folder: Path) -> Run:
    """Read a run's tables and facts; what was measured is read when it is compared.

    Raises:
        RecordError: if `verdicts.csv` is missing, or a file is damaged.
    """
    facts = read_environment(folder / "environment.json") if (folder / "environment.json").exists() else {}
    rounding: dict[tuple[str, str], float] = {}
    disagreements = []
    if (folder / "crosscheck.csv").exists():
        for row in read_rows(folder / "crosscheck.csv", "crosscheck"):
            key = (row["claim"], row["case"])
            rounding[key] = max(row["allowed"], rounding.get(key, 0.0))
            disagreements += [] if row["agrees"] else [row]
    measured = {}
    for path in sorted((folder / "measurements").glob("*/*/*/*.npz")):
        family, name, case = path.relative_to(folder / "measurements").parts[:3]
        measured[f"{family}/{name}", case, path.stem] = path
    return Run(folder, read_rows(folder / "verdicts.csv", "verdicts"), rounding, facts, measured, disagreements)
