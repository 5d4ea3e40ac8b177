"""The command line: what is claimed, what was found, whether a study is valid, whether two runs agree."""

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from ntkbench import claims, comparison, config, records

app = typer.Typer(
    name="ntkbench",
    help="Which claims about the Neural Tangent Kernel hold, in which range, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
T = TypeVar("T")
STYLES = {"supported": "green", "contradicted": "red", "inconclusive": "yellow", "invalid": "magenta"}

Results = Annotated[Path, typer.Argument(help="A run's folder, for instance results/default.")]
StudyPath = Annotated[Path, typer.Argument(help="A study's file, for instance workflow/config/default.yaml.")]


@app.command("claims")
def list_claims(markdown: Annotated[bool, typer.Option(help="As a Markdown table, the one in the README.")] = False) -> None:
    """List the claims: what is stated, where, and what breaks it."""
    if markdown:
        typer.echo(claims_table())
        return
    table = Table("claim", "statement", "source", show_lines=True)
    for claim in claims.all_claims().values():
        table.add_row(claim.id, claim.statement, claim.source)
    _print(table)


@app.command()
def show(claim_id: Annotated[str, typer.Argument(metavar="CLAIM", help="For instance hierarchy/truncation.")]) -> None:
    """Show all that is said about one claim."""
    claim = _or_exit(lambda: claims.get(claim_id))
    parts = {"Statement": claim.statement, "Source": claim.source, "Assumptions": claim.assumptions}
    lines = [f"{claim.id}: {claim.title}", "", *(f"{head}: {text}" for head, text in parts.items()), "", "Quantities:"]
    lines += [f"  {name}: {text}" for name, text in claim.quantities.items()]
    lines += ["", "Expectations:"]
    lines += [f"  {e.name}: {e.statement} ({e.source}; control: {e.control})" for e in claim.expectations]
    lines += ["", "Negative controls:", *(f"  {name}: {text}" for name, text in claim.controls.items())]
    lines += ["", f"Limitations: {claim.limitations}"]
    typer.echo("\n".join(lines))


@app.command()
def verdicts(results: Results) -> None:
    """Print the verdicts of a run, and where its paper is."""
    rows = _or_exit(lambda: records.read_rows(results / "verdicts.csv", "verdicts"))
    table = Table("claim", "expectation", "case", "backend", "expected", "estimate [95% interval]", "verdict")
    for row in rows:
        numbers = "{estimate:.3g} \\[{ci_low:.3g}, {ci_high:.3g}]".format(**row)
        estimate = "" if math.isnan(row["estimate"]) else numbers
        names = (row[name] for name in ("claim", "expectation", "case", "backend", "expected"))
        table.add_row(*names, estimate, f"[{STYLES[row['verdict']]}]{row['verdict']}[/]")
    _print(table)
    counts = Counter(row["verdict"] for row in rows)
    _print(f"{len(rows)} verdicts: " + ", ".join(f"{counts[name]} {name}" for name in STYLES))
    paper = Path("paper/main.pdf")
    if paper.is_file():
        _print(f"The paper: {paper.resolve()}")


@app.command()
def validate(studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Study files (YAML).")]) -> None:
    """Check study files; every problem is named with its key, its value and the mend."""
    for path in studies:
        study = _or_exit(partial(config.load, path))
        cases = sum(len(of_claim) for of_claim in study.cases.values())
        typer.echo(f"{path} is valid: {len(study.cases)} claims, {cases} cases")


@app.command()
def plan(study: StudyPath) -> None:
    """Show what a study runs: cases, sizes and the number of measurements."""
    found = _or_exit(lambda: config.load(study))
    table = Table("claim", "case", "network", "points", "widths", "seeds", "control")
    for claim_id, cases in found.cases.items():
        for name, case in cases.items():
            points = f"{case.train_size} + {case.test_size}" if case.test_size else str(case.train_size)
            network = f"{case.activation}, depth {case.depth}"
            widths = " ".join(map(str, case.widths))
            table.add_row(claim_id, name, network, f"{points} ({case.dataset})", widths, str(case.seeds), case.control or "")
    _print(table)
    cases_in_all = sum(map(len, found.cases.values()))
    typer.echo(f"{cases_in_all} cases, {cases_in_all * len(found.backends)} measurements ({' and '.join(found.backends)})")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    typer.echo(json.dumps(config.json_schema(), indent=2, sort_keys=True))


@app.command()
def compare(results: Results, reference: Annotated[Path, typer.Argument(help="The run to compare with.")]) -> None:
    """Say which verdicts and estimates of two runs agree within their intervals; exit code 1 if any differs."""

    def read_and_compare() -> list[comparison.ComparisonRow]:
        ours, theirs = (records.read_rows(folder / "verdicts.csv", "verdicts") for folder in (results, reference))
        return comparison.compare_runs(ours, theirs)

    compared = _or_exit(read_and_compare)
    table = Table(
        "claim", "expectation", "case", "backend", "verdict", "reference", "estimate", "reference", "outcome", "reason"
    )
    for row in compared:
        if row.outcome != "reproduced":
            numbers = (f"{row.estimate:.3g}", f"{row.reference_estimate:.3g}")
            names = (row.claim, row.expectation, row.case, row.backend, row.verdict, row.reference_verdict)
            table.add_row(*names, *numbers, row.outcome, row.reason)
    if table.row_count:
        _print(table)
    counts = Counter(row.outcome for row in compared)
    _print(f"{len(compared)} verdicts compared with {reference}: " + ", ".join(f"{n} {o}" for o, n in counts.items()))
    if counts["differs"]:
        raise typer.Exit(1)


def claims_table() -> str:
    """The claims as a Markdown table."""
    lines = ["| claim | statement | source | negative controls |", "|---|---|---|---|"]
    for claim in claims.all_claims().values():
        controls = "; ".join(f"`{name}`: {text}" for name, text in claim.controls.items())
        lines.append(f"| `{claim.id}` | {claim.statement} | {claim.source} | {controls} |")
    return "\n".join(lines)


def _print(content: Table | str) -> None:
    """To a terminal in its width; elsewhere (a log, a pipe) wide enough for the tables."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    Console(highlight=False, soft_wrap=isinstance(content, str), width=width).print(content)


def _or_exit(make: Callable[[], T]) -> T:
    """The value, or one line on stderr and exit code 2."""
    try:
        return make()
    except (ValueError, records.RecordError) as error:
        typer.echo(f"ntkbench: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
