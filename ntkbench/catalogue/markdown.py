"""Plain text and tables as Markdown."""

import re
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Text in which Markdown sees no emphasis, table or tag; what stands in backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_|<>\[\]])", r"\\\1", part) for part in parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plural(count: int, noun: str) -> str:
    """The number and what is counted."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
