"""What commands print, and how they refuse."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ntkbench import files

T = TypeVar("T")
UNDECIDED = "the interval lies neither within what is expected nor outside"


def print_out(content: Table | str) -> None:
    """To a terminal in its width; elsewhere (a log, a pipe) wide enough for the tables; nothing where there is nothing."""
    if content == "":
        return
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    Console(highlight=False, soft_wrap=isinstance(content, str), width=width).print(content)


def or_exit(make: Callable[[], T]) -> T:
    """The value, or one line on stderr and exit code 2."""
    try:
        return make()
    except (ValueError, OSError, files.RecordError) as error:
        # Names of files need not be text: what has no letters is shown by its bytes.
        typer.echo(f"ntkbench: {error}".encode("utf-8", "backslashreplace").decode(), err=True)
        raise typer.Exit(2) from None


def outline(first: str, *others: str) -> Table:
    """Without lines, the first column indented by whoever fills it, so that 80 columns hold it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(escape(first), overflow="fold")
    for name in others:
        table.add_column(escape(name), no_wrap=name == "verdict")
    return table


def print_reasons(what: str, remarks: Iterable[tuple[str, str]]) -> None:
    """Remarks and how many verdicts have each, the most frequent first; without their numbers where these differ.

    Nothing where there are none.

    Args:
        what: of which the remarks are reasons.
        remarks: each with the claim that is to be named with it, whose cases it may speak of, or an empty text.
    """
    counts: Counter[str] = Counter()
    full: dict[str, set[str]] = {}
    for text, claim in remarks:
        short = re.sub(r" ?(\([^()]*\)|\[[^\[\]]*\])", "", text)
        found: dict[str, None] = {}
        for one in short.split("; ") if short else [UNDECIDED]:
            of = f"{claim}: {one}" if claim else one
            masked = re.sub(r"(?<![\w.-])-?\d[\d.]*(e[-+]?\d+)?(?![\w-])", "…", of)
            full.setdefault(masked, set()).add(of)
            found[masked] = None
        counts.update(found.keys())
    if counts:
        lines = [(min(full[text]) if len(full[text]) == 1 else text, n) for text, n in counts.most_common()]
        print_out("\n".join([f"\n{what}, because", *(f"  {n} x {escape(text)}" for text, n in lines)]))
