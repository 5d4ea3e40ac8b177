"""What the paper prints of the scaling curves."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ntkbench import tables
from ntkbench.hierarchy import cost
from ntkbench.performance import affordable, costs, scaling
from ntkbench.performance.scaling import upper_half
from ntkbench.report.numbers import plain

NAMES = {"ntk": "NTK", "limiting": "limiting kernels"}
SYMBOLS = {"points": "n", "width": "m", "depth": "depth", "outputs": "O", "order": "order"}


def scaling_entries(study_dir: Path) -> dict[str, Any]:
    """`curves`, `naive`, `affordable`, and the threads and devices that were used.

    One entry per curve with both backends in it, one per naive curve set against the fast way, and the most points per order.

    Raises:
        RecordError: if performance.csv or scaling.csv is missing or damaged.
    """
    timings = scaling.timings(study_dir / "performance.csv")
    fitted = tables.read_rows(study_dir / "scaling.csv", "scaling")
    names = dict.fromkeys(str(row["curve"]) for row in timings)
    curves = [_curve([row for row in timings if row["curve"] == name], fitted) for name in names]
    return {
        "curves": curves,
        "naive": [_against_naive(found) for found in scaling.against_naive(timings)],
        "affordable": _affordable(timings),
        "threads": sorted({row["threads"] for row in timings}),
        "devices": sorted({row["device"] for row in timings}),
        "precision": sorted({row["precision"] for row in timings}),
        "rounds": min(row["rounds"] for row in timings),
    }


def _curve(timings: Sequence[dict[str, Any]], fitted: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = timings[0]
    sizes = sorted({row["size"] for row in timings})
    of_curve = [row for row in fitted if row["curve"] == first["curve"]]
    return {
        "name": first["curve"],
        "quantity": _name(first),
        "axis": SYMBOLS[first["axis"]],
        "fixed": fixed_sizes(first),
        "sizes": [sizes[0], sizes[-1]],
        "fitted": list(upper_half(sizes)),
        "theory": _theory(of_curve, "seconds"),
        "theory_of_memory": _theory(of_curve, "peak_bytes"),
        "flops": next((plain(row["exponent"]) for row in of_curve if row["measure"] == "flops"), None),
        "backends": [_backend(list(rows), of_curve) for _, rows in groupby(timings, key=lambda row: str(row["backend"]))],
    }


def _name(row: dict[str, Any]) -> str:
    """What a curve is of; `naive` where it is computed by nested forward mode."""
    kernel = f"K{row['order']}" if row["axis"] != "order" else "K_r"
    return NAMES.get(row["quantity"], f"{kernel}, naive" if row["quantity"] == "naive_hierarchy" else kernel)


def _against_naive(found: dict[str, Any]) -> dict[str, Any]:
    """Of one curve: the kernel, its sizes, and how many times as much the naive way takes in each backend."""
    backends = [one | {name: plain(one[name] or math.nan) for name in ("times", "memory")} for one in found["backends"]]
    sizes = [[SYMBOLS[axis], found[axis]] for axis in ("points", "width", "depth")]
    return {"name": found["curve"], "quantity": f"K{found['order']}", "sizes": sizes, "backends": backends}


def _affordable(timings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table, what it is of, and what it assumes."""
    used = {"width": affordable.WIDTH, "depth": affordable.DEPTH, "bases": list(affordable.BASES)}
    used |= {"eigenvectors": int(costs.EIGENVECTORS), "evaluations": cost.EVALUATIONS}
    used |= {"gigaflops": affordable.OPERATIONS / 1e9, "gigabytes": affordable.BANDWIDTH / 1e9}
    return used | {"rows": affordable.table(timings), "seconds": list(affordable.SECONDS), "gib": list(affordable.GIB)}


def fixed_sizes(row: dict[str, Any]) -> str:
    """The sizes that a curve keeps, in a few letters."""
    asked = {
        "ntk": ("points", "width", "depth", "outputs"),
        "hierarchy": ("points", "width", "depth"),
        "naive_hierarchy": ("points", "width", "depth"),
        "limiting": ("points", "depth"),
    }
    kept = [axis for axis in asked[row["quantity"]] if axis != row["axis"] and (axis, row[axis]) != ("outputs", 1)]
    return ", ".join(f"{SYMBOLS[axis]} {row[axis]}" for axis in kept) + f", {row['activation']}"


def _theory(of_curve: Sequence[dict[str, Any]], measure: str) -> str | None:
    """The powers between which theory has the exponent of a measure; None where it was not fitted."""
    spans = ((row["theory_low"], row["theory_high"]) for row in of_curve if row["measure"] == measure)
    return next((str(low) if low == high else f"{low} to {high}" for low, high in spans), None)


def _backend(rows: Sequence[dict[str, Any]], fitted: Sequence[dict[str, Any]]) -> dict[str, Any]:
    largest = max(rows, key=lambda row: int(row["size"]))
    exponents = {
        row["measure"]: {"estimate": plain(row["exponent"]), "low": plain(row["ci_low"]), "high": plain(row["ci_high"])}
        for row in fitted
        if row["backend"] == largest["backend"] and row["measure"] != "flops"
    }
    return {
        "backend": largest["backend"],
        "seconds": plain(largest["seconds"]),
        "ratio": plain(largest["ratio"]),
        "peak_mib": plain(largest["peak_bytes"] / 2**20),
        "time": exponents.get("seconds"),
        "memory": exponents.get("peak_bytes"),
    }
