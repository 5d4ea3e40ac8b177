"""A study: its file, and what the file says once all of it is checked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from ntkbench.claims import Case
from ntkbench.config.cases import NAME, ClaimSection, Section, claim_problems, name_problems
from ntkbench.config.performance import CurveSection, Performance, PerformanceSection, performance
from ntkbench.config.problems import ABSENT, ConfigError, Problem, of_type, printable, unknown
from ntkbench.config.reading import read_yaml

OPTIONS = ("study", "summary")
PUBLISHED = "reference"
"""The folder in `results/` that no study writes."""


class StudyFile(Section):
    """The file as written."""

    study: str = Field(description="Name of the study, equal to the file's name without .yaml.")
    seed: int = Field(ge=0, description="Root of all random streams.")
    backends: list[Literal["torch", "jax"]] = Field(min_length=2, description="Frameworks that are checked against each other.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float64", "float32"] = "float64"
    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads of one measurement.")
    memory_gib: Annotated[float, Field(gt=0, le=2**20, allow_inf_nan=False)] = 2.0
    cases_per_job: int = Field(
        default=1, ge=1, description="How many cases of a claim one process measures, one after another."
    )
    claims: dict[str, ClaimSection] = Field(min_length=1, description="Claim id to its cases.")
    performance: PerformanceSection | None = Field(default=None, description="Scaling curves, timed at the end of a run.")


SECTIONS: tuple[tuple[tuple[str | None, ...], type[Section]], ...] = (
    ((None,), StudyFile),
    (("performance", None), PerformanceSection),
    (("performance", "curves", None, None), CurveSection),
)
"""Where unknown keys are found, None being any, and whose keys are known there."""


@dataclass(frozen=True)
class Study:
    """A valid study.

    Attributes:
        name, seed, backends, device, precision, threads: as in the file.
        memory_bytes: budget for the temporaries of one backend call.
        cases: claim id -> case name -> case.
        cases_per_job: how many of them one process measures, one after another.
        performance: the scaling curves; None for a study that times nothing.
    """

    name: str
    seed: int
    backends: tuple[str, ...]
    device: str
    precision: str
    threads: int
    memory_bytes: int
    cases: Mapping[str, Mapping[str, Case]]
    cases_per_job: int = 1
    performance: Performance | None = None

    @property
    def batches(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Claim id -> the names of the cases that share a process, in the file's order."""
        size = self.cases_per_job
        names = {claim: tuple(cases) for claim, cases in self.cases.items()}
        return {claim: tuple(of[k : k + size] for k in range(0, len(of), size)) for claim, of in names.items()}

    def cell(self, claim: str, case: str) -> dict[str, Any]:
        """One case as plain values, the arguments of `ntkbench.stages.cell.Cell.make`."""
        return {
            "claim": claim,
            "name": case,
            "case": self.cases[claim][case].as_dict(),
            "root": self.seed,
            "device": self.device,
            "precision": self.precision,
        }


def from_options(folder: Path, options: Mapping[str, Any]) -> Study:
    """The study that the workflow's `--config` options name; whether this machine can run it, `check_device` says.

    Args:
        folder: where the studies are.
        options: `study` (a file's name without .yaml; `default` if not given) and `summary` (whether a run ends by printing
            its verdicts).

    Raises:
        ConfigError: for an unknown option, a `summary` that is neither True nor False, or a study that is not valid.
    """
    if strange := [key for key in options if key not in OPTIONS]:
        raise ConfigError("\n".join(f"--config {key}=...: {unknown(key, OPTIONS)}" for key in strange))
    if not isinstance(summary := options.get("summary", True), bool):
        raise ConfigError(f"--config summary={summary}: write summary=True or summary=False, with a capital letter")
    study = options.get("study", "default")
    if not (isinstance(study, str) and NAME.fullmatch(study)):  # or a path would lead out of the folder
        raise ConfigError(printable(f"--config study={study}: a study must be named with {NAME.pattern}, without .yaml"))
    return load(folder / f"{study}.yaml")


