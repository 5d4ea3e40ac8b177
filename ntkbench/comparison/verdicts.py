"""The verdicts and estimates of two runs, row by row."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ntkbench.comparison.levels import Level, Outcome

Key = tuple[str, str, str, str]
Row = Mapping[str, Any]

NOT_HERE, NOT_THERE = "not in this run", "not in the reference"
"""Reasons of rows that one run lacks."""

_KEY = ("claim", "expectation", "case", "backend")
_QUESTION = ("kind", "expected", "margin", "range", "seeds")
_ESTIMATED = ("estimate", "ci_low", "ci_high")


@dataclass(frozen=True)
class ComparedVerdict:
    """One row of `verdicts.csv` against the same row of a reference run.

    Attributes:
        verdict, estimate: of this run; reference_verdict, reference_estimate: of the reference. Empty and NaN where a row is
            missing.
        difference: of the estimates, absolute.
        allowed: what they may differ by to lie within their intervals.
        level: how nearly the two agree; None where they are not compared.
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
    level: Level | None
    outcome: Outcome
    reason: str


def compare_verdicts(
    rows: Iterable[Row],
    reference_rows: Iterable[Row],
    required: Level = Level.INTERVAL,
    rounding: Mapping[tuple[str, str], float] | None = None,
    *,
    same_questions: bool = False,
) -> list[ComparedVerdict]:
    """Compare a run with a reference, row by row.

    Rows of other verdicts are *apart*. With the same verdict, a row is

    - *bitwise* the same if estimate, interval and p-value are equal to the digit;
    - *within rounding* if estimate and interval differ by at most what `rounding` allows the case, relative to the estimate
      where that is above 1: estimates are slopes, logarithms and accuracies, and an observable that is off by a share of its
      scale moves a logarithm by that much. An identity's estimate is a rounding error itself, and needs no more than the same
      verdict;
    - *within interval* if the estimates differ by at most the root of the summed squares of the half-widths of both 95%
      intervals: of two independent runs of the same truth 95% agree so.

    A row is *reproduced* if it reaches `required`, else it *differs*. It is *lost* if it is valid (not invalid) in the
    reference, and invalid in this run or missing from it: what the reference had found is no longer found. It is *not
    comparable* if it is missing from the reference or invalid there. Where both are valid and ask different questions (another
    range of widths, number of seeds, expected value, margin or kind) it *differs* if the questions should be the same, else it
    is *not comparable*.

    Args:
        rows, reference_rows: as read from `verdicts.csv`, values as text or as numbers.
        required: the level that a row must reach.
        rounding: (claim, case) -> the largest `allowed` of its cross-check; cases without one have no level of rounding.
        same_questions: whether every row must ask what it asks in the reference, as in runs of one study and root.

    Returns:
        One row per (claim, expectation, case, backend) in either run: this run's order, then what only the reference has.

    Raises:
        ValueError: if one run has two rows for the same key, or a row lacks a column.
    """
    mine, theirs = _by_key(rows, "this run"), _by_key(reference_rows, "the reference")
    known = rounding or {}
    keys = dict.fromkeys([*mine, *theirs])
    return [
        _compare(key, mine.get(key), theirs.get(key), required, known.get((key[0], key[2])), same_questions) for key in keys
    ]


def _by_key(rows: Iterable[Row], run: str) -> dict[Key, Row]:
    named: dict[Key, Row] = {}
    for row in rows:
        if missing := [c for c in (*_KEY, *_QUESTION, *_ESTIMATED, "verdict", "p_value") if c not in row]:
            raise ValueError(f"a verdict row of {run} lacks {', '.join(missing)}")
        key: Key = (str(row["claim"]), str(row["expectation"]), str(row["case"]), str(row["backend"]))
        if key in named:
            raise ValueError(f"{run} has two verdict rows for {', '.join(key)}")
        named[key] = row
    return named


