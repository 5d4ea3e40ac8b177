"""Whether a refusal of a study names key, value and mend: looked up in the file that it speaks of."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ntkbench import claims
from ntkbench.config.problems import SHOWN, printable

MENDS = re.compile(
    r"\b(must|choose|did you mean|add|take|write|lower|raise|leave (it )?out|remove|give|make|halve|say|save|mend|name each)\b"
)
FOREIGN = re.compile(r"Input should|Traceback|NoneType|pydantic|object at 0x|https?://|valid (dict|list|int|str|num|bool)")
NOTHING_THERE = re.compile(
    r"is missing; add|lacks .*; add|unknown claim; |is the same as .*; remove|must be named with .*, not |"
    r"has control cases only; add|has no negative control; add|none is drawn in the claim's figure; add"
)
"""Of a problem that is no value: something is not there, or two sections are the same."""


def faults(message: str, path: Path, raw: Any) -> list[str]:
    """What is wrong with a message about the study `raw` that stands in a file; `raw` None where it cannot be read."""
    head, *problems = message.split("\n")
    found = [f"speaks with another's words: {line}" for line in (head, *problems) if FOREIGN.search(line)]
    if not head.startswith(str(path)):
        found.append(f"does not name the file: {head}")
    if raw is None:
        return [*found, *_of_file(message, head, problems)]
    counted = re.fullmatch(r".* has (\d+) problems?:", head)
    if counted is None or int(counted[1]) != len(problems) or not problems:
        found.append(f"does not count its problems: {head}")
    return found + [fault for line in problems for fault in _of_problem(line, raw)]


def _of_file(message: str, head: str, problems: list[str]) -> Iterator[str]:
    if problems:
        yield f"is more than one line: {message}"
    if not MENDS.search(head):
        yield f"has no mend: {head}"
    if "no valid YAML" in head and not re.search(r"line \d+|position \d+|too deeply", head):
        yield f"names no place: {head}"


def _of_problem(line: str, raw: Mapping[str, Any]) -> Iterator[str]:
    found = [(key, value, line[2 + len(key) :]) for key, value in _places(raw) if _speaks_of(line, key)]
    if not found:
        yield f"names no key of the file: {line}"
        return
    if not MENDS.search(line):
        yield f"has no mend: {line}"
    if not any(_shows(rest, value) for _, value, rest in found):
        yield f"does not show the value: {line}"


def _speaks_of(line: str, key: str) -> bool:
    return line.startswith((f"  {key}: ", f"  {key} = "))


def _shows(rest: str, value: Any) -> bool:
    if rest.startswith(": "):
        return NOTHING_THERE.search(rest) is not None
    shown = printable(json.dumps(value))
    return rest.startswith(f" = {shown}: " if len(shown) <= SHOWN else f" = {shown[:SHOWN]}")


def _places(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values: those written, those that a case has from elsewhere, and the ones that may be missing."""
    yield from _below("", raw)
    yield from ((name, None) for name in ("study", "seed", "backends", "claims") if name not in raw)
    sections = raw.get("claims")
    for id_, section in sections.items() if isinstance(sections, dict) else ():
        if not isinstance(section, dict):
            continue
        yield printable(f"claims.{id_}.cases"), section.get("cases")
        yield printable(f"claims.{id_}.defaults"), section.get("defaults", {})
        yield from _inherited(id_, section)
    timed = raw.get("performance")
    curves = timed.get("curves", {}) if isinstance(timed, dict) else {}
    yield "performance.curves", curves
    for name, curve in curves.items() if isinstance(curves, dict) else ():
        yield printable(f"performance.curves.{name}"), curve.get("sizes") if isinstance(curve, dict) else curve
        defaults = {"outputs": 1, "activation": "tanh", "quantity": None, "axis": None, "sizes": None}
        yield from ((printable(f"performance.curves.{name}.{key}"), value) for key, value in defaults.items())


def _inherited(id_: str, section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the cases of a claim have from its defaults, and these from the claim's own."""
    claim = claims.all_claims().get(id_)
    if claim is None:
        return
    usual = {f.name: None if f.default is MISSING else f.default for f in fields(claim.case_type)}
    usual = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    shared = section.get("defaults")
    shared = shared if isinstance(shared, dict) else {}
    cases = section.get("cases")
    names = list(cases) if isinstance(cases, dict) else []
    yield from ((printable(f"claims.{id_}.defaults.{key}"), value) for key, value in usual.items())
    for name, case in cases.items() if isinstance(cases, dict) else ():
        all_fields = usual | shared | (case if isinstance(case, dict) else {})
        yield from ((printable(f"claims.{id_}.cases.{name}.{key}"), value) for key, value in all_fields.items())
    # Fixed lengths: an entry that is missing.
    for key in ("image",):
        for place in (f"claims.{id_}.defaults", *(f"claims.{id_}.cases.{name}" for name in names)):
            yield from ((printable(f"{place}.{key}.{index}"), None) for index in range(3))


def _below(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield printable(key) or "''", value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from _below(f"{key}.{name}" if key else str(name) or "''", part)