def load(path: Path) -> Study:
    """Read and check a study.

    Raises:
        ConfigError: if the file is missing or no YAML, or listing everything in it that is wrong.
    """
    raw = read_yaml(path, StudyFile.model_fields)
    try:
        file = StudyFile.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        problems = [_problem(found) for found in error.errors()]
        problems += [p for id_, section in _sections(raw) for p in claim_problems(id_, section)[1]]
        raise _error(path, problems) from error
    problems = _study_problems(path, file)
    cases: dict[str, dict[str, Case]] = {}
    for id_, section in file.claims.items():
        cases[id_], found = claim_problems(id_, section)
        problems += [*found, *_memory_problems(f"claims.{id_}", section, cases[id_], file)]
    timed, found = (None, []) if file.performance is None else performance(file.performance)
    problems += found
    if problems:
        raise _error(path, problems)
    return Study(
        name=file.study,
        seed=file.seed,
        backends=tuple(file.backends),
        device=file.device,
        precision=file.precision,
        threads=file.threads,
        memory_bytes=int(file.memory_gib * 2**30),
        cases=cases,
        cases_per_job=file.cases_per_job,
        performance=timed,
    )


def _sections(raw: Mapping[str, Any]) -> Iterator[tuple[str, ClaimSection]]:
    """The well-formed claim sections of a file that is not well-formed as a whole."""
    written = raw.get("claims")
    for id_, section in written.items() if isinstance(written, dict) else ():
        try:
            yield str(id_), ClaimSection.model_validate(section)
        except ValidationError:
            continue


def _error(path: Path, problems: list[Problem]) -> ConfigError:
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return ConfigError("\n  ".join([f"{path} has {count}:", *lines]))


def _problem(error: Any) -> Problem:
    """What pydantic found, in our words."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    match error["type"]:
        case "extra_forbidden":
            model = next((known for place, known in SECTIONS if _within(location, place)), ClaimSection)
            return Problem(key, error["input"], unknown(location[-1], list(model.model_fields)))
        case "missing":
            return Problem(key, ABSENT, of_type(error))
        case _ if key == "backends" and error["type"] == "too_short":
            return Problem(key, error["input"], "a cross-check needs two; write [torch, jax]")
        case _:
            return Problem(key, error["input"], of_type(error))


def _within(location: Sequence[str], place: Sequence[str | None]) -> bool:
    return len(location) == len(place) and all(known in (None, part) for part, known in zip(location, place, strict=True))


def _memory_problems(key: str, section: ClaimSection, cases: Mapping[str, Case], file: StudyFile) -> Iterator[Problem]:
    """Widths at which the parameters of one network alone are larger than the memory budget."""
    for name, case in cases.items():
        gib = np.dtype(file.precision).itemsize * case.network(max(case.widths)).parameter_count / 2**30
        if gib > file.memory_gib:
            mend = (
                f"the largest network takes {gib:.3g} GiB, memory_gib is {file.memory_gib:g}; lower the one or raise the other"
            )
            place = f"cases.{name}" if "widths" in section.cases[name] else "defaults"
            yield Problem(f"{key}.{place}.widths", list(case.widths), mend)


def _study_problems(path: Path, file: StudyFile) -> list[Problem]:
    problems = []
    if file.study != path.stem:
        problems.append(Problem("study", file.study, f"must equal the file's name, {path.stem!r}"))
    problems += name_problems("study", file.study, "study")
    if file.study == PUBLISHED:
        problems.append(Problem("study", file.study, "is where the published run is; choose another name"))
    if len(set(file.backends)) < len(file.backends):
        problems.append(Problem("backends", file.backends, "name each backend once"))
    if file.memory_gib * 2**30 < 2**20:
        problems.append(Problem("memory_gib", file.memory_gib, "must be at least 0.001"))
    return problems
