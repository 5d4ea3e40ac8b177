"""From the tidy table of quantities to the points, intervals and slopes that a panel shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from ntkbench.claims.base import Case, Claim, Panel
from ntkbench.verdicts.expectations import Bound, Expectation, Paired, Rate

Location = Literal["geometric", "mean", "signed"]
CONFIDENCE = 0.95
PATH = "_path"
"""How the name of a quantity ends that is recorded along the claim's axis."""


@dataclass(frozen=True)
class Line:
    """What a panel draws in one colour: a quantity of a case.

    Attributes:
        case, quantity: of the rows of the table.
        shown: the quantity of the panel that it stands for; another one than `quantity` on some controls.
        control: whether it is a negative control.
    """

    case: str
    quantity: str
    shown: str
    control: bool


@dataclass(frozen=True)
class Points:
    """Location over seeds and its interval, along widths or the claim's axis; NaN where a seed was not usable.

    Attributes:
        x, centre, low, high: (k,), equal lengths.
        gaps: x -> why there is no point, for instance `3 of 32 seeds not finite`.
    """

    x: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray
    gaps: Mapping[float, str]


@dataclass(frozen=True)
class Slope:
    """A fitted exponent with its interval, as the verdict has it."""

    estimate: float
    low: float
    high: float


def lines(claim: Claim, panel: Panel, cases: Mapping[str, Case], quantities: pd.DataFrame) -> list[Line]:
    """What the panel draws: its quantities of every case that it selects, then their negative controls.

    Raises:
        ValueError: if the table has none of it.
    """
    have = set(quantities[["case", "quantity"]].drop_duplicates().itertuples(index=False, name=None))
    chosen = {name: case for name, case in cases.items() if panel.selects(case)}
    uncontrolled = [name for name, case in chosen.items() if case.control is None]
    regular = [Line(name, q, q, False) for q in panel.drawn for name in uncontrolled if (name, q) in have]
    if not regular:
        raise ValueError(
            f"{claim.id}, panel {panel.title!r}: no rows to draw; it asks for {', '.join(panel.drawn)} of the cases "
            f"{', '.join(uncontrolled) or '(none selected)'}, the table has "
            f"{', '.join(sorted({f'{q} of {c}' for c, q in have})) or 'no rows'}"
        )
    controls = []
    for shown in panel.drawn:
        for name, case in chosen.items():
            drawn = _control_quantity(claim, shown, case)
            if drawn is not None and (name, drawn) in have:
                controls.append(Line(name, drawn, shown, True))
    return regular + controls


def _control_quantity(claim: Claim, quantity: str, case: Case) -> str | None:
    """What is judged on this control case in the quantity's stead; None if it is no control of the quantity.

    Along the axis, the path of what is judged: `difference_path` where an expectation is about `difference`.
    """
    if case.control is not None:
        judged = quantity.removesuffix(PATH)
        for expectation in claim.expectations:
            if expectation.quantity in (quantity, judged) and expectation.applies(case):
                return (expectation.control_quantity or expectation.quantity) + quantity.removeprefix(expectation.quantity)
    return None


def location(claim: Claim, panel: Panel, quantity: str) -> Location:
    """How the quantity is averaged over seeds: as the verdict's fit does, or plainly where differences are drawn."""
    if panel.kind in ("paired", "level", "difference"):
        return "signed"
    if panel.kind == "response":
        return "geometric"
    for expectation in claim.expectations:
        if expectation.quantity == quantity and isinstance(expectation, Rate | Bound):
            return expectation.aggregate
    return "geometric"


def expectation_of(claim: Claim, line: Line, case: Case, kinds: tuple[type[Expectation], ...]) -> Expectation | None:
    """The first expectation of one of `kinds` (in that order) about this line, None if there is none."""
    for kind in kinds:
        for expectation in claim.expectations:
            if isinstance(expectation, kind) and expectation.quantity == line.shown and expectation.applies(case):
                return expectation
    return None


