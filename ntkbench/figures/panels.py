"""One panel of any kind, with its legend."""

import textwrap
from collections.abc import Callable

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from ntkbench.figures import along_axis, over_width, response
from ntkbench.figures.content import Content

AXIS_HEIGHT = 0.37
"""Of tick labels and axis label below a panel, inches."""
HANDLE_LETTERS = 8
"""Room of a legend's line and marker, in letters."""
KINDS: dict[str, Callable[[Axes, Content], list[Artist]]] = {
    "rate": over_width.rate,
    "along": along_axis.along,
    "paired": over_width.paired,
    "level": over_width.level,
    "map": along_axis.best,
    "difference": along_axis.difference,
    "response": response.response,
}
"""Each draws a panel of its kind and returns the entries of its legend."""


def draw(axes: Axes, content: Content) -> None:
    """Draws one panel with its legend below.

    Raises:
        ValueError: for an unknown kind, or where there is nothing to draw.
    """
    if content.panel.kind not in KINDS:
        raise ValueError(
            f"{content.claim.id}, panel {content.panel.title!r}: kind {content.panel.kind!r} is unknown; "
            f"choose one of {', '.join(KINDS)}"
        )
    entries = KINDS[content.panel.kind](axes, content)
    axes.set_ylabel(content.panel.ylabel)
    _legend(axes, entries, content.letters)


def _legend(axes: Axes, entries: list[Artist], letters: int) -> None:
    """Below the panel and no wider than it (a wider one would make the panel collapse)."""
    for entry in entries:
        entry.set_label(_wrap(str(entry.get_label()), letters - HANDLE_LETTERS))
    longest = max(len(text) for entry in entries for text in str(entry.get_label()).splitlines())
    columns = max(1, letters // (longest + HANDLE_LETTERS + 1))
    below = axes.transAxes + ScaledTranslation(0, -AXIS_HEIGHT, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0, ncols=columns,
        columnspacing=1.0,
    )  # fmt: skip


def _wrap(text: str, letters: int) -> str:
    """In lines of so many letters; names of cases are broken at their hyphens only where they fill more than a line."""
    indent = "  "
    too_long = any(len(word) > letters - len(indent) for word in text.split(" "))
    return textwrap.fill(text, letters, subsequent_indent=indent, break_on_hyphens=too_long)
