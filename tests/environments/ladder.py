"""The cross-check's tolerances against what was measured: `python -m tests.environments.ladder` prints docs/gpu.md's table.

The rule: three times the worst need, rounded up to a power of ten. The need of an observable is its `max_rel` over the growth
that its claim declares: the tolerance at which it would just agree. It is taken over every published cross-check, and over
what `tests.environments.deviations` measures of the smoke study, in float32 and on devices that no published run has.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench.crosscheck import CEILING, TOLERANCES, device_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "deviations"
MARGIN = 3.0

UNFIT = {
    ("float32", "cpu"): {
        (
            "constancy/gradient_flow",
            "relu-1-sphere",
            "K2",
        ): "a ReLU whose input is zero to rounding is on in one framework only"
    }
}
"""(precision, device) -> claim, case and observable that do not agree there, and why no tolerance shall cover them."""


@dataclass(frozen=True)
class Deviation:
    """One observable of one case, in one study."""

    study: str
    place: tuple[str, str, str]
    growth: float
    max_rel: float

    @property
    def need(self) -> float:
        """The tolerance at which it would just agree."""
        return self.max_rel / self.growth


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """As `Deviation` is read from."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _deviation(study: str, row: dict[str, str], growth: float) -> Deviation:
    return Deviation(study, (row["claim"], row["case"], row["quantity"]), growth, float(row["max_rel"]))


def published() -> dict[tuple[str, str], list[Deviation]]:
    """Of every run in `results/reference`; what is not finite in both frameworks says nothing."""
    found: dict[tuple[str, str], list[Deviation]] = {}
    for path in sorted((ROOT / "results" / "reference").rglob("crosscheck.csv")):
        facts = json.loads(path.with_name("environment.json").read_text(encoding="utf-8"))
        of_torch, of_jax = (facts["backends"][name][0] for name in ("torch", "jax"))
        pair = of_torch["precision"], device_of(of_torch, of_jax)
        # What those runs allowed is the growth of their time, times a rung that has not changed since.
        rows = [
            _deviation(facts["study"], row, float(row["allowed"]) / TOLERANCES[pair]) for row in _rows(path) if row["max_rel"]
        ]
        found.setdefault(pair, []).extend(rows)
    return found


def measured() -> dict[tuple[str, str], list[Deviation]]:
    """Everything: the published runs, and the smoke study where `tests.environments.deviations` has measured it."""
    found = published()
    for precision, device in TOLERANCES:
        path = FOLDER / f"{device}-{precision}.csv"
        if path.is_file():
            rows = [_deviation("smoke", row, float(row["growth"])) for row in _rows(path)]
            found.setdefault((precision, device), []).extend(row for row in rows if math.isfinite(row.max_rel))
    return found


def worst(deviations: Sequence[Deviation], pair: tuple[str, str]) -> Deviation:
    """The greatest need, apart from what is listed as unfit."""
    return max((one for one in deviations if one.place not in UNFIT.get(pair, {})), key=lambda one: one.need)


def rung(deviations: Sequence[Deviation], pair: tuple[str, str]) -> float:
    """The tolerance, by the rule."""
    return float(10.0 ** math.ceil(math.log10(MARGIN * worst(deviations, pair).need)))


def table() -> str:
    """Every rung, and what it rests on, as Markdown."""
    lines = ["| precision | device | tolerance | observables | need: half below | 99% below | worst | where |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    found = measured()
    for pair, tolerance in TOLERANCES.items():
        start = f"| {pair[0]} | {pair[1]} | {tolerance:.0e} |"
        if of_pair := found.get(pair):
            least = worst(of_pair, pair)
            claim, case, quantity = least.place
            half, most = np.quantile([one.need for one in of_pair], [0.5, 0.99])
            where = f"`{quantity}` of {claim} {case}, study {least.study}"
            lines.append(f"{start} {len(of_pair)} | {half:.0e} | {most:.0e} | {least.need:.1e} | {where} |")
        else:
            lines.append(f"{start} not measured | | | | as on the CPU |")
    return "\n".join([*lines, "", *_unfit(found)])


def _unfit(found: Mapping[tuple[str, str], Sequence[Deviation]]) -> Iterator[str]:
    """What does not agree, by how much, and why."""
    for pair, reasons in UNFIT.items():
        for one in (one for one in found.get(pair, ()) if one.place in reasons):
            claim, case, quantity = one.place
            allowed = min(TOLERANCES[pair] * one.growth, CEILING)
            off = f"is off by {one.max_rel:.1g} of its scale ({allowed:.0e} is allowed)"
            yield f"- {' on '.join(pair)}: `{quantity}` of {claim} {case} {off}: {reasons[one.place]}."


if __name__ == "__main__":
    print(table())
