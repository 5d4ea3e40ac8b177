"""A run on disk: its study, its paper, and where each file of it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ntkbench import config, files, layout
from ntkbench.facts import read_environment
from ntkbench.provenance import environment
from ntkbench.report import paper
from ntkbench.stages.cell import Cell

NEEDED = (
    *("study", "commit", "dirty", "versions", "python", "platform", "processor", "cpus", "backends"),
    *("measured_seconds", "peak_memory_bytes"),
)
"""Facts of `environment.json` without which a run can be neither traced nor exported."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: `results/<study>`, or a published run, which may keep tables alone.
        study: what its file in the checkout says.
        study_file: that file.
        paper: the folder of the paper that was made of this run; None where there is none.
    """

    folder: Path
    study: config.Study
    study_file: Path
    paper: Path | None

    @classmethod
    def open(cls, folder: Path, studies: Path, paper_folder: Path) -> "Run":
        """A run by its folder.

        Args:
            studies: the folder of the studies' files; a file of the run's own folder comes before it.
            paper_folder: `paper/`, which belongs to the study that ran last, `results/<study>` beside it.

        Raises:
            RecordError: if `environment.json` is missing or damaged, which says what the run is of.
            ConfigError: if the study's file is missing or not valid in this checkout.
        """
        name = str(read_environment(folder / "environment.json", NEEDED)["study"])
        own = folder / f"{name}.yaml"
        file = own if own.is_file() else studies / f"{name}.yaml"
        generated = paper_folder / "generated" / "study.json"
        made_here = folder.absolute() == paper_folder.absolute().parent / "results" / name
        ours = made_here and generated.is_file() and _study_of(generated) in (name, None)
        return cls(folder, config.load(file), file, paper_folder if ours else None)

    @property
    def keeps_measurements(self) -> bool:
        """Whether anything but the tables of the whole study is there."""
        return (self.folder / "measurements").is_dir()

    @property
    def timed(self) -> bool:
        """Whether there are scaling curves."""
        return (self.folder / "scaling.csv").is_file()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`environment.json`."""
        return read_environment(self.folder / "environment.json", NEEDED)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the paper prints of the tables as they are; the worked example only where quantities are kept."""
        cases = self.study.cases
        if self.paper is not None:
            return paper.generate(self.folder, self.paper, cases, self.timed)
        return paper.of_tables(self.folder, cases, self.timed)

    def cells(self, claim: str) -> list[Cell]:
        """The claim's cases, controls included, in the study's order."""
        return [Cell.make(**self.study.cell(claim, name)) for name in self.study.cases[claim]]

    def inputs(self, cell: Cell) -> Path:
        """The record of a case's data."""
        return layout.inputs(self.folder, cell.claim.id, cell.name)

    def measurement(self, cell: Cell, backend: str) -> Path:
        """The record of a case's measurement."""
        return layout.measurement(self.folder, cell.claim.id, cell.name, backend)

    def crosscheck(self, cell: Cell) -> Path:
        """The cross-check of a case."""
        return layout.crosscheck(self.folder, cell.claim.id, cell.name)

    def of_claim(self, stage: str, claim: str) -> Path:
        """The table that a stage (`quantities`, `judgements`) leaves of a claim."""
        return self.folder / stage / f"{claim}.csv"


def same_machine(facts: Mapping[str, Any]) -> bool:
    """Whether this is the kind of machine, with the versions, that `facts` (`provenance.environment`) speak of."""
    now = environment()
    return all(facts.get(name) == now[name] for name in ("versions", "python", "processor"))


def _study_of(generated: Path) -> str | None:
    """The study that the paper's numbers are of; None where they are damaged, which the trace will say."""
    try:
        return str(files.read_json(generated)["study"])
    except (files.RecordError, KeyError, TypeError):
        return None
