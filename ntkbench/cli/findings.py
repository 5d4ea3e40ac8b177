"""What a run found: its verdicts, and the quantities behind them."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ntkbench import files
from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, outline, print_out, print_reasons
from ntkbench.cli.runs import STUDIES, Results, Rows, cause, read_verdicts, run_folder
from ntkbench.units import counted

STYLES = {"supported": "green", "contradicted": "red", "inconclusive": "yellow", "invalid": "magenta"}


@app.command()
def verdicts(results: Results) -> None:
    """Print the verdicts of a run, why some are not decided, and where its paper is."""
    rows = or_exit(lambda: read_verdicts(results))
    print_out(_verdict_table(rows))
    for verdict in ("invalid", "inconclusive"):
        undecided = [row for row in rows if row["verdict"] == verdict]
        print_reasons(verdict, ((cause(row), row["claim"] if verdict == "invalid" else "") for row in undecided))
    counts, backends = (Counter(row[name] for row in rows) for name in ("verdict", "backend"))
    each = ", ".join(f"{count} {name}" for name, count in backends.items())
    found = ", ".join(f"{counts[name]} {name}" for name in STYLES)
    print_out(f"\n{counted(len(rows), 'verdict')}: {found} ({escape(each)})")
    if rejected := sum(row["verdict"] == "contradicted" and _is_rival(row) for row in rows):
        rivals, them = ("is a rival reading", "it") if rejected == 1 else ("are rival readings", "them")
        print_out(f"{rejected} of the contradicted {rivals}: no source states {them}, and the claims expect {them} to fail")
    if results.resolve().name == "smoke":
        print_out("The smoke study's sizes are for checking the machinery, not for verdicts.")
    print_out(_crosscheck_line(results))
    print_out(escape(_paper_line(results)))


@app.command()
def quantities(
    results: Results,
    claim_id: Annotated[str, typer.Argument(metavar="CLAIM", help="For instance gap/hierarchy.")],
    names: Annotated[list[str], typer.Argument(metavar="QUANTITY...", help="As `ntkbench show CLAIM` lists them.")],
    geometric: Annotated[bool, typer.Option(help="Means of logarithms, for ratios.")] = False,
) -> None:
    """Print quantities of a run by case and width: mean over seeds and 95% interval, in each backend."""
    rows, judged = or_exit(lambda: _read_quantities(results, claim_id, names))
    print_out(_quantity_table(claim_id, rows, names, geometric))
    kind = "Means of logarithms" if geometric else "Arithmetic means, for ratios rather --geometric;"
    print_out(f"{kind} over seeds with 95% intervals of the studentized bootstrap, which know no range of a quantity.")
    print_reasons("invalid verdicts of the claim", ((cause(row), "") for row in judged if row["verdict"] == "invalid"))


def _read_quantities(results: Path, claim_id: str, names: Sequence[str]) -> tuple[Rows, Rows]:
    """The rows of some quantities of a claim, and its verdicts."""
    from ntkbench import claims, tables

    claim = claims.get(claim_id)
    if strange := [name for name in names if name not in claim.quantities]:
        raise ValueError(f"{claim_id} has no quantity {', '.join(strange)}; `ntkbench show {claim_id}` lists them")
    judged = [row for row in read_verdicts(results) if row["claim"] == claim_id]
    path = run_folder(results) / "quantities" / f"{claim_id}.csv"
    if not path.exists():
        raise ValueError(f"{path} is missing: the folder of a run that was made here has it, a published one keeps none")
    return [row for row in tables.read_rows(path, "quantities") if row["quantity"] in names], judged


def _quantity_table(claim_id: str, rows: Rows, names: Sequence[str], geometric: bool) -> Table:
    """A line for each case, width, place on the axis and quantity, in the order of `names`."""
    import numpy as np

    from ntkbench.seeding import rng
    from ntkbench.verdicts.estimate import over_seeds

    backends = list(dict.fromkeys(row["backend"] for row in rows))
    table = outline("case, quantity", "width", "at", *backends)
    values: dict[tuple[str, str, int, float | None], dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: (names.index(row["quantity"]), row["width"])):
        along = None if math.isnan(row["along"]) else row["along"]
        place = row["case"], row["quantity"], row["width"], along
        values.setdefault(place, {}).setdefault(row["backend"], []).append(row["value"])
    for case in dict.fromkeys(row["case"] for row in rows):
        table.add_row(f"[bold]{escape(case)}[/]")
        for (of, quantity, width, along), by_backend in values.items():
            if of == case:
                draw = partial(rng, 0, "quantities", claim_id, case, quantity, width)
                found = [over_seeds(np.array(by_backend[name]), draw(), geometric) for name in backends]
                shown = (f"{one.centre:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in found)
                table.add_row(f"  {quantity}", str(width), "" if along is None else f"{along:g}", *map(escape, shown))
    return table


def _verdict_table(rows: Rows) -> Table:
    """Claims, below them expectations, below them a line per case."""
    table = outline("claim, what is expected, case", "", "estimate [95% interval]", "verdict")
    tree: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for row in rows:
        question = f"{row['expectation']}: {_asked(row)}" + (" (rival reading)" if _is_rival(row) else "")
        tree.setdefault(row["claim"], {}).setdefault(question, {}).setdefault(row["case"], []).append(row)
    for claim, questions in tree.items():
        table.add_row(f"[bold]{escape(claim)}[/]")
        for question, cases in questions.items():
            table.add_row(f"  {escape(question)}")
            for case, of_case in cases.items():
                for backend, estimate, verdict in _lines(of_case):
                    table.add_row(f"    {escape(case)}", escape(backend), escape(estimate), f"[{STYLES[verdict]}]{verdict}[/]")
    return table


def _asked(row: dict[str, Any]) -> str:
    """What is expected, with the margin or the smallest effect."""
    value, margin = row["expected"], row["margin"]
    match row["kind"]:
        case "paired":
            return {"> 0": f"> {margin:.3g}", "< 0": f"< {-margin or 0:.3g}", "!= 0": f"beyond +-{margin:.3g}"}[value]
        case "identity":
            return f"<= {margin:g}"
        case "rate":
            return f"slope {value} +- {margin:g}"
        case "bound":
            return f"slope {value} + {margin:g}"
        case _:
            return f"{value} +- {margin:g}"


def _is_rival(row: dict[str, Any]) -> bool:
    """Whether the row is of a rival reading, as far as its claim is known here."""
    from ntkbench import claims

    claim = claims.all_claims().get(row["claim"])
    return claim is not None and any(e.name == row["expectation"] and e.rival_to is not None for e in claim.expectations)


def _lines(rows: Rows) -> list[tuple[str, str, str]]:
    """Backend, estimate and verdict of one case: once, with no backend named, where all backends show the same."""
    lines = [(str(row["backend"]), _estimate(row), str(row["verdict"])) for row in rows]
    return [("", *lines[0][1:])] if len({line[1:] for line in lines}) == 1 else lines


def _estimate(row: dict[str, Any]) -> str:
    if math.isnan(row["estimate"]):
        return "no estimate"
    low, high = (f"{row[name]:.3g}" if math.isfinite(row[name]) else "unbounded" for name in ("ci_low", "ci_high"))
    return f"{row['estimate']:.3g} " + ("unbounded" if low == high == "unbounded" else f"[{low}, {high}]")


def _crosscheck_line(results: Path) -> str:
    """How many observables the frameworks agree in."""
    from ntkbench import tables

    path = run_folder(results) / "crosscheck.csv"
    if not path.is_file():
        return ""
    rows = or_exit(lambda: tables.read_rows(path, "crosscheck"))
    worst = max((row["max_rel"] for row in rows), default=0.0)
    agree = sum(bool(row["agrees"]) for row in rows)
    return f"torch and jax agree in {agree} of {counted(len(rows), 'observable')}, to {worst:.1g} of the largest at worst"


def _paper_line(results: Path) -> str:
    """Where the run's paper is; the paper's folder is shared by the studies, so it may be another one's."""
    name, paper = results.resolve().name, results.resolve().parent.parent / "paper"
    if (results / "paper.pdf").is_file():
        return f"The paper: {results.resolve() / 'paper.pdf'}"
    generated = paper / "generated" / "study.json"
    if not (generated.is_file() and (paper / "main.pdf").is_file()):
        return ""
    made = or_exit(lambda: files.read_json(generated))["study"]
    if made == name:
        return f"The paper: {paper / 'main.pdf'}"
    mend = f"; `make reproduce STUDY={name}` makes this one's" if (STUDIES / f"{name}.yaml").is_file() else ""
    return f"The paper in {paper} is of the study {made}{mend}"
