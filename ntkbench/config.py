"""The configuration of a study: one YAML file, checked as a whole before any job runs.

Every problem of a file is reported at once, each with its key, its value and the mend.
"""

import difflib
import json
import math
import os
import re
import shutil
import subprocess
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ntkbench import claims, data
from ntkbench.claims import Case, Claim

OPTIONS = ("study", "summary")
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class ConfigError(ValueError):
    """A study that cannot be run; the message lists every problem."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend: the dotted key, what stands there (None for nothing) and what would be accepted."""

    key: str
    value: Any
    mend: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {json.dumps(self.value, default=str)}"
        return f"{self.key}{shown}: {self.mend}"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ClaimSection(_Section):
    """The cases of one claim."""

    defaults: dict[str, Any] = Field(default={}, description="Fields that the cases share.")
    cases: dict[str, dict[str, Any]] = Field(min_length=1, description="Case name to the fields in which it differs.")


class StudyFile(_Section):
    """The file as written."""

    study: str = Field(description="Name of the study, equal to the file's name without .yaml.")
    seed: int = Field(ge=0, description="Root of all random streams.")
    backends: list[Literal["torch", "jax"]] = Field(min_length=2, description="Frameworks that are checked against each other.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float64", "float32"] = "float64"
    threads: int = Field(default=1, ge=1, description="CPU threads of one measurement.")
    memory_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    claims: dict[str, ClaimSection] = Field(min_length=1, description="Claim id to its cases.")


@dataclass(frozen=True)
class Study:
    """A valid study.

    Attributes:
        name, seed, backends, device, precision, threads: as in the file.
        memory_bytes: budget for the temporaries of one backend call.
        cases: claim id -> case name -> case.
    """

    name: str
    seed: int
    backends: tuple[str, ...]
    device: str
    precision: str
    threads: int
    memory_bytes: int
    cases: Mapping[str, Mapping[str, Case]]

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
        ConfigError: for an unknown option, or a study that is not valid.
    """
    if unknown := [key for key in options if key not in OPTIONS]:
        raise ConfigError("\n".join(f"--config {key}=...: {_unknown(key, OPTIONS)}" for key in unknown))
    return load(folder / f"{options.get('study', 'default')}.yaml")


def load(path: Path) -> Study:
    """Read and check a study.

    Raises:
        ConfigError: if the file is missing or no YAML, or listing everything in it that is wrong.
    """
    raw = _read_yaml(path)
    try:
        file = StudyFile.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        problems = [_problem(found) for found in error.errors()]
        problems += [p for id_, section in _sections(raw) for p in _claim_problems(id_, section)[1]]
        raise _error(path, problems) from error
    problems = _study_problems(path, file)
    cases: dict[str, dict[str, Case]] = {}
    for id_, section in file.claims.items():
        cases[id_], found = _claim_problems(id_, section)
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
    )


def gpu_present() -> bool:
    """Whether an NVIDIA GPU answers and is not hidden, found without importing a framework."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    command = shutil.which("nvidia-smi")
    if command is None:
        return any(Path("/dev").glob("nvidia[0-9]*"))
    return subprocess.run([command, "-L"], capture_output=True, check=False).returncode == 0


