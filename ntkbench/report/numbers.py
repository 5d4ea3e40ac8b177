"""The numbers and sentences that the paper prints, as plain JSON values: from claims, cases and the study's tables."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ntkbench import layout
from ntkbench.citation import sources
from ntkbench.claims.base import Case, Claim
from ntkbench.data.sources import SOURCES
from ntkbench.verdicts.expectations import Expectation, Rate, Verdict, expected
from ntkbench.verdicts.fit import upper_half

if TYPE_CHECKING:
    import pandas as pd

Cases = Mapping[str, Mapping[str, Case]]
"""Claim id -> case name -> case."""


def plain(value: Any) -> Any:
    """A number for JSON: None for a missing one, `inf` or `-inf` as text for an unbounded one."""
    number = float(value)
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else f"{number}"


def claim_entry(
    claim: Claim, cases: Mapping[str, Case], verdicts: "pd.DataFrame", crosscheck: "pd.DataFrame"
) -> dict[str, Any]:
    """All that the paper prints of one claim.

    Args:
        claim: its fields are printed.
        cases: of this study, controls included.
        verdicts, crosscheck: the study's tables.
    """
    checks = crosscheck[crosscheck["claim"] == claim.id]
    expectations = [expectation_entry(e, verdicts[verdicts["claim"] == claim.id]) for e in claim.expectations]
    return {
        "id": claim.id,
        "family": claim.id.partition("/")[0],
        "title": claim.title,
        "statement": claim.statement,
        "sources": sources(claim.source),
        "assumptions": claim.assumptions,
        "controls": [
            {"kind": kind, "text": text, "cases": [n for n, c in cases.items() if c.control == kind]}
            for kind, text in claim.controls.items()
        ],
        "quantities": [{"name": name, "text": text} for name, text in claim.quantities.items()],
        "expectations": expectations,
        "counts": _counts(row["verdict"] for e in expectations for row in e["rows"]),
        "limitations": claim.limitations,
        "caption": claim.caption,
        "slopes": _expects_slopes(claim, cases),
        "without_cases": [letter for letter in claim.lettered() if letter not in claim.shown(cases.values())],
        "figure": f"/figures/{layout.figure(claim.id)}.svg",
        "cases": [case_entry(name, case) for name, case in cases.items()],
        "crosscheck": worst(checks),
    }


def _expects_slopes(claim: Claim, cases: Mapping[str, Case]) -> bool:
    """Whether the claim's figure draws expected slopes for any of its regular cases."""
    regular = [case for case in cases.values() if case.control is None]
    return any(
        panel.expected_slope(quantity, case, claim.expectations) is not None
        for panel in claim.figure
        for quantity in panel.quantities
        for case in filter(panel.selects, regular)
    )


