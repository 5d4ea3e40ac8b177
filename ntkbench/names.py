"""Names that are chosen among known ones, and what is said of one that is not among them."""

import difflib
from collections.abc import Collection, Iterable

LISTED = 16
"""Known names beyond which the nearest one is told without the others."""


def mend(name: object, known: Iterable[str]) -> str:
    """The known name that `name` is a part of, else the nearest, whatever its capitals; and the known ones."""
    lowered, text = {other.lower(): other for other in known}, str(name).lower()
    whole = sorted((other for other in lowered if text and text in other), key=len)
    close = whole or difflib.get_close_matches(text, lowered, n=1)
    if close and len(lowered) > LISTED:
        return f"did you mean {lowered[close[0]]!r}?"
    told = f"choose one of {', '.join(lowered.values())}"
    return f"did you mean {lowered[close[0]]!r}? {told}" if close else told


def check(what: str, name: object, known: Collection[str]) -> None:
    """ValueError, with the nearest known name, unless `name` is one of those known."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{what} {name!r} is unknown; {mend(name, known)}")