def check_device(study: Study) -> None:
    """ConfigError if the study asks for a GPU and there is none."""
    if study.device == "cuda" and not gpu_present():
        raise ConfigError("device = 'cuda': no NVIDIA GPU answers on this machine; set device: cpu (or auto)")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors; the checks across fields are in `load` alone."""
    schema = StudyFile.model_json_schema()
    definitions: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for id_, claim in claims.all_claims().items():
        case = TypeAdapter(claim.case_type).json_schema()
        definitions |= case.pop("$defs", {})
        partial = {"type": "object", "additionalProperties": False, "properties": case["properties"]}
        for value in partial["properties"].values():
            value.pop("default", None)
        sections[id_] = {
            "type": "object",
            "description": claim.statement,
            "additionalProperties": False,
            "required": ["cases"],
            "properties": {
                "defaults": partial,
                "cases": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "patternProperties": {f"^{NAME.pattern}$": partial},
                },
            },
        }
    schema.pop("$defs")
    schema["properties"]["claims"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": sections,
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Study of ntkbench"}
    return {**schema, **head} | ({"$defs": definitions} if definitions else {})


MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, and in which 1e-3 is a number (YAML 1.1 wants 1.0e-3)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"{path} is missing; studies in {path.parent}: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected the keys {', '.join(StudyFile.model_fields)}")
    return raw


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
            model = StudyFile if len(location) == 1 else ClaimSection
            return Problem(key, error["input"], _unknown(location[-1], model.model_fields))
        case "missing":
            return Problem(key, None, "is missing; add it")
        case _ if key == "backends" and error["type"] == "too_short":
            return Problem(key, error["input"], "a cross-check needs two; write [torch, jax]")
        case _:
            return Problem(key, error["input"], error["msg"])


def _unknown(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known are {', '.join(known)}"


def _study_problems(path: Path, file: StudyFile) -> list[Problem]:
    problems = []
    if file.study != path.stem:
        problems.append(Problem("study", file.study, f"must equal the file's name, {path.stem!r}"))
    if len(set(file.backends)) < len(file.backends):
        problems.append(Problem("backends", file.backends, "name each backend once"))
    if file.memory_gib * 2**30 < 2**20:
        problems.append(Problem("memory_gib", file.memory_gib, "must be at least 0.001"))
    return problems


def _claim_problems(id_: str, section: ClaimSection) -> tuple[dict[str, Case], list[Problem]]:
    """The cases of a claim, and what is wrong with them."""
    key = f"claims.{id_}"
    if id_ not in claims.all_claims():
        close = difflib.get_close_matches(id_, claims.all_claims(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(claims.all_claims())}"
        return {}, [Problem(key, None, f"unknown claim; {hint}")]
    claim = claims.get(id_)
    problems = _field_problems(claim, section.defaults, f"{key}.defaults")
    cases: dict[str, Case] = {}
    for name, overrides in section.cases.items():
        where = f"{key}.cases.{name}"
        if not NAME.fullmatch(name):
            problems.append(Problem(where, None, f"a case is named with {NAME.pattern}"))
        found = _field_problems(claim, overrides, where)
        problems += found
        if not found and not _field_problems(claim, section.defaults, ""):
            case = _build(claim, {**section.defaults, **overrides}, where)
            if isinstance(case, Problem):
                problems.append(case)
            else:
                cases[name] = case
    if not problems:
        problems = [*_twins(key, cases), *_control_problems(claim, key, cases)]
    return cases, problems


def _field_problems(claim: Claim, values: Mapping[str, Any], where: str) -> list[Problem]:
    """Unknown fields and values of the wrong type: a bool or a text is no number, an unknown control no control."""
    types = typing.get_type_hints(claim.case_type)
    problems = []
    for name, value in values.items():
        if name not in types:
            problems.append(Problem(f"{where}.{name}", value, _unknown(str(name), types)))
            continue
        try:
            checked = TypeAdapter(types[name]).validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            problems += [Problem(_join(where, name, found["loc"]), found["input"], found["msg"]) for found in error.errors()]
            continue
        numbers = checked if isinstance(checked, tuple) else (checked,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            problems.append(Problem(f"{where}.{name}", str(value), "must be finite"))
    return problems


def _join(where: str, name: str, location: tuple[Any, ...]) -> str:
    return ".".join([where, name, *(str(part) for part in location if isinstance(part, int))])


def _build(claim: Claim, values: dict[str, Any], where: str) -> Case | Problem:
    required = [f.name for f in fields(claim.case_type) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in values]:
        return Problem(where, None, f"lacks {', '.join(missing)}; add them here or under defaults")
    types = typing.get_type_hints(claim.case_type)
    checked = {name: TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True) for name, value in values.items()}
    try:
        case = claim.case_type(**checked)
        data.check(case.dataset, train_size=case.train_size, test_size=case.test_size, input_dim=case.input_dim)
    except ValueError as error:
        return Problem(where, None, str(error))
    if case.control is not None and case.control not in claim.controls:
        return Problem(f"{where}.control", case.control, f"unknown control; known are {', '.join(claim.controls)}")
    return case


def _twins(key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    names = list(cases)
    for index, name in enumerate(names):
        for other in names[:index]:
            if cases[name] == cases[other]:
                yield Problem(f"{key}.cases.{name}", None, f"is the same as {other}; remove one")


def _control_problems(claim: Claim, key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    """Without a regular case there is nothing to judge; without its control no verdict is worth anything."""
    regular = [case for case in cases.values() if case.control is None]
    if not regular:
        yield Problem(f"{key}.cases", None, "has control cases only; add a regular one (control: null)")
    for expectation in claim.expectations:
        judged = any(expectation.applies(case) for case in regular)
        controlled = any(expectation.applies(case) for case in cases.values() if case.control == expectation.control)
        if judged and not controlled:
            limits = "".join(f", {name} one of {list(values)}" for name, values in expectation.where.items())
            mend = f"add a case with control: {expectation.control}{limits}"
            yield Problem(f"{key}.cases", None, f"expectation {expectation.name!r} has no negative control; {mend}")
