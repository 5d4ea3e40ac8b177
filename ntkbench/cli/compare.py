"""Whether two runs agree."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, outline, print_out, print_reasons
from ntkbench.cli.runs import Results, read_verdicts, run_folder
from ntkbench.units import counted

if TYPE_CHECKING:
    from ntkbench import comparison

_LONGEST = 8
"""Facts of the environment that fit the terminal; the page has all."""


@app.command()
def compare(
    results: Results,
    reference: Annotated[Path, typer.Argument(help="The run to compare with.")],
    html: Annotated[Path | None, typer.Option(help="Write everything as one self-contained page.")] = None,
    across_versions: Annotated[bool, typer.Option(help="Compare results of different versions all the same.")] = False,
) -> None:
    """Say what of a run agrees with another: bitwise, within rounding, within interval, or not (docs/reproduction.md).

    Of one study and root every verdict must ask the same, else it differs: other seeds, widths or margins are no excuse. Of
    others it is not comparable then; the table of claims says how many are not.

    Exit code 0: something could be compared, and all that could be is reproduced; 1: something differs or is lost; 2: bad
    input, or nothing in the two can be compared.
    """
    from ntkbench import comparison, files

    def read_and_compare() -> comparison.Comparison:
        for folder in (results, reference):
            read_verdicts(folder)  # its errors say how to make what is missing
        runs = [comparison.read_run(run_folder(folder)) for folder in (results, reference)]
        compared = comparison.compare(*runs, across_versions=across_versions)
        if html is not None:
            files.write_bytes(html, comparison.html_page(compared, str(results), str(reference)).encode())
        return compared

    compared = or_exit(read_and_compare)
    _print(compared, results, reference)
    if html is not None:
        print_out(escape(f"everything is in {html}"))
    if compared.outcome in ("differs", "lost"):
        raise typer.Exit(1)
    if compared.outcome == "not comparable":
        typer.echo(f"ntkbench: nothing in {results} and {reference} can be compared", err=True)
        raise typer.Exit(2)


def _print(compared: "comparison.Comparison", results: Path, reference: Path) -> None:
    if compared.unmatched:
        both = len(compared.verdicts)
        every = counted(compared.unmatched + both, "verdict")
        text = f"{results} and {reference} are of different studies: of {every} both have {both}, "
        print_out(escape(f"{text}and only these are compared"))
    print_out(f"Verdicts must agree {compared.required}: {escape(compared.why)}.\n")
    print_out(_claim_table(compared.claims()))
    if wrong := [row for row in compared.verdicts if row.outcome in ("differs", "lost")]:
        print_out(_verdict_table(wrong))
    if off := [row for row in compared.observables if row.outcome in ("differs", "lost")]:
        print_out(_observable_table(off))
    print_reasons("not comparable", ((row.reason, "") for row in compared.rows if row.outcome == "not comparable"))
    if compared.differences:
        shown = [f"  {d.fact}: {d.here} here, {d.there} there" for d in compared.differences[:_LONGEST]]
        more = len(compared.differences) - len(shown)
        print_out(escape("\n".join(["\nDifferent in the two:", *shown, *([f"  and {more} more (--html)"] if more else [])])))
    print_out("")
    for what, found in (("verdict", compared.verdicts), ("observable", compared.observables)):
        if found or what == "verdict":
            print_out(escape(f"{counted(len(found), what)} compared with {reference}: {_by_outcome(found)}"))
    if lost := sum(row.outcome == "lost" for row in compared.verdicts):
        told = f"{counted(lost, 'verdict')} {'is' if lost == 1 else 'are'} lost"
        print_out(escape(f"{told}: valid in {reference}, invalid in {results} or missing from it"))


def _by_outcome(rows: "Sequence[comparison.ComparedVerdict] | Sequence[comparison.ComparedObservable]") -> str:
    """How many have each outcome; of the reproduced, how many at each level."""
    outcomes = Counter(row.outcome for row in rows)
    levels = Counter(row.level for row in rows if row.outcome == "reproduced" and row.level is not None)
    detail = ", ".join(f"{levels[level]} {level}" for level in sorted(levels, reverse=True))
    return ", ".join(f"{n} {o}" + (f" ({detail})" if o == "reproduced" else "") for o, n in outcomes.items())


def _claim_table(claims: "Sequence[comparison.ClaimSummary]") -> Table:
    """The lowest level that any observable and any verdict of a claim reached, what follows, and for how many rows nothing."""
    table = outline("claim", "observables", "verdicts", "not compared", "outcome")
    for claim in claims:
        levels = ("" if level is None else str(level) for level in (claim.observables, claim.verdicts))
        wrong = {outcome: n for outcome, n in claim.outcomes.items() if outcome in ("differs", "lost")}
        outcome = ", ".join(f"{n} {name}" for name, n in wrong.items()) or claim.outcome
        left = f"{claim.outcomes.get('not comparable', 0)} of {sum(claim.outcomes.values())}"
        table.add_row(escape(claim.claim), *levels, left, outcome)
    return table


def _verdict_table(rows: "Sequence[comparison.ComparedVerdict]") -> Table:
    """What differs and what is lost, laid out as the table of verdicts."""
    table = outline("\nclaim, expectation, case", "", "\nhere", "\nthere", "\nwhy")
    ordered = sorted(rows, key=lambda row: (row.claim, row.expectation))
    for claim, of_claim in groupby(ordered, key=lambda row: row.claim):
        table.add_row(escape(claim))
        for expectation, found in groupby(of_claim, key=lambda row: row.expectation):
            table.add_row(escape(f"  {expectation}"))
            for row in found:
                here, there = (f"{x:.3g}" if math.isfinite(x) else "none" for x in (row.estimate, row.reference_estimate))
                cells = (f"    {row.case}", row.backend, here, there, f"{row.outcome}: {row.reason}")
                table.add_row(*map(escape, cells))
    return table


def _observable_table(rows: "Sequence[comparison.ComparedObservable]") -> Table:
    """What was measured otherwise, by claim and case."""
    table = outline("\nclaim, case", "", "\nobservable", "\nwhy")
    for claim, of_claim in groupby(rows, key=lambda row: row.claim):
        table.add_row(escape(claim))
        for row in of_claim:
            table.add_row(*map(escape, (f"  {row.case}", row.backend, row.quantity, row.reason)))
    return table
