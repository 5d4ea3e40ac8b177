"""Names that are chosen among known ones, and what is said of one that is not among them."""

import difflib
from collections.abc import Collection, Iterable

LISTED = 16
"""Known names beyond which the nearest one is told without the others."""


def mend(name: object, known: Iterable[str]) -> str:
    """The nearest known name, whatever its capitals, and the known ones."""
    lowered = {other.lower(): other for other in known}
    close = difflib.get_close_matches(str(name).lower(), lowered, n=1)
    if close and len(lowered) > LISTED:
        return f"did you mean {lowered[close[0]]!r}?"
    told = f"choose one of {', '.join(lowered.values())}"
    return f"did you mean {lowered[close[0]]!r}? {told}" if close else told


def check(what: str, name: object, known: Collection[str]) -> None:
    """ValueError, with the nearest known name, unless `name` is one of those known."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{what} {name!r} is unknown; {mend(name, known)}")
