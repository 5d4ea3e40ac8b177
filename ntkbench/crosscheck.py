"""The elementwise comparison of what two backends measured from the same parameters and data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Measurement = Mapping[int, Mapping[str, np.ndarray]]
"""width -> observable -> array, as `Claim.measure` returned it."""

TOLERANCES: Mapping[tuple[str, str], float] = {
    ("float64", "cpu"): 1e-10,
    ("float64", "cuda"): 1e-10,
    ("float32", "cpu"): 1e-4,
    ("float32", "cuda"): 1e-4,
}
"""(precision, device) -> what backends may differ by, relative to an observable's scale, before any time evolution.

A rung is three times the worst `max_rel / growth` of all observables measured with that precision on that device, rounded up
to a power of ten; `tests/environments/ladder.py` holds the rungs against those measurements. What float32 does on a GPU
nobody has measured: its rung is the CPU's.

Why these orders: a float64 sum over 1e4 units reorders to at most 1e4 unit roundoffs, 1e-12 (1e-15 is usual), so that 1e-10
is met by any right implementation and by no wrong formula. A GPU's float64 is the same IEEE arithmetic, fused and in another
order. The same sum in float32 is bounded by 1e4 * 6e-8 = 6e-4 and behaves as its square root, 6e-6. That presumes that
reduced-precision products (TF32) are off, which the backends assert, and vouches for formulas, not digits.
"""

CEILING = 0.5
"""What no growth raises an allowance above: arrays that differ by half of their scale have no digit in common. Only in float32
does a growth come near it; without it a large one would allow any difference."""


class StructureMismatch(ValueError):
    """The two measurements are not of the same thing: widths, observables, shapes or types differ."""


@dataclass(frozen=True)
class CrosscheckRow:
    """One row of `crosscheck.csv`, its fields being the columns in their order; the worst over the widths.

    Attributes:
        quantity: the observable.
        max_abs: largest absolute difference of two entries.
        max_rel: the same relative to the observable's scale at its width. Both are NaN where the backends have the same
            entries not finite (training diverged in both), infinite where only one has.
        allowed: the tolerance on `max_rel`.
        agrees: `max_rel <= allowed`, never where an entry is not finite.
    """

    claim: str
    case: str
    quantity: str
    max_abs: float
    max_rel: float
    allowed: float
    agrees: bool


RESIDUE = 16
"""Machine epsilons below which an observable counts as zero up to rounding: antisymmetric networks begin at 2 of them."""


def device_of(*facts: Mapping[str, Any]) -> str:
    """The device whose tolerance holds for two measurements, by their backends' facts: `cuda` if either used it."""
    return next((str(of["device"]) for of in facts if of["device"] != "cpu"), "cpu")


def compare(
    first: Measurement,
    second: Measurement,
    growth: Mapping[str, float],
    precision: str,
    device: str,
    *,
    claim: str,
    case: str,
) -> list[CrosscheckRow]:
    """Compare every entry of every observable (every seed, time, point) at every width.

    The scale of an observable is its largest magnitude at that width in either backend. Where that is below `RESIDUE` machine
    epsilons of its type both hold nothing but the residue of terms of order one that cancel, and the scale is 1.

    Args:
        growth: observable -> factor on the tolerance, as `Claim.growth`, up to `CEILING`; 1 where it is not named.
        precision: `float64` or `float32`, the backends' own.
        device: `cpu` or `cuda`, as `device_of` says.
        claim, case: for the rows.

    Returns:
        One row per observable, in order of name.

    Raises:
        StructureMismatch: naming every width, observable, shape or dtype that differs, and every array that is not in the
            precision asked for.
        ValueError: for a precision or device that the tolerances do not know, or for growth below 1.
    """
    if (precision, device) not in TOLERANCES:
        known = ", ".join("/".join(pair) for pair in TOLERANCES)
        raise ValueError(f"no tolerance for precision {precision!r} on device {device!r}; known: {known}")
    if bad := [name for name, factor in growth.items() if not 1 <= factor < math.inf]:
        raise ValueError(f"growth of {', '.join(bad)} must be finite and at least 1: errors do not shrink on the way")
    if faults := _faults(first, second, precision):
        raise StructureMismatch(f"{claim}, {case}: " + "; ".join(faults))
    observables = sorted({name for arrays in first.values() for name in arrays})
    rows = []
    for name in observables:
        pairs = [(first[width][name], second[width][name]) for width in sorted(first) if name in first[width]]
        differences = [_difference(a, b) for a, b in pairs]
        max_abs, max_rel = (max(column, key=_badness) for column in zip(*differences, strict=True))
        allowed = min(TOLERANCES[precision, device] * growth.get(name, 1.0), CEILING)
        rows.append(CrosscheckRow(claim, case, name, max_abs, max_rel, allowed, agrees=within(max_rel, allowed)))
    return rows


def within(max_rel: float, allowed: float) -> bool:
    """Whether an observable agrees: a NaN, in either place, does not."""
    return max_rel <= allowed < math.inf


def _faults(first: Measurement, second: Measurement, precision: str) -> list[str]:
    if not first and not second:
        return ["nothing was measured"]
    faults = [f"width {width} is in one measurement only" for width in sorted(set(first) ^ set(second))]
    for width in sorted(set(first) & set(second)):
        a, b = first[width], second[width]
        if not a and not b:
            faults.append(f"width {width} holds no observable")
        faults += [f"{name} at width {width} is in one measurement only" for name in sorted(set(a) ^ set(b))]
        for name in sorted(set(a) & set(b)):
            faults += _array_faults(f"{name} at width {width}", a[name], b[name], precision)
    return faults


def _array_faults(where: str, a: np.ndarray, b: np.ndarray, precision: str) -> list[str]:
    if a.dtype != b.dtype:
        return [f"{where} is {a.dtype} in one measurement and {b.dtype} in the other"]
    if a.shape != b.shape:
        return [f"{where} has shape {a.shape} in one measurement and {b.shape} in the other"]
    if a.size == 0:
        return [f"{where} is empty"]
    if not (np.issubdtype(a.dtype, np.floating) or np.issubdtype(a.dtype, np.integer) or a.dtype == bool):
        return [f"{where} is {a.dtype}, which is no real number"]
    if np.issubdtype(a.dtype, np.floating) and a.dtype.itemsize < np.dtype(precision).itemsize:
        return [f"{where} is {a.dtype}, the study asks for {precision}"]
    return []


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference, and the same relative to the scale."""
    residue = RESIDUE * float(np.finfo(a.dtype).eps) if np.issubdtype(a.dtype, np.floating) else 0.0
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    if not (finite_a & finite_b).all():
        worst = math.nan if (finite_a == finite_b).all() else math.inf
        return worst, worst
    # In float64 before the subtraction: unsigned integers would wrap.
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(over="ignore"):
        largest = float(np.abs(a - b).max())
    scale = float(max(np.abs(a).max(), np.abs(b).max()))
    return largest, largest / (scale if scale > residue else 1.0)


def _badness(value: float) -> tuple[bool, bool, float]:
    return (math.isinf(value), math.isnan(value), 0.0 if math.isnan(value) else value)
