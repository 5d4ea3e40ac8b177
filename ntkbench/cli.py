"""The command line: what is claimed, what was found, whether a study is valid, whether two runs agree."""

import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ntkbench import __version__, claims, comparison, config, records
from ntkbench.performance import planning
from ntkbench.performance.calibration import calibrate
from ntkbench.seeding import rng
from ntkbench.verdicts.estimate import over_seeds
from ntkbench.verdicts.expectations import expected

app = typer.Typer(
    name="ntkbench",
    help="Which claims about the Neural Tangent Kernel hold, in which range, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
T = TypeVar("T")
STYLES = {"supported": "green", "contradicted": "red", "inconclusive": "yellow", "invalid": "magenta"}

Results = Annotated[Path, typer.Argument(help="A run's folder, for instance results/default, or its study's name.")]
StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's name, for instance smoke, or its file.")]
STUDIES = Path("workflow/config")
UNDECIDED = "the interval lies neither within what is expected nor outside"
Rows = Sequence[dict[str, Any]]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What every command shares."""


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
    for e in claim.expectations:
        rival = f"; a rival reading, set against {e.rival_to}" if e.rival_to else ""
        where = "".join(f", {name} {' or '.join(map(str, values))}" for name, values in e.where.items())
        lines.append(f"  {e.name}: {e.statement} ({e.source}; control: {e.control}{rival})")
        lines.append(f"    judged: {e.quantity}, {expected(e)}{where}")
    lines += ["", "Negative controls:", *(f"  {name}: {text}" for name, text in claim.controls.items())]
    lines += ["", f"Limitations: {claim.limitations}"]
    typer.echo("\n".join(lines))


@app.command()
def verdicts(results: Results) -> None:
    """Print the verdicts of a run, why some are not decided, and where its paper is."""
    rows = _or_exit(lambda: _read_verdicts(results))
    _print(_verdict_table(rows))
    for verdict in ("invalid", "inconclusive"):
        undecided = [row for row in rows if row["verdict"] == verdict]
        _print_reasons(verdict, ((_cause(row), row["claim"] if verdict == "invalid" else "") for row in undecided))
    counts, backends = (Counter(row[name] for row in rows) for name in ("verdict", "backend"))
    each = ", ".join(f"{count} {name}" for name, count in backends.items())
    _print(f"\n{len(rows)} verdicts: " + ", ".join(f"{counts[name]} {name}" for name in STYLES) + f" ({each})")
    if rejected := sum(row["verdict"] == "contradicted" and _is_rival(row) for row in rows):
        _print(f"{rejected} of the contradicted are rival readings: no source states them, and the claims expect them to fail")
    if results.resolve().name == "smoke":
        _print("The smoke study's sizes are for checking the machinery, not for verdicts.")
    _print(_crosscheck_line(results))
    _print(_paper_line(results))


@app.command()
def quantities(
    results: Results,
    claim_id: Annotated[str, typer.Argument(metavar="CLAIM", help="For instance gap/hierarchy.")],
    names: Annotated[list[str], typer.Argument(metavar="QUANTITY...", help="As `ntkbench show CLAIM` lists them.")],
    geometric: Annotated[bool, typer.Option(help="Means of logarithms, for ratios.")] = False,
) -> None:
    """Print quantities of a run by case and width: mean over seeds and 95% interval, in each backend."""
    rows, judged = _or_exit(lambda: _read_quantities(results, claim_id, names))
    _print(_quantity_table(claim_id, rows, names, geometric))
    kind = "Means of logarithms" if geometric else "Arithmetic means, for ratios rather --geometric;"
    _print(f"{kind} over seeds with 95% intervals of the studentized bootstrap, which know no range of a quantity.")
    _print_reasons("invalid verdicts of the claim", ((_cause(row), "") for row in judged if row["verdict"] == "invalid"))


def _read_quantities(results: Path, claim_id: str, names: Sequence[str]) -> tuple[Rows, Rows]:
    """The rows of some quantities of a claim, and its verdicts."""
    claim = claims.get(claim_id)
    if strange := [name for name in names if name not in claim.quantities]:
        raise ValueError(f"{claim_id} has no quantity {', '.join(strange)}; `ntkbench show {claim_id}` lists them")
    judged = [row for row in _read_verdicts(results) if row["claim"] == claim_id]
    path = _run_folder(results) / "quantities" / f"{claim_id}.csv"
    if not path.exists():
        raise ValueError(f"{path} is missing: the folder of a run that was made here has it, a published one keeps none")
    return [row for row in records.read_rows(path, "quantities") if row["quantity"] in names], judged


def _quantity_table(claim_id: str, rows: Rows, names: Sequence[str], geometric: bool) -> Table:
    """A line for each case, width, place on the axis and quantity, in the order of `names`."""
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    table = _outline("case, quantity", "width", "at", *backends)
    values: dict[tuple[str, str, int, float | None], dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: (names.index(row["quantity"]), row["width"])):
        along = None if math.isnan(row["along"]) else row["along"]
        place = row["case"], row["quantity"], row["width"], along
        values.setdefault(place, {}).setdefault(row["backend"], []).append(row["value"])
    for case in dict.fromkeys(row["case"] for row in rows):
        table.add_row(f"[bold]{case}[/]")
        for (of, quantity, width, along), by_backend in values.items():
            if of == case:
                draw = partial(rng, 0, "quantities", claim_id, case, quantity, width)
                found = [over_seeds(np.array(by_backend[name]), draw(), geometric) for name in backends]
                shown = (f"{one.centre:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in found)
                table.add_row(f"  {quantity}", str(width), "" if along is None else f"{along:g}", *map(escape, shown))
    return table


@app.command()
def validate(studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Names of studies, or files.")]) -> None:
    """Check studies; problems are named with key, value and mend: every key's, or of each case the first rule it breaks."""
    for path in map(_study_file, studies):
        study = _or_exit(partial(config.load, path))
        cases = sum(len(of_claim) for of_claim in study.cases.values())
        typer.echo(f"{path} is valid: {len(study.cases)} claims, {cases} cases")


@app.command()
def plan(
    study: StudyPath,
    cores: Annotated[int | None, typer.Option(min=1, help="Of the run, as for snakemake; all by default.")] = None,
) -> None:
    """Show what a study runs and about what it takes on this machine; exit code 2 if its memory does not suffice.

    Seconds are those of one job after another, from counts of the work and a few seconds of measuring this machine; within a
    factor of two where the machine is not shared.
    """
    found = _or_exit(lambda: config.load(_study_file(study)))
    available, used = planning.available_bytes(), cores or os.cpu_count() or 1
    planned = planning.jobs(found, calibrate(found.precision), used)
    _print(_plan_table(found, planned))
    cases_in_all = sum(map(len, found.cases.values()))
    backends = " and ".join(found.backends)
    typer.echo(f"{cases_in_all} cases, {cases_in_all * len(found.backends)} measurements ({backends})")
    elsewhere = found.device != "cpu" and (config.gpu_present() or found.device == "cuda")
    _print(_stage_table(planned))
    duration = f"{_duration(planning.wall_seconds(planned, used))} with {used} cores{_without_unknown(planned)}"
    typer.echo(f"about {duration}; {_gib(available)} GiB are available")
    if elsewhere:
        typer.echo(
            "The study runs on a GPU, whose speed and memory were not measured: these are the numbers of a run on the CPU."
        )
        return
    _or_exit(lambda: planning.check_memory(planned, used, available))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    typer.echo(json.dumps(config.json_schema(), indent=2, sort_keys=True))


@app.command()
def compare(results: Results, reference: Annotated[Path, typer.Argument(help="The run to compare with.")]) -> None:
    """Say which verdicts and estimates of two runs agree within their intervals; exit code 1 if any differs or is lost."""

    def read_and_compare() -> list[comparison.ComparisonRow]:
        ours, theirs = map(_read_verdicts, (results, reference))
        return comparison.compare_runs(ours, theirs)

    compared = _or_exit(read_and_compare)
    names = [_study_of(folder) for folder in (results, reference)]
    if None not in names and names[0] != names[1]:
        both = [row for row in compared if row.reason not in (comparison.NOT_HERE, comparison.NOT_THERE)]
        _print(
            f"{results} is of the study {names[0]}, {reference} of {names[1]}: of {len(compared)} verdicts "
            f"both have {len(both)}, and only these are compared"
        )
        compared = both
    if wrong := [row for row in compared if row.outcome in ("differs", "lost")]:
        _print(_comparison_table(wrong))
    _print_reasons("not comparable", ((row.reason, "") for row in compared if row.outcome == "not comparable"))
    counts = Counter(row.outcome for row in compared)
    _print(f"\n{len(compared)} verdicts compared with {reference}: " + ", ".join(f"{n} {o}" for o, n in counts.items()))
    if counts["lost"]:
        _print(f"{counts['lost']} verdicts are lost: valid in {reference}, invalid in {results} or missing from it")
    if wrong:
        raise typer.Exit(1)


def _study_of(results: Path) -> str | None:
    """The name of the study that a run is of; None where its folder does not say."""
    path = _run_folder(results) / "environment.json"
    return str(_or_exit(lambda: records.read_json(path))["study"]) if path.is_file() else None


def claims_table() -> str:
    """The claims as a Markdown table."""
    lines = ["| claim | statement | source | negative controls |", "|---|---|---|---|"]
    for claim in claims.all_claims().values():
        controls = "; ".join(f"`{name}`: {text}" for name, text in claim.controls.items())
        lines.append(f"| `{claim.id}` | {claim.statement} | {claim.source} | {controls} |")
    return "\n".join(lines)


def _plan_table(study: config.Study, planned: Sequence[planning.Job]) -> Table:
    """Claims with their share of all measuring, below them cases with each backend's seconds, the most memory, and sizes."""
    costs = {(part.claim, part.case, part.backend): part for job in planned for part in job.parts}
    whole = sum(part.seconds or 0.0 for part in costs.values())
    table = _outline("claim, case, its sizes", *study.backends, "share", "GiB")
    for column in table.columns[1:]:
        column.no_wrap, column.justify = True, "right"
    for claim_id, cases in study.cases.items():
        of_claim = {backend: [costs[claim_id, name, backend] for name in cases] for backend in study.backends}
        sums = {backend: sum(part.seconds or 0.0 for part in parts) for backend, parts in of_claim.items()}
        share = sum(sums.values()) / whole if whole else 0.0
        table.add_row(f"[bold]{claim_id}[/]", *(f"[bold]{_duration(of)}[/]" for of in sums.values()), f"[bold]{share:.1%}[/]")
        for name, case in cases.items():
            jobs = [costs[claim_id, name, backend] for backend in study.backends]
            memory = [job.memory for job in jobs if job.memory is not None]
            taken = (_duration(job.seconds) for job in jobs)
            table.add_row(f"  {name}", *taken, "", _gib(max(memory)) if memory else "not known")
            table.add_row(Padding(_sizes(case), (0, 0, 0, 4)))
    return table


def _sizes(case: claims.Case) -> str:
    points = f"{case.train_size} + {case.test_size}" if case.test_size else str(case.train_size)
    parts = [f"{case.activation}, depth {case.depth}", f"{points} points ({case.dataset})"]
    parts += [f"widths {' '.join(map(str, case.widths))}", f"seeds {_seeds(case)}"]
    return "; ".join(parts + ([f"control {case.control}"] if case.control else []))


def _stage_table(planned: Sequence[planning.Job]) -> Table:
    """Seconds of each stage, one job after another, and the most that one of its jobs holds."""
    table = Table("stage", "jobs", "in all", "GiB each, at most")
    for stage, count, seconds, memory in planning.totals(planned):
        told = _duration(seconds) + _without_unknown([job for job in planned if job.stage == stage])
        table.add_row(stage, str(count), told, _gib(memory))
    return table


def _without_unknown(planned: Sequence[planning.Job]) -> str:
    """What the sums of a plan leave out."""
    unknown = sum(job.seconds is None for job in planned)
    return f", without {unknown} jobs whose seconds and memory are not known" if unknown else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return f"{seconds:.2g} s" if seconds < 99 else f"{seconds / 60:.2g} min" if seconds < 5940 else f"{seconds / 3600:.2g} h"


def _gib(memory: int) -> str:
    return f"{memory / 2**30:.2g}"


def _comparison_table(rows: Sequence[comparison.ComparisonRow]) -> Table:
    """What differs and what is lost, laid out as the table of verdicts."""
    table = _outline("claim, expectation, case", "", "here", "there", "why")
    ordered = sorted(rows, key=lambda row: (row.claim, row.expectation))
    for claim, of_claim in groupby(ordered, key=lambda row: row.claim):
        table.add_row(claim)
        for expectation, found in groupby(of_claim, key=lambda row: row.expectation):
            table.add_row(f"  {expectation}")
            for row in found:
                here, there = (f"{x:.3g}" if math.isfinite(x) else "none" for x in (row.estimate, row.reference_estimate))
                table.add_row(f"    {row.case}", row.backend, here, there, f"{row.outcome}: {row.reason}")
    return table


def _outline(first: str, *others: str) -> Table:
    """Without lines, the first column indented by whoever fills it, so that 80 columns hold it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, no_wrap=name == "verdict")
    return table


def _study_file(study: Path) -> Path:
    """The file of a study that is given by its name or by its file."""
    return study if study.suffix or len(study.parts) != 1 else STUDIES / f"{study}.yaml"


def _seeds(case: claims.Case) -> str:
    """How many each width takes: one number, or one per width where a claim lets them grow."""
    counts = [case.seeds_at(width) for width in case.widths]
    return str(counts[0]) if len(set(counts)) == 1 else " ".join(map(str, counts))


def _run_folder(results: Path) -> Path:
    """The folder of a run that is given by it or by its study's name."""
    named = Path("results") / results
    return named if len(results.parts) == 1 and not results.exists() and named.is_dir() else results


def _read_verdicts(results: Path) -> Rows:
    """The verdicts in a run's folder; an error says how to make them."""
    if results.is_file():
        raise ValueError(f"{results} is a file; give the folder that it lies in: {results.parent}")
    results = _run_folder(results)
    path, name = results / "verdicts.csv", results.resolve().name
    if path.exists():
        return records.read_rows(path, "verdicts")
    if (STUDIES / f"{name}.yaml").is_file():
        raise ValueError(
            f"{path} is missing: run `make reproduce STUDY={name}`, or snakemake --cores all --config study={name}"
        )
    there = ", ".join(sorted(str(file.parent) for file in Path("results").glob("*/verdicts.csv"))) or "none"
    raise ValueError(f"{path} is missing; folders with verdicts: {there}")


def _verdict_table(rows: Rows) -> Table:
    """Claims, below them expectations, below them a line per case."""
    table = _outline("claim, what is expected, case", "", "estimate [95% interval]", "verdict")
    tree: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for row in rows:
        question = f"{row['expectation']}: {_asked(row)}" + (" (rival reading)" if _is_rival(row) else "")
        tree.setdefault(row["claim"], {}).setdefault(question, {}).setdefault(row["case"], []).append(row)
    for claim, questions in tree.items():
        table.add_row(f"[bold]{claim}[/]")
        for question, cases in questions.items():
            table.add_row(f"  {question}")
            for case, of_case in cases.items():
                for backend, estimate, verdict in _lines(of_case):
                    table.add_row(f"    {case}", backend, escape(estimate), f"[{STYLES[verdict]}]{verdict}[/]")
    return table


def _asked(row: dict[str, Any]) -> str:
    """What is expected, with the margin or the smallest effect."""
    value, margin = row["expected"], row["margin"]
    match row["kind"]:
        case "paired":
            return {"> 0": f"> {margin:.3g}", "< 0": f"< {-margin or 0:.3g}", "!= 0": f"beyond +-{margin:.3g}"}[value]
        case "identity":
            return f"<= {margin:g}"
        case "bound":
            return f"{value} + {margin:g}"
        case _:
            return f"{value} +- {margin:g}"


def _is_rival(row: dict[str, Any]) -> bool:
    """Whether the row is of a rival reading, as far as its claim is known here."""
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


def _cause(row: dict[str, Any]) -> str:
    """Why a verdict is not decided; that a slope changes along the widths is a remark and decides nothing."""
    remarks = [text for text in row["reason"].split("; ") if text and not text.startswith("the slope changes along the widths")]
    return "; ".join(remarks)


def _print_reasons(what: str, remarks: Iterable[tuple[str, str]]) -> None:
    """Remarks without their numbers, and how many verdicts have each, the most frequent first; nothing where there are none.

    Args:
        what: of which the remarks are reasons.
        remarks: each with the claim that is to be named with it, whose cases it may speak of, or an empty text.
    """
    counts: Counter[str] = Counter()
    for text, claim in remarks:
        short = re.sub(r" ?(\([^()]*\)|\[[^\[\]]*\])", "", text)
        short = re.sub(r"(?<![\w.-])-?\d[\d.]*(e[-+]?\d+)?(?![\w-])", "…", short)
        found = dict.fromkeys(short.split("; ") if short else [UNDECIDED])
        counts.update([f"{claim}: {one}" if claim else one for one in found])
    if counts:
        _print("\n".join([f"\n{what}, because", *(f"  {n} x {escape(text)}" for text, n in counts.most_common())]))


def _crosscheck_line(results: Path) -> str:
    """How many observables the frameworks agree in."""
    path = _run_folder(results) / "crosscheck.csv"
    if not path.is_file():
        return ""
    rows = _or_exit(lambda: records.read_rows(path, "crosscheck"))
    worst = max((row["max_rel"] for row in rows), default=0.0)
    agree = sum(bool(row["agrees"]) for row in rows)
    return f"torch and jax agree in {agree} of {len(rows)} observables, to {worst:.1g} of the largest at worst"


def _paper_line(results: Path) -> str:
    """Where the run's paper is; the paper's folder is shared by the studies, so it may be another one's."""
    name, paper = results.resolve().name, results.resolve().parent.parent / "paper"
    if (results / "paper.pdf").is_file():
        return f"The paper: {results.resolve() / 'paper.pdf'}"
    generated = paper / "generated" / "study.json"
    if not (generated.is_file() and (paper / "main.pdf").is_file()):
        return ""
    made = _or_exit(lambda: records.read_json(generated))["study"]
    if made == name:
        return f"The paper: {paper / 'main.pdf'}"
    mend = f"; `make reproduce STUDY={name}` makes this one's" if (STUDIES / f"{name}.yaml").is_file() else ""
    return f"The paper in {paper} is of the study {made}{mend}"


def _print(content: Table | str) -> None:
    """To a terminal in its width; elsewhere (a log, a pipe) wide enough for the tables; nothing where there is nothing."""
    if content == "":
        return
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
