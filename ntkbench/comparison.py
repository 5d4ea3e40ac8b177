"""Two runs of a study side by side: which verdicts and estimates came out again, and which were lost."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["reproduced", "differs", "lost", "not comparable"]
Key = tuple[str, str, str, str]
Row = Mapping[str, Any]

NOT_HERE, NOT_THERE = "not in this run", "not in the reference"
"""Reasons of rows that one run lacks."""

_KEY = ("claim", "expectation", "case", "backend")
_QUESTION = ("kind", "expected", "margin", "range", "seeds")


@dataclass(frozen=True)
class ComparisonRow:
    """One row of `verdicts.csv` against the same row of a reference run.

    Attributes:
        verdict, estimate: of this run; reference_verdict, reference_estimate: of the reference. Empty and NaN where a row is
            missing.
        difference: of the estimates, absolute.
        allowed: what they may differ by.
        reason: why it differs, is lost or is not comparable, empty where it was reproduced.
    """

    claim: str
    expectation: str
    case: str
    backend: str
    verdict: str
    reference_verdict: str
    estimate: float
    reference_estimate: float
    difference: float
    allowed: float
    outcome: Outcome
    reason: str


def compare_runs(rows: Iterable[Row], reference_rows: Iterable[Row]) -> list[ComparisonRow]:
    """Compare a run with a reference, row by row.

    A row is *reproduced* if the verdicts are the same and the estimates are equal or differ by at most the root of the summed
    squares of the half-widths of both 95% intervals (of two independent runs of the same truth 95% agree so; two runs from the
    same root agree to rounding). An identity has no interval, and its estimate is a rounding error: it is reproduced if the
    verdicts are the same. A row is *lost* if it is valid (not invalid) in the reference, and invalid in this run or missing
    from it: what the reference had found is no longer found. It is *not comparable* if it is missing from the reference or
    invalid there, or if both are valid and ask different questions: another range of widths, number of seeds, expected value,
    margin or kind. Else it *differs*.

    Args:
        rows, reference_rows: as read from `verdicts.csv`, values as text or as numbers.

    Returns:
        One row per (claim, expectation, case, backend) in either run: this run's order, then what only the reference has.

    Raises:
        ValueError: if one run has two rows for the same key, or a row lacks a column.
    """
    mine, theirs = _by_key(rows, "this run"), _by_key(reference_rows, "the reference")
    return [_compare(key, mine.get(key), theirs.get(key)) for key in dict.fromkeys([*mine, *theirs])]


def _by_key(rows: Iterable[Row], run: str) -> dict[Key, Row]:
    named: dict[Key, Row] = {}
    for row in rows:
        if missing := [c for c in (*_KEY, *_QUESTION, "verdict", "estimate", "ci_low", "ci_high") if c not in row]:
            raise ValueError(f"a verdict row of {run} lacks {', '.join(missing)}")
        key: Key = (str(row["claim"]), str(row["expectation"]), str(row["case"]), str(row["backend"]))
        if key in named:
            raise ValueError(f"{run} has two verdict rows for {', '.join(key)}")
        named[key] = row
    return named


def _compare(key: Key, mine: Row | None, theirs: Row | None) -> ComparisonRow:
    if mine is None or theirs is None:
        reason = NOT_HERE if mine is None else NOT_THERE
        verdicts = (str(mine["verdict"]) if mine else "", str(theirs["verdict"]) if theirs else "")
        estimates = (_number(mine, "estimate") if mine else math.nan, _number(theirs, "estimate") if theirs else math.nan)
        return ComparisonRow(*key, *verdicts, *estimates, math.nan, math.nan, _without_comparison(mine, theirs), reason)
    estimate, reference = _number(mine, "estimate"), _number(theirs, "estimate")
    allowed = math.hypot(_half_width(mine), _half_width(theirs))
    difference = 0.0 if estimate == reference else abs(estimate - reference)
    outcome: Outcome = "reproduced"
    if reason := _incomparable(mine, theirs):
        outcome = _without_comparison(mine, theirs)
    elif reason := _disagreement(mine, theirs, difference, allowed):
        outcome = "differs"
    return ComparisonRow(
        *key, str(mine["verdict"]), str(theirs["verdict"]), estimate, reference, difference, allowed, outcome, reason
    )


def _without_comparison(mine: Row | None, theirs: Row | None) -> Outcome:
    """What a row is that cannot be compared."""
    return "lost" if _valid(theirs) and not _valid(mine) else "not comparable"


def _valid(row: Row | None) -> bool:
    return row is not None and row["verdict"] != "invalid"


def _incomparable(mine: Row, theirs: Row) -> str:
    invalid = [run for run, row in (("this run", mine), ("the reference", theirs)) if not _valid(row)]
    if invalid:
        return f"invalid in {' and '.join(invalid)}"
    return "; ".join(f"{c} is {mine[c]} here, {theirs[c]} there" for c in _QUESTION if not _same(mine[c], theirs[c]))


def _disagreement(mine: Row, theirs: Row, difference: float, allowed: float) -> str:
    if mine["verdict"] != theirs["verdict"]:
        return f"{mine['verdict']} here, {theirs['verdict']} there"
    if mine["kind"] == "identity" or difference <= allowed:
        return ""
    unresolved = [math.isnan(_number(row, "estimate")) for row in (mine, theirs)]
    if all(unresolved):
        return ""
    if any(unresolved):
        return "there is an estimate in one run only"
    return f"the estimates differ by {difference:.3g}, their intervals allow {allowed:.3g}"


def _number(row: Row, column: str) -> float:
    value = row[column]
    return math.nan if value is None or value == "" else float(value)


def _half_width(row: Row) -> float:
    return (_number(row, "ci_high") - _number(row, "ci_low")) / 2


def _same(a: Any, b: Any) -> bool:
    try:
        return float(a) == float(b)
    except (TypeError, ValueError):
        return str(a) == str(b)
