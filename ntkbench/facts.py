"""What a run and its records say of themselves: `environment.json`, and the settings of a case."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ntkbench.files import MEND, RecordError, read_json


def read_environment(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """`environment.json` of a run: facts by name, of the kinds that a run writes.

    Args:
        needed: facts without which it cannot be used.

    Raises:
        RecordError: if the file is missing or damaged, lacks what is needed, or holds something else in a fact's place.
    """
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise RecordError(f"{path} is damaged: it holds no facts; {MEND}")
    if lost := [name for name in needed if name not in facts]:
        raise RecordError(f"{path} is damaged: it does not say {', '.join(lost)}; {MEND}")
    wrong = [name for name, value in facts.items() if name in _FACTS and not _FACTS[name](value)]
    if wrong:
        raise RecordError(f"{path} is damaged: its {wrong[0]} is {facts[wrong[0]]!r}; {MEND}")
    return facts


def _by_name(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


_FACTS: Mapping[str, Callable[[Any], bool]] = {
    "study": _text,
    "commit": _text,
    "dirty": lambda value: value is None or isinstance(value, bool),
    "root": lambda value: value is None or type(value) is int,
    "results_version": lambda value: value is None or type(value) is int,
    "versions": _by_name(_text),
    "python": _text,
    "platform": _text,
    "processor": _text,
    "measured_seconds": _by_name(_number),
    "peak_memory_bytes": _by_name(_number),
    "backends": _by_name(lambda found: isinstance(found, list) and all(isinstance(device, dict) for device in found)),
}
"""What a fact of `environment.json` must be."""


def settings(case_type: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a case as they were recorded; a field that the case has got since had its default then."""
    usual = {of.name: of.default for of in fields(case_type) if of.default is not MISSING}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in {**usual, **parameters}.items()}
