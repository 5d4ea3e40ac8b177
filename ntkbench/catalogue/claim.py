"""The page of a claim: what is stated, how it is tested, what the published run found, and when that changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ntkbench import bibliography, citation, history, layout
from ntkbench.catalogue.markdown import escaped, table
from ntkbench.claims.base import Claim
from ntkbench.report import numbers
from ntkbench.verdicts.expectations import Expectation, expected

if TYPE_CHECKING:
    import pandas as pd

FIGURES = "../../../results/reference/figures"
"""Seen from `docs/claims/<family>/`."""


def page(claim: Claim, verdicts: "pd.DataFrame", past: Sequence[Mapping[str, Any]]) -> str:
    """The whole page.

    Args:
        verdicts: of the published run.
        past: rows of the history, as `history.read` gives them.
    """
    stem = layout.figure(claim.id)
    judged = [numbers.expectation_entry(e, verdicts[verdicts["claim"] == claim.id]) for e in claim.expectations]
    published = any(entry["rows"] for entry in judged)
    quantities = [[f"`{name}`", escaped(text)] for name, text in claim.quantities.items()]
    controls = [[f"`{name}`", escaped(text)] for name, text in claim.controls.items()]
    parts = [
        f"# {escaped(claim.title)}",
        f"`{claim.id}`, reference ids {', '.join(claim.reference_ids)}. [All claims](../README.md)",
        f"> {escaped(claim.statement)}",
        "## Sources",
        "\n".join(_sources(claim)),
        f"## Assumptions\n\n{escaped(claim.assumptions)}",
        f"## What is measured\n\n{table(['quantity', 'what it is'], quantities)}",
        f"## What is expected\n\n{table(EXPECTATIONS, map(_expectation, claim.expectations))}",
        f"## Negative controls\n\n{table(['control', 'what is done to break the claim'], controls)}",
        "## What the published run found",
        table(["expectation", "case", "estimate [95% interval]", "verdict", "control", "remarks"], _found(judged))
        if published
        else "The published study has no cases of this claim.",
        # A figure is there once the claim has been published.
        *([f"[![{escaped(claim.title)}]({FIGURES}/{stem}.png)]({FIGURES}/{stem}.svg)"] if published else []),
        escaped(claim.caption),
        f"## Limitations\n\n{escaped(claim.limitations)}",
        f"## Verdicts published so far\n\n{_history(claim, past)}",
        f"## Citing\n\n`ntkbench cite {claim.id}` prints\n\n```bibtex",
    ]
    entries = "\n\n".join(entry.bibtex() for entry in citation.cited([claim.id]))
    return "\n\n".join(parts) + f"\n{entries}\n```\n"


EXPECTATIONS = ("expectation", "statement", "quantity", "expected", "where", "control", "source")


def _sources(claim: Claim) -> Iterator[str]:
    places = {part["key"]: part["place"] for part in citation.sources(claim.source)}
    for key in citation.keys_of_claim(claim):
        if key not in bibliography.entries():
            raise ValueError(f"{claim.id}: a source names {key!r}, which ntkbench/references.bib lacks")
        place = f" Here: {escaped(places[key])}." if places.get(key) else ""
        entry = bibliography.entries()[key]
        if entry.read is None:
            raise ValueError(f"{claim.id}: ntkbench/references.bib does not say, as `annote`, what of {key} was read")
        yield f"- {escaped(entry.text())}{place} At hand was {escaped(entry.read)}."


def _expectation(expectation: Expectation) -> list[str]:
    where = "; ".join(f"{name} {' or '.join(map(str, values))}" for name, values in expectation.where.items())
    rival = f" (rival reading, set against `{expectation.rival_to}`)" if expectation.rival_to else ""
    return [
        f"`{expectation.name}`{rival}",
        escaped(expectation.statement),
        f"`{expectation.quantity}`",
        escaped(expected(expectation)),
        escaped(where) or "everywhere",
        f"`{expectation.control}`",
        escaped(expectation.source),
    ]


def _found(judged: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """A row per expectation and case; one estimate where the backends agree to the digits shown."""
    for entry in judged:
        for row in entry["rows"]:
            told = {found["backend"]: _estimate(found) for found in row["estimates"]}
            same = len(set(told.values())) == 1
            estimate = next(iter(told.values())) if same else "; ".join(f"{name} {text}" for name, text in told.items())
            each = ", ".join(f"{found['backend']} {found['verdict']}" for found in row["estimates"])
            verdict = each if row["verdict"] == "split" else row["verdict"]
            control = escaped(row["control"])
            yield [f"`{entry['name']}`", f"`{row['case']}`", estimate, verdict, control, escaped(row["reason"])]


def _estimate(found: Mapping[str, Any]) -> str:
    values = [found[name] for name in ("estimate", "low", "high")]
    centre, low, high = ("none" if v is None else v if isinstance(v, str) else f"{v:.3g}" for v in values)
    # An identity has no interval: all seeds must keep it.
    return (centre if low == high else f"{centre} [{low}, {high}]").replace("-", "−")


def _history(claim: Claim, past: Sequence[Mapping[str, Any]]) -> str:
    """Expectations against publications; those that are no longer asked are named as well."""
    own = [row for row in past if row["claim"] == claim.id]
    if not own:
        return "None."
    runs = list(dict.fromkeys((row["published"], row["commit"], row["results_version"]) for row in own))
    heads = [f"{day} (`{commit[:7]}`{', results ' + version if version else ''})" for day, commit, version in runs]
    names = dict.fromkeys([*(e.name for e in claim.expectations), *(row["expectation"] for row in own)])
    rows = [[f"`{name}`", *(_counts(own, name, commit) for _, commit, _ in runs)] for name in names]
    told = "Numbers of verdicts over cases and backends, by the day of publication and the commit that was measured."
    return f"{told}\n\n{table(['expectation', *heads], rows)}"


def _counts(own: Sequence[Mapping[str, Any]], name: str, commit: str) -> str:
    found = [row for row in own if (row["expectation"], row["commit"]) == (name, commit)]
    return (
        ", ".join(f"{row[verdict]} {verdict}" for row in found for verdict in history.VERDICTS if row[verdict]) or "not asked"
    )
