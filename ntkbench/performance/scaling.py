"""Exponents of time, memory and counted operations along one axis, beside what theory says of operations and of memory.

A description with an interval, not a verdict: sizes are finite, and a shared machine is noisy. Rows are those of the tables
`performance` and `scaling` of `ntkbench.tables`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy.special import stdtrit

from ntkbench.files import MEND, RecordError
from ntkbench.performance import workloads
from ntkbench.tables import read_rows
from ntkbench.verdicts import fit

MEASURES = ("flops", "seconds", "peak_bytes")
CONFIDENCE = 0.95
POWER_AXES = ("points", "width", "depth", "outputs")
"""Axes along which cost is a power law; along the order it is not."""
POSITIVE = ("size", "points", "width", "depth", "outputs", "order", "seconds", "roofline_seconds", "ratio", "flops")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Exponent:
    """A slope in log-log with its interval, infinite with fewer than three sizes."""

    estimate: float
    low: float
    high: float


def timings(path: Path) -> list[dict[str, Any]]:
    """The rows of a table `performance`, of which figures and fits can be made.

    Raises:
        RecordError: if it is missing or damaged, has no rows or one of them twice, or holds what no timing leaves.
    """
    rows = read_rows(path, "performance")
    if not rows:
        raise RecordError(f"{path} holds no timings; {MEND}")
    seen = set()
    for row in rows:
        key = (row["curve"], row["backend"], row["size"])
        name = f"the row of {row['curve']}, {row['backend']}, size {row['size']}"
        for column in POSITIVE:
            if not (math.isfinite(row[column]) and row[column] > 0):
                raise RecordError(f"{path} is damaged: {name} has {column} {row[column]}, not a positive number; {MEND}")
        for column, known in (("quantity", get_args(workloads.Quantity)), ("axis", get_args(workloads.Axis))):
            if row[column] not in known:
                raise RecordError(f"{path} is damaged: {name} has the {column} {row[column]!r}, not {', '.join(known)}; {MEND}")
        if row["peak_bytes"] < 0 or key in seen:
            raise RecordError(f"{path} is damaged: {name} has negative memory or is there twice; {MEND}")
        seen.add(key)
    return rows


def upper_half(sizes: Sequence[int]) -> tuple[int, ...]:
    """The largest ceil(k/2) of k sizes, and at least four where there are four: theory's leading terms are asymptotic."""
    return fit.upper_half(sizes, least=4)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> Exponent:
    """Least squares in log-log, with Student's interval from the scatter about the line (noise and curvature alike).

    Raises:
        ValueError: with fewer than two sizes, or for values that are not positive and finite.
    """
    x, y = np.log(np.asarray(sizes, dtype=float)), np.asarray(values, dtype=float)
    if len(x) < 2 or not (np.isfinite(y) & (y > 0)).all():
        raise ValueError(f"an exponent takes positive values at two sizes or more, got {list(values)} at {list(sizes)}")
    x, y = x - x.mean(), np.log(y)
    slope = float(x @ y / (x @ x))
    freedom = len(x) - 2
    if freedom < 1:
        return Exponent(slope, -math.inf, math.inf)
    rest = y - y.mean() - slope * x
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(rest @ rest / freedom / (x @ x)))
    return Exponent(slope, slope - half, slope + half)


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows of the table `scaling`: per curve and backend an exponent of each measure on the upper half of the sizes.

    Operations of what is computed naively are not counted. A measure that is missing or zero at one of these sizes (the growth
    of a process is, where a call reuses what the process holds) has no row.
    """
    curves: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["axis"] in POWER_AXES:
            curves.setdefault((row["curve"], row["backend"]), []).append(row)
    found = []
    for of_curve in curves.values():
        kept = upper_half([row["size"] for row in of_curve])
        used = sorted((row for row in of_curve if row["size"] in kept), key=lambda row: int(row["size"]))
        for measure in MEASURES:
            values = [float(row[measure]) for row in used]
            counted = measure != "flops" or used[0]["quantity"] != "naive_hierarchy"
            if counted and len(used) > 1 and all(value > 0 for value in values):
                found.append(_row(used, measure, exponent(kept, values)))
    return found


def _row(used: Sequence[Row], measure: str, fit: Exponent) -> dict[str, Any]:
    first = used[0]
    theory = workloads.theory_of_memory if measure == "peak_bytes" else workloads.theory
    terms = theory(first["quantity"], first["order"])
    low, high = workloads.exponents(terms, first["axis"])
    same = {name: first[name] for name in ("curve", "quantity", "order", "backend", "axis")}
    sizes = {"smallest": first["size"], "largest": used[-1]["size"]}
    # Counts are exact: their scatter about the line is curvature alone, and no interval.
    low_, high_ = (None, None) if measure == "flops" else (fit.low, fit.high)
    interval = {"exponent": fit.estimate, "ci_low": low_, "ci_high": high_}
    return {**same, **sizes, **interval, "measure": measure, "theory_low": low, "theory_high": high}


LEAST_GROWTH = 2**20
"""Bytes; by how much less a process grew says what it held already."""
SETTING = ("points", "width", "depth", "order", "input_dim", "activation", "precision", "device", "threads")


def against_naive(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """How much more the naive way takes than the fast one: per naive curve, at the largest size that all backends have of both.

    Returns:
        Per curve `curve`, `order`, `axis`, `size`, `points`, `width`, `depth`, and in `backends` for each its name, `times` (as
        many seconds) and `memory` (the growth, None where one of the two is not known or below `LEAST_GROWTH`).
    """
    rows = list(rows)
    fast = {_setting(row): row for row in rows if row["quantity"] == "hierarchy"}
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    found = []
    for name in dict.fromkeys(row["curve"] for row in rows if row["quantity"] == "naive_hierarchy"):
        pairs = [(row, fast[_setting(row)]) for row in rows if row["curve"] == name and _setting(row) in fast]
        by_size: dict[int, list[tuple[Row, Row]]] = {}
        for naive, twin in pairs:
            by_size.setdefault(naive["size"], []).append((naive, twin))
        common = [size for size, of_size in by_size.items() if len(of_size) == len(backends)]
        if common:
            found.append(_comparison(by_size[max(common)]))
    return found


def _setting(row: Row) -> tuple[Any, ...]:
    return row["backend"], row["axis"], *(row[name] for name in SETTING)


def _comparison(pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    first = pairs[0][0]
    kept = {name: first[name] for name in ("curve", "order", "axis", "size", "points", "width", "depth")}
    return kept | {"backends": [_times(naive, twin) for naive, twin in pairs]}


def _times(naive: Row, twin: Row) -> dict[str, Any]:
    known = naive["peak_bytes"] >= LEAST_GROWTH and twin["peak_bytes"] >= LEAST_GROWTH
    memory = naive["peak_bytes"] / twin["peak_bytes"] if known else None
    return {"backend": naive["backend"], "times": naive["seconds"] / twin["seconds"], "memory": memory}
