"""Whether two runs agree."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ntkbench import comparison
from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, outline, print_out, print_reasons
from ntkbench.cli.runs import Results, read_verdicts, study_of


@app.command()
def compare(results: Results, reference: Annotated[Path, typer.Argument(help="The run to compare with.")]) -> None:
    """Say which verdicts and estimates of two runs agree within their intervals; exit code 1 if any differs or is lost."""

    def read_and_compare() -> list[comparison.ComparisonRow]:
        ours, theirs = map(read_verdicts, (results, reference))
        return comparison.compare_runs(ours, theirs)

    compared = or_exit(read_and_compare)
    names = [study_of(folder) for folder in (results, reference)]
    if None not in names and names[0] != names[1]:
        both = [row for row in compared if row.reason not in (comparison.NOT_HERE, comparison.NOT_THERE)]
        print_out(
            f"{results} is of the study {names[0]}, {reference} of {names[1]}: of {len(compared)} verdicts "
            f"both have {len(both)}, and only these are compared"
        )
        compared = both
    if wrong := [row for row in compared if row.outcome in ("differs", "lost")]:
        print_out(_comparison_table(wrong))
    print_reasons("not comparable", ((row.reason, "") for row in compared if row.outcome == "not comparable"))
    counts = Counter(row.outcome for row in compared)
    print_out(f"\n{len(compared)} verdicts compared with {reference}: " + ", ".join(f"{n} {o}" for o, n in counts.items()))
    if counts["lost"]:
        print_out(f"{counts['lost']} verdicts are lost: valid in {reference}, invalid in {results} or missing from it")
    if wrong:
        raise typer.Exit(1)


def _comparison_table(rows: Sequence[comparison.ComparisonRow]) -> Table:
    """What differs and what is lost, laid out as the table of verdicts."""
    table = outline("claim, expectation, case", "", "here", "there", "why")
    ordered = sorted(rows, key=lambda row: (row.claim, row.expectation))
    for claim, of_claim in groupby(ordered, key=lambda row: row.claim):
        table.add_row(claim)
        for expectation, found in groupby(of_claim, key=lambda row: row.expectation):
            table.add_row(f"  {expectation}")
            for row in found:
                here, there = (f"{x:.3g}" if math.isfinite(x) else "none" for x in (row.estimate, row.reference_estimate))
                table.add_row(f"    {row.case}", row.backend, here, there, f"{row.outcome}: {row.reason}")
    return table
