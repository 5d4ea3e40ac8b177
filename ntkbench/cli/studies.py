"""What a study is: whether its file is valid, what it takes, which keys it may have."""

import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, outline, print_out
from ntkbench.cli.runs import study_file
from ntkbench.units import counted, duration, gib

if TYPE_CHECKING:
    from ntkbench import claims, config
    from ntkbench.performance import planning

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's name, for instance smoke, or its file.")]


@app.command()
def validate(studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Names of studies, or files.")]) -> None:
    """Check studies; problems are named with key, value and mend: every key's, or of each case the first rule it breaks."""
    from ntkbench import config

    for path in map(study_file, studies):
        study = or_exit(partial(config.load, path))
        cases = sum(len(of_claim) for of_claim in study.cases.values())
        typer.echo(f"{path} is valid: {counted(len(study.cases), 'claim')}, {counted(cases, 'case')}")


@app.command()
def plan(
    study: StudyPath,
    cores: Annotated[int | None, typer.Option(min=1, help="Of the run, as for snakemake; all by default.")] = None,
) -> None:
    """Show what a study runs and about what it takes on this machine; exit code 2 if its memory does not suffice.

    Seconds are those of one job after another, from counts of the work and a few seconds of measuring this machine; within a
    factor of two where the machine is not shared.
    """
    from ntkbench import config
    from ntkbench.performance import planning
    from ntkbench.performance.calibration import calibrate

    found = or_exit(lambda: config.load(study_file(study)))
    available, used = planning.available_bytes(), cores or os.cpu_count() or 1
    planned = planning.jobs(found, calibrate(found.precision), used)
    print_out(_plan_table(found, planned))
    cases_in_all = sum(map(len, found.cases.values()))
    backends = " and ".join(found.backends)
    measurements = counted(cases_in_all * len(found.backends), "measurement")
    typer.echo(f"{counted(cases_in_all, 'case')}, {measurements} ({backends})")
    elsewhere = found.device != "cpu" and (config.gpu_present() or found.device == "cuda")
    print_out(_stage_table(planned))
    told = f"{duration(planning.wall_seconds(planned, used))} with {counted(used, 'core')}{_without_unknown(planned)}"
    typer.echo(f"about {told}; {gib(available)} GiB are available")
    if elsewhere:
        typer.echo(
            "The study runs on a GPU, whose speed and memory were not measured: these are the numbers of a run on the CPU."
        )
        return
    or_exit(lambda: planning.check_memory(planned, used, available))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    from ntkbench import config

    typer.echo(json.dumps(config.json_schema(), indent=2, sort_keys=True))


def _plan_table(study: "config.Study", planned: "Sequence[planning.Job]") -> Table:
    """Claims with their share of the known measuring, below them cases with each backend's seconds, most memory and sizes."""
    costs = {(part.claim, part.case, part.backend): part for job in planned for part in job.parts}
    whole = sum(part.seconds or 0.0 for part in costs.values())
    table = outline("claim, case, its sizes", *study.backends, "share", "GiB")
    for column in table.columns[1:]:
        column.no_wrap, column.justify = True, "right"
    for claim_id, cases in study.cases.items():
        of_claim = {backend: [costs[claim_id, name, backend] for name in cases] for backend in study.backends}
        sums = [_sum(part.seconds for part in parts) for parts in of_claim.values()]
        own = _sum(sums)
        share = duration(None) if own is None else f"{own / whole if whole else 0.0:.1%}"
        table.add_row(f"[bold]{claim_id}[/]", *(f"[bold]{duration(of)}[/]" for of in sums), f"[bold]{share}[/]")
        for name, case in cases.items():
            jobs = [costs[claim_id, name, backend] for backend in study.backends]
            memory = [job.memory for job in jobs if job.memory is not None]
            taken = (duration(job.seconds) for job in jobs)
            table.add_row(f"  {name}", *taken, "", gib(max(memory)) if memory else "not known")
            table.add_row(Padding(_sizes(case), (0, 0, 0, 4)))
    return table


def _sum(seconds: Iterable[float | None]) -> float | None:
    """Not known where one of them is not."""
    every = list(seconds)
    known = [one for one in every if one is not None]
    return sum(known) if len(known) == len(every) else None


def _sizes(case: "claims.Case") -> str:
    points = f"{case.train_size} + {case.test_size}" if case.test_size else str(case.train_size)
    networks = getattr(case, "specification", "fully_connected")
    kind = "" if networks == "fully_connected" else f"{networks}, "
    parts = [f"{kind}{case.activation}, depth {case.depth}", f"{points} points ({case.dataset})"]
    parts += [f"widths {' '.join(map(str, case.widths))}", f"seeds {_seeds(case)}"]
    return "; ".join(parts + ([f"control {case.control}"] if case.control else []))


def _stage_table(planned: "Sequence[planning.Job]") -> Table:
    """Seconds of each stage, one job after another, and the most that one of its jobs holds."""
    from ntkbench.performance import planning

    table = Table("stage", "jobs", "in all", "GiB each, at most")
    for stage, count, seconds, memory in planning.totals(planned):
        of_stage = [job for job in planned if job.stage == stage]
        if all(job.seconds is None for job in of_stage):
            table.add_row(stage, str(count), duration(None), duration(None))
        else:
            table.add_row(stage, str(count), duration(seconds) + _without_unknown(of_stage), gib(memory))
    return table


def _without_unknown(planned: "Sequence[planning.Job]") -> str:
    """What the sums of a plan leave out."""
    unknown = sum(job.seconds is None for job in planned)
    return f", without {counted(unknown, 'job')} whose seconds and memory are not known" if unknown else ""


def _seeds(case: "claims.Case") -> str:
    """How many each width takes: one number, or one per width where a claim lets them grow."""
    counts = [case.seeds_at(width) for width in case.widths]
    return str(counts[0]) if len(set(counts)) == 1 else " ".join(map(str, counts))
