"""The cases of one claim, checked against the claim's own dataclass."""

import json
import math
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ntkbench import claims, data
from ntkbench.claims import Case, Claim
from ntkbench.config.problems import ABSENT, Problem, of_type, shortened, unknown

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
LONGEST = 100
"""Letters of a name, which becomes part of the names of files."""
LARGEST = 10**9
"""Of the numbers of a case: no machine holds as many points, units, seeds or steps."""


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
        return {}, [Problem(key, ABSENT, unknown(id_, list(claims.all_claims()), "claim"))]
    claim = claims.get(id_)
    shared = _field_problems(claim, section.defaults, f"{key}.defaults")
    problems = list(shared)
    cases: dict[str, Case] = {}
    for name, overrides in section.cases.items():
        where = f"{key}.cases.{name}"
        problems += name_problems(where, name, "case")
        found = _field_problems(claim, overrides, where)
        problems += found
        if not found and not shared:
            case = _build(claim, {**section.defaults, **overrides}, where)
            if isinstance(case, Problem):
                of_defaults = _is_of_defaults(claim, section.defaults, overrides, case)
                problems.append(replace(case, key=case.key.replace(where, f"{key}.defaults", 1)) if of_defaults else case)
            else:
                cases[name] = case
    if not problems:
        problems = [*_twins(key, cases), *_control_problems(claim, key, cases), *_figure_problems(claim, key, cases)]
    return cases, problems


def name_problems(key: str, name: str, what: str) -> Iterator[Problem]:
    """Names of files are made of it, and reports show it."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        mend = f"a {what} must be named with {NAME.pattern}, {LONGEST} letters at most, not {shortened(name)!r}"
        yield Problem(key, ABSENT, mend)


def _field_problems(claim: Claim, values: Mapping[str, Any], where: str) -> list[Problem]:
    """Unknown fields and values of the wrong type: a bool or a text is no number, an unknown control no control."""
    types = _types(claim)
    problems = []
    for name, value in values.items():
        if name not in types:
            problems.append(Problem(f"{where}.{name}", value, unknown(name, list(types))))
            continue
        try:
            checked = types[name].validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            problems += [_of_field(where, name, found) for found in error.errors()]
            continue
        for number in checked if isinstance(checked, tuple) else (checked,):
            if isinstance(number, int | float) and not abs(number) <= LARGEST:
                mend = "must be finite" if not math.isfinite(number) else f"must be at most {LARGEST} in size"
                problems.append(Problem(f"{where}.{name}", value, mend))
                break
    return problems


@cache
def _types(claim: Claim) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(claim.case_type)
    return {f.name: TypeAdapter(hints[f.name]) for f in fields(claim.case_type)}


def _of_field(where: str, name: str, error: Any) -> Problem:
    value = ABSENT if error["type"] == "missing" else error["input"]
    return Problem(_join(where, name, error["loc"]), value, of_type(error))


def _join(where: str, name: str, location: tuple[Any, ...]) -> str:
    return ".".join([where, name, *(str(part) for part in location if isinstance(part, int))])


def _required(claim: Claim) -> list[str]:
    return [f.name for f in fields(claim.case_type) if f.default is MISSING and f.default_factory is MISSING]


def _build(claim: Claim, values: dict[str, Any], where: str) -> Case | Problem:
    if missing := [name for name in _required(claim) if name not in values]:
        return Problem(where, ABSENT, f"lacks {', '.join(missing)}; add them to the case or to the defaults")
    types = _types(claim)
    checked = {name: types[name].validate_json(json.dumps(value), strict=True) for name, value in values.items()}
    try:
        case = claim.case_type(**checked)
        data.check(case.dataset, train_size=case.train_size, test_size=case.test_size, input_dim=case.input_dim)
    except ValueError as error:
        return _refused(claim, values, where, str(error))
    if case.control is not None and case.control not in claim.controls:
        return Problem(f"{where}.control", case.control, unknown(case.control, list(claim.controls), "control"))
    return case


def _refused(claim: Claim, values: Mapping[str, Any], where: str, mend: str) -> Problem:
    """A refusal by the case, of the field that it names first; a list's name may stand in the singular, for one entry."""
    usual = {f.name: None if f.default is MISSING else f.default for f in fields(claim.case_type)}
    named = {
        found.start(): name
        for name in usual
        if (found := re.search(rf"\b{name.removesuffix('s')}s?\b", mend, re.IGNORECASE)) is not None
    }
    if not named:
        return Problem(where, ABSENT, mend)
    name = named[min(named)]
    return Problem(f"{where}.{name}", values.get(name, usual[name]), mend)