def _compare(
    key: Key, mine: Row | None, theirs: Row | None, required: Level, rounding: float | None, same_questions: bool
) -> ComparedVerdict:
    if mine is None or theirs is None:
        reason = NOT_HERE if mine is None else NOT_THERE
        verdicts = (str(mine["verdict"]) if mine else "", str(theirs["verdict"]) if theirs else "")
        estimates = (_number(mine, "estimate") if mine else math.nan, _number(theirs, "estimate") if theirs else math.nan)
        return ComparedVerdict(*key, *verdicts, *estimates, math.nan, math.nan, None, _without_comparison(mine, theirs), reason)
    allowed = math.hypot(_half_width(mine), _half_width(theirs))
    estimate, reference = _number(mine, "estimate"), _number(theirs, "estimate")
    difference = _distance(mine, theirs, "estimate")
    level: Level | None = None
    outcome: Outcome = "reproduced"
    if reason := _invalid(mine, theirs):
        outcome = _without_comparison(mine, theirs)
    elif reason := _other_question(mine, theirs):
        level, outcome = (Level.APART, "differs") if same_questions else (None, "not comparable")
    else:
        level, reason = _level(mine, theirs, allowed, rounding)
        if level < required:
            outcome = "differs"
            reason = reason or _beyond_rounding(mine, theirs, rounding)
        else:
            reason = ""
    verdicts = (str(mine["verdict"]), str(theirs["verdict"]))
    return ComparedVerdict(*key, *verdicts, estimate, reference, difference, allowed, level, outcome, reason)


def _without_comparison(mine: Row | None, theirs: Row | None) -> Outcome:
    """What a row is that cannot be compared."""
    return "lost" if _valid(theirs) and not _valid(mine) else "not comparable"


def _valid(row: Row | None) -> bool:
    return row is not None and row["verdict"] != "invalid"


def _invalid(mine: Row, theirs: Row) -> str:
    invalid = [run for run, row in (("this run", mine), ("the reference", theirs)) if not _valid(row)]
    return f"invalid in {' and '.join(invalid)}" if invalid else ""


def _other_question(mine: Row, theirs: Row) -> str:
    return "; ".join(f"{c} is {mine[c]} here, {theirs[c]} there" for c in _QUESTION if not _same(mine[c], theirs[c]))


def _level(mine: Row, theirs: Row, allowed: float, rounding: float | None) -> tuple[Level, str]:
    """The level that two rows of the same question reach, and what keeps them apart where they are."""
    if mine["verdict"] != theirs["verdict"]:
        return Level.APART, f"{mine['verdict']} here, {theirs['verdict']} there"
    if all(_distance(mine, theirs, column) == 0 for column in (*_ESTIMATED, "p_value")):
        return Level.BITWISE, ""
    if _of_rounding(mine) or (rounding is not None and _moved(mine, theirs) <= rounding):
        return Level.ROUNDING, ""
    difference = _distance(mine, theirs, "estimate")
    if math.isinf(difference):
        return Level.APART, "there is an estimate in one run only"
    if difference <= allowed or difference == 0:
        return Level.INTERVAL, ""
    return Level.APART, f"the estimates differ by {difference:.3g}, their intervals allow {allowed:.3g}"


def _of_rounding(row: Row) -> bool:
    """Whether the estimate is a rounding error: that of an identity that holds. One that fails has an error of its own."""
    return bool(row["kind"] == "identity" and row["verdict"] == "supported")


def _moved(mine: Row, theirs: Row) -> float:
    """How far estimate or interval moved, relative to the estimate where that is above 1."""
    estimate = abs(_number(theirs, "estimate"))
    return max(_distance(mine, theirs, column) for column in _ESTIMATED) / (estimate if estimate > 1 else 1.0)


def _beyond_rounding(mine: Row, theirs: Row, rounding: float | None) -> str:
    permitted = "its cross-check is missing, and" if rounding is None else f"rounding allows {rounding:.1g},"
    return f"the same draws, yet {permitted} estimate or interval differ by {_moved(mine, theirs):.1g}, within the intervals"


def _distance(mine: Row, theirs: Row, column: str) -> float:
    """Absolute difference: 0 where both are the same, both missing or both infinite, infinite where one alone is."""
    a, b = _number(mine, column), _number(theirs, column)
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


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
