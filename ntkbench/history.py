"""Which verdicts were published when: `history.csv`, to which every publication adds its counts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, get_args

from ntkbench import tables
from ntkbench.verdicts.expectations import Verdict

NAME = "history.csv"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def counted(published: date, facts: Mapping[str, Any], verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What one publication adds: how many verdicts of each kind every expectation had, over cases and backends.

    Args:
        published: the day.
        facts: `environment.json` of the run.
        verdicts: its table of verdicts.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in verdicts:
        found.setdefault((row["claim"], row["expectation"]), Counter())[row["verdict"]] += 1
    run = {"published": published.isoformat(), "commit": facts["commit"], "results_version": facts.get("results_version", "")}
    return [
        run | {"claim": claim, "expectation": expectation} | {name: counts[name] for name in VERDICTS}
        for (claim, expectation), counts in found.items()
    ]


def read(reference: Path) -> list[dict[str, Any]]:
    """The rows of a published run's history, the oldest first; none where nothing has been published yet.

    Raises:
        RecordError: if the file is damaged.
    """
    path = reference / NAME
    return tables.read_rows(path, "history") if path.exists() else []
