"""The cases of one claim, checked against the claim's own dataclass."""

import json
import math
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ntkbench import claims, data
from ntkbench.claims import Case, Claim
from ntkbench.config.problems import Problem, unknown

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class Section(BaseModel):
    """A part of the file: no unknown keys, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ClaimSection(Section):
    """The cases of one claim."""

    defaults: dict[str, Any] = Field(default={}, description="Fields that the cases share.")
    cases: dict[str, dict[str, Any]] = Field(min_length=1, description="Case name to the fields in which it differs.")


def claim_problems(id_: str, section: ClaimSection) -> tuple[dict[str, Case], list[Problem]]:
    """The cases of a claim, and what is wrong with them."""
    key = f"claims.{id_}"
    if id_ not in claims.all_claims():
        return {}, [Problem(key, None, unknown(id_, claims.all_claims(), "claim"))]
    claim = claims.get(id_)
    shared = _field_problems(claim, section.defaults, f"{key}.defaults")
    problems = list(shared)
    cases: dict[str, Case] = {}
    for name, overrides in section.cases.items():
        where = f"{key}.cases.{name}"
        if not NAME.fullmatch(name):
            problems.append(Problem(where, None, f"a case is named with {NAME.pattern}"))
        found = _field_problems(claim, overrides, where)
        problems += found
        if not found and not shared:
            case = _build(claim, {**section.defaults, **overrides}, where)
            if isinstance(case, Problem):
                of_defaults = _is_of_defaults(claim, section.defaults, overrides, case)
                problems.append(Problem(f"{key}.defaults", None, case.mend) if of_defaults else case)
            else:
                cases[name] = case
    if not problems:
        problems = [*_twins(key, cases), *_control_problems(claim, key, cases), *_figure_problems(claim, key, cases)]
    return cases, problems


def _field_problems(claim: Claim, values: Mapping[str, Any], where: str) -> list[Problem]:
    """Unknown fields and values of the wrong type: a bool or a text is no number, an unknown control no control."""
    types = _types(claim)
    problems = []
    for name, value in values.items():
        if name not in types:
            problems.append(Problem(f"{where}.{name}", value, unknown(str(name), types)))
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


def _types(claim: Claim) -> dict[str, Any]:
    hints = typing.get_type_hints(claim.case_type)
    return {f.name: hints[f.name] for f in fields(claim.case_type)}


def _join(where: str, name: str, location: tuple[Any, ...]) -> str:
    return ".".join([where, name, *(str(part) for part in location if isinstance(part, int))])


def _required(claim: Claim) -> list[str]:
    return [f.name for f in fields(claim.case_type) if f.default is MISSING and f.default_factory is MISSING]


def _build(claim: Claim, values: dict[str, Any], where: str) -> Case | Problem:
    if missing := [name for name in _required(claim) if name not in values]:
        return Problem(where, None, f"lacks {', '.join(missing)}; add them to the case or to the defaults")
    types = _types(claim)
    checked = {name: TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True) for name, value in values.items()}
    try:
        case = claim.case_type(**checked)
        data.check(case.dataset, train_size=case.train_size, test_size=case.test_size, input_dim=case.input_dim)
    except ValueError as error:
        return Problem(where, None, str(error))
    if case.control is not None and case.control not in claim.controls:
        return Problem(f"{where}.control", case.control, unknown(case.control, claim.controls, "control"))
    return case


def _is_of_defaults(claim: Claim, defaults: Mapping[str, Any], own: Mapping[str, Any], problem: Problem) -> bool:
    """Whether a case has its problem from the defaults: it stays without the case's own fields, and names none of them."""
    if any(name in problem.mend or (isinstance(value, str) and value in problem.mend) for name, value in own.items()):
        return False
    needed = {name: own[name] for name in _required(claim) if name in own}
    alone = _build(claim, {**needed, **defaults}, problem.key)
    return isinstance(alone, Problem) and alone.mend == problem.mend


def _twins(key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    names = list(cases)
    for index, name in enumerate(names):
        for other in names[:index]:
            if cases[name] == cases[other]:
                yield Problem(f"{key}.cases.{name}", None, f"is the same as {other}; remove one")


def _control_problems(claim: Claim, key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    """Without a regular case there is nothing to judge; without a control that resembles it no verdict is worth anything."""
    regular = [case for case in cases.values() if case.control is None]
    if not regular:
        yield Problem(f"{key}.cases", None, "has control cases only; add a regular one (control: null)")
    for expectation in claim.expectations:
        judged = [case for case in regular if expectation.applies(case)]
        controls = {name: case for name, case in cases.items() if case.control is not None and expectation.applies(case)}
        for name, control in controls.items():
            if judged and not any(control.resembles(case) for case in judged):
                free = ", ".join(sorted(control.adjustable))
                mend = f"vouches for {expectation.name!r} but resembles no case of it; it may differ from one in {free} only"
                yield Problem(f"{key}.cases.{name}", None, mend)
        if judged and not controls:
            limits = "".join(f", {name} one of {list(values)}" for name, values in expectation.where.items())
            mend = f"add a case with control: {expectation.control}{limits}"
            yield Problem(f"{key}.cases", None, f"expectation {expectation.name!r} has no negative control; {mend}")


def _figure_problems(claim: Claim, key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    """A figure needs a regular case in one of its panels at least."""
    if not claim.shown(cases.values()):
        asked = " or ".join(
            ", ".join(f"{name} one of {list(values)}" for name, values in panel.where.items()) for panel in claim.figure
        )
        yield Problem(f"{key}.cases", None, f"none is drawn in the claim's figure; add a case with {asked}")