def _is_of_defaults(claim: Claim, defaults: Mapping[str, Any], own: Mapping[str, Any], problem: Problem) -> bool:
    """Whether a case has its problem from the defaults: it stays without the case's own fields, and names none of them."""
    named = {problem.key.rpartition(".")[2]} | {name for name in own if name in problem.mend}
    if named & set(own) or any(isinstance(value, str) and value in problem.mend for value in own.values()):
        return False
    needed = {name: own[name] for name in _required(claim) if name in own}
    alone = _build(claim, {**needed, **defaults}, problem.key)
    return isinstance(alone, Problem) and alone.mend == problem.mend


def _twins(key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    names = list(cases)
    for index, name in enumerate(names):
        for other in names[:index]:
            if cases[name] == cases[other]:
                yield Problem(f"{key}.cases.{name}", ABSENT, f"is the same as {other}; remove one")


def _control_problems(claim: Claim, key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    """Without a regular case there is nothing to judge; without a control that resembles it no verdict is worth anything."""
    regular = {name: case for name, case in cases.items() if case.control is None}
    if not regular:
        yield Problem(f"{key}.cases", ABSENT, "has control cases only; add a regular one (control: null)")
    for expectation in claim.expectations:
        judged = {name: case for name, case in regular.items() if expectation.applies(case)}
        controls = {name: case for name, case in cases.items() if case.control is not None and expectation.applies(case)}
        for name, control in controls.items():
            if judged and not any(control.resembles(case) for case in judged.values()):
                yield _stranger(f"{key}.cases.{name}", expectation.name, control, judged)
        if judged and not controls:
            limits = "".join(f", {name} one of {list(values)}" for name, values in expectation.where.items())
            mend = f"add a case with control: {expectation.control}{limits}"
            yield Problem(f"{key}.cases", ABSENT, f"expectation {expectation.name!r} has no negative control; {mend}")


def _stranger(key: str, expectation: str, control: Case, judged: Mapping[str, Case]) -> Problem:
    """A control that resembles none of the cases that it vouches for: where it differs from the one that is nearest."""
    own, free = control.as_dict(), control.adjustable
    differing = {
        name: {field: value for field, value in case.as_dict().items() if field not in free and value != own[field]}
        for name, case in judged.items()
    }
    nearest = min(differing, key=lambda name: len(differing[name]))
    taken = ", ".join(f"{field}: {json.dumps(value)}" for field, value in differing[nearest].items())
    may = f"only {', '.join(sorted(free))} may differ"
    mend = f"vouches for {expectation!r} but resembles no case of it; take {taken} of {nearest} ({may})"
    first = next(iter(differing[nearest]))
    return Problem(f"{key}.{first}", own[first], mend)


def _figure_problems(claim: Claim, key: str, cases: Mapping[str, Case]) -> Iterator[Problem]:
    """A figure needs a regular case in one of its panels at least."""
    if not claim.shown(cases.values()):
        asked = " or ".join(
            ", ".join(f"{name} one of {list(values)}" for name, values in panel.where.items()) for panel in claim.figure
        )
        yield Problem(f"{key}.cases", ABSENT, f"none is drawn in the claim's figure; add a case with {asked}")
