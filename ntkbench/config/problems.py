"""What is wrong with a study, in words that name key, value and mend."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


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


def unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    """The mend of a name that nobody knows: the nearest that somebody does."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown {what}; " + (f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}")
