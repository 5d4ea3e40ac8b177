"""What a run of the matrix changes: the environment, the threads, the order of the jobs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.matrix.combinations import Combination, combinations
from tests.scratch import ROOT

STUDY = "matrix"
CLAIMS = (
    "convergence/initialization",
    "constancy/gradient_flow",
    "hierarchy/evolution",
    "hierarchy/truncation",
    "gap/kernel_regression",
    "gap/label_noise",
)
"""Of the smoke study: all families, synthetic data and digits, every integrator, an identity, rates and paired comparisons."""


@dataclass(frozen=True)
class Variation:
    """One run.

    Attributes:
        name: of its folder and of its rows.
        combination: the environment.
        threads: of each job, and the cores of the run.
        backwards: claims and cases from last to first, and measurements one by one from the last claim's in jax to the first's
            in torch; else as Snakemake orders them.
        about: what it changes, for a table.
    """

    name: str
    combination: Combination
    about: str
    threads: int = 1
    backwards: bool = False

    def study(self) -> dict[str, Any]:
        """The study file: claims of the smoke study, without timings."""
        smoke = yaml.safe_load((ROOT / "workflow" / "config" / "smoke.yaml").read_text(encoding="utf-8"))
        sections = {claim: smoke["claims"][claim] for claim in CLAIMS}
        if self.backwards:
            each = {name: {**section, "cases": _reversed(section["cases"])} for name, section in sections.items()}
            sections = _reversed(each)
        settings = {name: value for name, value in smoke.items() if name != "performance"}
        return {**settings, "study": STUDY, "device": "cpu", "threads": self.threads, "claims": sections}

    def targets(self) -> Iterator[list[str]]:
        """What each call of Snakemake is to make; the tables of the study last."""
        results, study = Path("results", STUDY), self.study()
        if self.backwards:
            for claim, section in study["claims"].items():
                for backend in reversed(study["backends"]):
                    yield [str(results / "measurements" / claim / case / f"{backend}.npz") for case in section["cases"]]
        yield [str(results / "environment.json")]


def _reversed(mapping: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(mapping.items()))


def variations() -> tuple[Variation, ...]:
    """The base first, with which the others are compared; each changes one thing."""
    locked, *others = combinations()
    return (
        Variation("base", locked, "the base"),
        Variation("threads-2", locked, "two threads", threads=2),
        Variation("backwards", locked, "jobs and cases in reverse order", backwards=True),
        *(Variation(combination.name, combination, combination.about) for combination in others),
    )
