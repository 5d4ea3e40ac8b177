"""The matrix as a file and as a table of Markdown."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

COLUMNS = (
    "variation", "about", "backend", "python", "torch", "jax", "numpy", "threads", "order", "status",
    "observables_bitwise", "observables_within_rounding", "observables_apart", "observables_not_compared",
    "verdicts_bitwise", "verdicts_within_rounding", "verdicts_apart", "verdicts_not_compared",
    "worst_of_allowed", "worst_observable", "results_version", "commit", "processor", "platform", "cpus",
)  # fmt: skip
"""One row per variation and backend. `status`: `run`, `base`, or why it was not run, and numbers and facts are empty.
`worst_of_allowed`: the largest difference of an observable, as a share of what the cross-check allows it."""

START, END = "<!-- matrix: make matrix -->", "<!-- end of matrix -->"


def write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A line per variation, both backends in it."""
    lines = [
        "| changed | Python | torch | jax | numpy | torch: observables | verdicts | jax: observables | verdicts |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["variation"] for row in rows):
        of = {row["backend"]: row for row in rows if row["variation"] == name}
        first = of["torch"]
        versions = [first[fact] for fact in ("python", "torch", "jax", "numpy")]
        found = [text for backend in ("torch", "jax") for text in _found(of[backend])]
        lines.append("| " + " | ".join([first["about"], *versions, *found]) + " |")
    return "\n".join(lines)


def _found(row: dict[str, str]) -> tuple[str, str]:
    if row["status"] != "run":
        return row["status"], ""
    texts = []
    for what in ("observables", "verdicts"):
        counts = {level: int(row[f"{what}_{level}"]) for level in ("bitwise", "within_rounding", "apart", "not_compared")}
        left = counts.pop("not_compared")
        compared = sum(counts.values())
        named = [f"{n} {level.replace('_', ' ')}" for level, n in counts.items() if n]
        texts.append(f"all {compared} {named[0].partition(' ')[2]}" if len(named) == 1 else ", ".join(named) or "none compared")
        texts[-1] += f"; {left} not compared" if left else ""
    if row["observables_within_rounding"] != "0":
        texts[0] += f" (at most {float(row['worst_of_allowed']):.1g} of the allowance)"
    return texts[0], texts[1]


def put_into(page: str, table: str) -> str:
    """The page with the table between its markers."""
    before, rest = page.split(START)
    return f"{before}{START}\n{table}\n{END}{rest.split(END)[1]}"