def case_entry(name: str, case: Case) -> dict[str, Any]:
    """A case's line in the table of settings; `more` holds the fields of its own claim that differ from their defaults."""
    common = Case.__dataclass_fields__
    defaults = {f.name: f.default for f in type(case).__dataclass_fields__.values()}
    shown = ("weight_variance", "bias_variance", "antisymmetric")
    more = {k: v for k, v in case.as_dict().items() if (k not in common or k in shown) and v != defaults[k]}
    return {
        "name": name,
        "dataset": case.dataset,
        "train_size": case.train_size,
        "test_size": case.test_size,
        "input_dim": case.input_dim,
        "activation": case.activation,
        "depth": case.depth,
        "seeds": case.seeds,
        "widths": list(case.widths),
        "control": case.control,
        "more": ", ".join(f"{key} {_short(value)}".strip() for key, value in more.items()),
    }


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "" if value else "no"
    if isinstance(value, list):
        return "–".join(map(_short, [value[0], value[-1]] if len(value) > 1 else value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def expectation_entry(expectation: Expectation, verdicts: "pd.DataFrame") -> dict[str, Any]:
    """An expectation with its verdicts, one row per case with both backends in it; no row where it speaks of no case."""
    chosen = verdicts[verdicts["expectation"] == expectation.name]
    rows = [_verdict_row(str(case), group) for case, group in chosen.groupby("case", sort=False)]
    estimates = chosen["estimate"].to_numpy(dtype=float)
    estimates = estimates[np.isfinite(estimates)]
    return {
        "name": expectation.name,
        "statement": expectation.statement,
        "kind": type(expectation).__name__.lower(),
        "expected": expected(expectation),
        "quantity": expectation.quantity,
        "control": expectation.control,
        "rival_to": expectation.rival_to,
        "sources": sources(expectation.source),
        "rows": rows,
        "counts": _counts(row["verdict"] for row in rows),
        "lowest": plain(estimates.min()) if len(estimates) else None,
        "highest": plain(estimates.max()) if len(estimates) else None,
    }


def _verdict_row(case: str, group: "pd.DataFrame") -> dict[str, Any]:
    """One case: each backend's estimate; the verdict is theirs if they agree, else `split` with each one's own."""
    estimates = [
        {
            "backend": str(row["backend"]),
            "estimate": plain(row["estimate"]),
            "low": plain(row["ci_low"]),
            "high": plain(row["ci_high"]),
            "p_value": plain(row["p_value"]),
            "verdict": str(row["verdict"]),
        }
        for _, row in group.iterrows()
    ]
    found = sorted({str(verdict) for verdict in group["verdict"]})
    first = group.iloc[0]
    return {
        "case": case,
        "verdict": found[0] if len(found) == 1 else "split",
        "estimates": estimates,
        "seeds": str(first["seeds"]),
        "range": str(first["range"]),
        "control": str(first["control"]),
        "reason": "; ".join(dict.fromkeys(str(reason) for reason in group["reason"] if str(reason))),
    }


def _counts(verdicts: Any) -> dict[str, int]:
    found = Counter(verdicts)
    return {name: found[name] for name in (*get_args(Verdict), "split")}


def worst(crosscheck: "pd.DataFrame") -> dict[str, Any] | None:
    """How many comparisons there were, and the one that came nearest to its tolerance; None without any."""
    if crosscheck.empty:
        return None
    used = (crosscheck["max_rel"] / crosscheck["allowed"]).fillna(math.inf).to_numpy()
    row = crosscheck.iloc[int(used.argmax())]
    largest = crosscheck.iloc[int(crosscheck["max_rel"].fillna(math.inf).to_numpy().argmax())]
    entry = {name: str(row[name]) for name in ("claim", "case", "quantity")}
    return {
        "comparisons": len(crosscheck),
        "agree": int(crosscheck["agrees"].sum()),
        "largest": plain(largest["max_rel"]),
        "median": plain(crosscheck["max_rel"].median()),
        "nearest": entry | {"max_rel": plain(row["max_rel"]), "allowed": plain(row["allowed"])},
    }


def example(
    claim: Claim, cases: Mapping[str, Case], quantities: "pd.DataFrame", verdicts: "pd.DataFrame"
) -> dict[str, Any] | None:
    """The paper's worked example: the claim's first `Rate` on its first case, with its data by width; None without one."""
    for expectation in claim.expectations:
        for name, case in cases.items():
            if isinstance(expectation, Rate) and case.control is None and expectation.applies(case):
                entry = expectation_entry(expectation, verdicts[(verdicts["claim"] == claim.id) & (verdicts["case"] == name)])
                rows = quantities[
                    (quantities["claim"] == claim.id) & (quantities["case"] == name)
                    & (quantities["quantity"] == expectation.quantity)
                ]  # fmt: skip
                meaning = claim.quantities[expectation.quantity]
                fitted = list(upper_half(case.widths))
                data = {"widths": _by_width(rows, expectation.aggregate), "fitted": fitted}
                return entry | data | {"claim": claim.id, "title": claim.title, "case": name, "meaning": meaning}
    return None


def _by_width(rows: "pd.DataFrame", aggregate: str) -> list[dict[str, Any]]:
    table = []
    for width, at_width in rows.groupby("width", sort=True):
        entry: dict[str, Any] = {"width": int(str(width)), "seeds": int(at_width["seed"].nunique())}
        for backend, values in at_width.groupby("backend")["value"]:
            sample = values.to_numpy(dtype=float)
            with np.errstate(divide="ignore", invalid="ignore"):
                centre = math.exp(np.log(sample).mean()) if aggregate == "geometric" else abs(sample.mean())
            entry[str(backend)] = plain(centre)
        table.append(entry)
    return table


def study_entry(entries: Sequence[Mapping[str, Any]], crosscheck: "pd.DataFrame", facts: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the study as a whole: counts, what was contradicted, cross-check, cost, environment.

    `expectations` are those judged on a case at least, `unasked` those that speak of no case of the study. `counts` are of all
    verdicts; `notable` names what the expectations came to but for rival readings, `rivals` what these did.

    Args:
        entries: as `claim_entry` gives them.
        crosscheck: the study's table.
        facts: `environment.json`.
    """
    stated = [(entry, e) for entry in entries for e in entry["expectations"]]
    rivals = [(entry, e) for entry, e in stated if e["rival_to"] is not None]
    statements = [(entry, e) for entry, e in stated if e["rival_to"] is None]
    rows = [row for _, e in stated for row in e["rows"]]
    cases = [case for entry in entries for case in entry["cases"]]
    widths = [width for case in cases for width in case["widths"]]
    return {
        "study": facts["study"],
        "commit": facts["commit"],
        "dirty": facts["dirty"],
        "claims": len(entries),
        "expectations": sum(bool(e["rows"]) for _, e in stated),
        "unasked": sum(not e["rows"] for _, e in stated),
        "cases": len(cases),
        "controls": sum(case["control"] is not None for case in cases),
        "judged": len(rows),
        "counts": _counts(row["verdict"] for row in rows),
        "notable": {name: _named(statements, name) for name in ("contradicted", "inconclusive", "invalid", "split")},
        "rivals": {name: _named(rivals, name) for name in (*get_args(Verdict), "split")},
        "seeds": [min(c["seeds"] for c in cases), max(c["seeds"] for c in cases)],
        "widths": [min(widths), max(widths)],
        "datasets": [dataset_entry(name) for name in sorted({case["dataset"] for case in cases})],
        "crosscheck": worst(crosscheck),
        "seconds": {name: plain(value) for name, value in facts["measured_seconds"].items()},
        "peak_memory_gib": {name: plain(value / 2**30) for name, value in facts["peak_memory_bytes"].items()},
        "precision": " and ".join(
            sorted({str(device["precision"]) for found in facts["backends"].values() for device in found})
        ),
        "environment": environment_rows(facts),
    }


def dataset_entry(name: str) -> dict[str, str]:
    """A data source in words."""
    return {"name": name, "description": SOURCES[name].description, "licence": SOURCES[name].licence}


def _named(asked: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], verdict: str) -> list[dict[str, Any]]:
    """Expectations, each after the entry of its claim, with at least one case of this verdict, and those cases."""
    found = []
    for entry, expectation in asked:
        rows = [row for row in expectation["rows"] if row["verdict"] == verdict]
        if rows:
            named = {name: expectation[name] for name in ("name", "statement", "kind", "expected", "sources")}
            values = [e["estimate"] for row in rows for e in row["estimates"] if isinstance(e["estimate"], float)]
            extent = {"lowest": min(values, default=None), "highest": max(values, default=None)}
            whole = {"claim": entry["id"], "title": entry["title"], "of": len(expectation["rows"])}
            found.append(named | extent | whole | {"rows": rows})
    return found


def environment_rows(facts: Mapping[str, Any]) -> list[list[str]]:
    """Name and value of each fact that the appendix prints."""
    rows = [["commit", facts["commit"] + (" with uncommitted changes" if facts["dirty"] else "")]]
    rows += [[name, str(facts[name])] for name in ("python", "platform", "processor", "cpus")]
    rows += [[name, str(version)] for name, version in sorted(facts["versions"].items())]
    for backend, found in facts["backends"].items():
        for device in found:
            rows.append([f"{backend} backend", ", ".join(f"{name} {value}" for name, value in device.items())])
    return rows
