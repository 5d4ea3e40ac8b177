"""What is wrong with a study, in words that name key, value and mend."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ntkbench import names

ABSENT: Final = object()
"""The value of a key that is not there, or that stands for a whole section; None is YAML's null."""
SHOWN = 200
"""Letters of a value that a message shows."""


class ConfigError(ValueError):
    """A study that cannot be run; the message lists every problem."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend: the dotted key, what stands there and what would be accepted."""

    key: str
    value: Any
    mend: str

    def __str__(self) -> str:
        """One line, of printable letters."""
        shown = "" if self.value is ABSENT else f" = {shortened(json.dumps(self.value, default=str))}"
        return printable(f"{self.key or repr('')}{shown}: {self.mend}")


def printable(text: str) -> str:
    """With line breaks, control characters and the like escaped, so that a file cannot write what it likes to a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def shortened(text: str) -> str:
    """As long as a message may show it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def unknown(name: object, known: Sequence[str], what: str = "key") -> str:
    """The mend of a name that nobody knows."""
    return f"unknown {what}; {names.mend(name, known)}"


def of_type(error: Mapping[str, Any]) -> str:
    """The mend of what pydantic found in a value."""
    limits, value = error.get("ctx", {}), error["input"]
    match error["type"]:
        case "missing":
            return "is missing; add it"
        case "literal_error":
            return names.mend(value, re.findall(r"'([^']*)'", limits["expected"]))
        case "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_type" | "finite_number":
            return "must be a finite number"
        case "bool_type":
            return "must be true or false"
        case "string_type":
            return f"must be a text; write {json.dumps(str(value))}" if isinstance(value, int | float) else "must be a text"
        case "list_type" | "tuple_type":
            plain = isinstance(value, str | int | float)
            return f"must be a list; write [{json.dumps(value)}]" if plain else "must be a list"
        case "dict_type" | "model_type":
            return "must be a section, with keys of its own"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "greater_than":
            return f"must be above {limits['gt']}"
        case "less_than_equal":
            return f"must be at most {limits['le']}"
        case "too_short":
            return f"must have {limits['min_length']} or more entries"
        case "too_long":
            return f"must have {limits['max_length']} entries at most"
    raise NotImplementedError(f"no words for pydantic's {error['type']}: {error['msg']}")