def slope(claim: Claim, line: Line, case: Case, backend: str, verdicts: pd.DataFrame) -> Slope | None:
    """The exponent that the verdict table gives for this line, None where nothing was fitted or it is not finite."""
    expectation = expectation_of(claim, line, case, (Rate, Bound))
    if expectation is None:
        return None
    rows = verdicts[
        (verdicts["claim"] == claim.id)
        & (verdicts["expectation"] == expectation.name)
        & (verdicts["case"] == line.case)
        & (verdicts["backend"] == backend)
    ]
    if len(rows) > 1:
        raise ValueError(f"{claim.id}: {len(rows)} verdicts for {expectation.name}, case {line.case}, {backend}; one at most")
    values = [float(v) for v in rows[["estimate", "ci_low", "ci_high"]].to_numpy().ravel()]
    return Slope(*values) if values and np.isfinite(values).all() else None


def smallest_effects(claim: Claim, quantities: Iterable[str]) -> list[float]:
    """Below which sizes paired differences of these quantities, or of what they are the paths of, count as none; increasing."""
    names = {name for quantity in quantities for name in (quantity, quantity.removesuffix(PATH))}
    return sorted({abs(e.size) for e in claim.expectations if isinstance(e, Paired) and e.quantity in names and e.size})


def along_widths(table: pd.DataFrame, line: Line, backend: str, how: Location) -> Points:
    """Location and interval over seeds at every width.

    Raises:
        ValueError: if the quantity was recorded along an axis.
    """
    rows = _rows(table, line, backend)
    if rows["along"].notna().any():
        raise ValueError(f"{line.quantity} of {line.case} is recorded along an axis; a panel of kind `along` draws it")
    return _points(rows, "width", how)


def along_axis(table: pd.DataFrame, line: Line, backend: str, width: int, how: Location) -> Points:
    """Location and interval over seeds at every place after 0, for one width (both axes are logarithmic).

    Raises:
        ValueError: if the quantity was not recorded along an axis.
    """
    rows = _rows(table, line, backend)
    rows = rows[rows["width"] == width]
    if rows["along"].isna().any():
        raise ValueError(f"{line.quantity} of {line.case} has one value per seed; a panel of kind `rate` draws it")
    return _points(rows[rows["along"] > 0], "along", how)


def _rows(table: pd.DataFrame, line: Line, backend: str) -> pd.DataFrame:
    return table[(table["case"] == line.case) & (table["quantity"] == line.quantity) & (table["backend"] == backend)]


def _points(rows: pd.DataFrame, axis: str, how: Location) -> Points:
    groups = [(float(str(x)), group["value"].to_numpy(dtype=float)) for x, group in rows.groupby(axis, sort=True)]
    found = [summary(values, how) for _, values in groups]
    x = np.array([place for place, _ in groups])
    centre, low, high = np.array([item[:3] for item in found], dtype=float).reshape(-1, 3).T
    return Points(x, centre, low, high, {place: item[3] for (place, _), item in zip(groups, found, strict=True) if item[3]})


def summary(values: np.ndarray, how: Location) -> tuple[float, float, float, str]:
    """Location over seeds, its 95% interval by Student's t, and why there is none (empty if there is one).

    `geometric`: of the logarithms; `mean`: the absolute value of the arithmetic mean, the interval's lower end at least 0;
    `signed`: the arithmetic mean. A seed that is not usable takes the point away: it is never averaged over.
    """
    nothing = (np.nan, np.nan, np.nan)
    seeds = len(values)
    if lost := int((~np.isfinite(values)).sum()):
        return *nothing, f"{lost} of {seeds} seeds not finite"
    if how == "geometric" and (lost := int((values <= 0).sum())):
        return *nothing, f"{lost} of {seeds} seeds not positive"
    if seeds < 2:
        return *nothing, "one seed only"
    sample = np.log(values) if how == "geometric" else values
    mean = float(sample.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1) * sample.std(ddof=1) / np.sqrt(seeds))
    if how == "geometric":
        return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), ""
    if how == "mean":
        return abs(mean), max(abs(mean) - half, 0.0), abs(mean) + half, ""
    return mean, mean - half, mean + half, ""
