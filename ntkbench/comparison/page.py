"""A comparison as one self-contained page of HTML."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from ntkbench.comparison.levels import Level, Outcome
from ntkbench.comparison.side_by_side import Comparison

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 0.2em 0.8em 0.2em 0; border-bottom: 1px solid #ddd; }
.reproduced { color: #1a6b2d; } .differs, .lost { color: #a3191c; font-weight: 600; } .not { color: #666; }
summary { cursor: pointer; margin-top: 1.5em; font-size: 18px; font-weight: 600; }
"""


def html_page(compared: Comparison, here: str, there: str) -> str:
    """The whole comparison: its outcome, a row per claim, what is different in the two, every verdict, every observable.

    Args:
        here, there: names of the run and of its reference.

    Returns:
        HTML without scripts, images or links to elsewhere; what comes from the runs is escaped.
    """
    claims = [
        (s.claim, _level(s.observables), _level(s.verdicts), *(str(s.outcomes.get(o, 0)) for o in _COUNTED), s.outcome)
        for s in compared.claims()
    ]
    verdicts = [
        (
            *(r.claim, r.expectation, r.case, r.backend, r.verdict, r.reference_verdict),
            *map(_number, (r.estimate, r.reference_estimate, r.difference)),
            *(_level(r.level), r.reason, r.outcome),
        )
        for r in compared.verdicts
    ]
    observables = [
        (r.claim, r.case, r.backend, r.quantity, _number(r.max_rel), _number(r.allowed), _level(r.level), r.reason, r.outcome)
        for r in compared.observables
    ]
    environment = [(d.fact, d.here, d.there) for d in compared.differences]
    body = [
        f"<h1>{escape(here)} against {escape(there)}: {_coloured(compared.outcome)}</h1>",
        f"<p>Verdicts must agree {escape(str(compared.required))}: {escape(compared.why)}.</p>",
        "<h2>Claims</h2>",
        _table(("claim", "observables", "verdicts", *_COUNTED, "outcome"), claims, marked=True),
        "<h2>What is different in the two</h2>",
        _table(("fact", "here", "there"), environment) if environment else "<p>Nothing that was recorded.</p>",
        _folded("Verdicts", _VERDICTS, verdicts),
        _folded("Observables", _OBSERVABLES, observables),
    ]
    title = escape(f"{here} against {there}")
    head = f'<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
    return "\n".join(["<!doctype html>", f'<html lang="en">{head}<body>', *body, "</body></html>", ""])


_COUNTED: tuple[Outcome, ...] = ("reproduced", "differs", "lost", "not comparable")
_VERDICTS = (
    *("claim", "expectation", "case", "backend", "verdict here", "there"),
    *("estimate here", "there", "difference", "agree", "why", "outcome"),
)
_OBSERVABLES = ("claim", "case", "backend", "observable", "difference of scale", "allowed", "agree", "why", "outcome")


def _folded(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = _table(header, rows, marked=True) if rows else "<p>None was compared.</p>"
    return f"<details><summary>{title} ({len(rows)})</summary>{table}</details>"


def _table(header: Iterable[str], rows: Iterable[Sequence[str]], *, marked: bool = False) -> str:
    """Rows of plain text; `marked`: the last column is an outcome."""
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in header) + "</tr>"]
    for row in rows:
        cells = [escape(text) for text in row]
        if marked:
            cells[-1] = _coloured(row[-1])
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _coloured(outcome: str) -> str:
    return f'<span class="{escape(outcome)}">{escape(outcome)}</span>'


def _level(level: Level | None) -> str:
    return "" if level is None else str(level)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"
