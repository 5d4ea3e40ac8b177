"""What a study will take on this machine, job by job, and whether it fits into its memory."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ntkbench import claims
from ntkbench.claims import Case
from ntkbench.config import Study
from ntkbench.performance import costs
from ntkbench.performance.calibration import ONE_CORE, Rates
from ntkbench.performance.costs import ENGINES
from ntkbench.performance.timing import SHORT
from ntkbench.verdicts.bootstrap import RESAMPLES

GIB = 2**30
PLAIN_RESIDENT = 250 * 2**20
"""Bytes of a job that imports no framework."""
TURNS = {"inputs": 2.2e7, "crosscheck": 2.8e7, "analyse": 3.4e7, "collect": 1.5e7, "figures": 8e7, "paper": 5e7, "scaling": 8e7}
"""Of plain Python, that a job of each stage takes besides what grows with the study."""
STARTED = 0.1
"""Share of a framework's start that a fork of a process which has imported it still takes."""
RESAMPLED = 0.3
"""Of a standard normal's time, that one resampled seed of the bootstrap takes."""


class DoesNotFit(ValueError):
    """The study cannot run in this machine's memory; the message names the case, what it needs, what there is, the mend."""


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        stage: of the workflow. claim, case, backend: whose it is, empty where it is of all; of several cases, the one that
            holds most.
        seconds: None where the claim does not say what it asks of a backend.
        memory: bytes that it holds at most, None likewise.
        cores: that it takes from the others while it runs.
        parts: of a job that measures, what each of its cases takes of it.
    """

    stage: str
    claim: str
    case: str
    backend: str
    seconds: float | None
    memory: int | None
    cores: int = 1
    parts: tuple["Job", ...] = ()


def jobs(study: Study, rates: Rates, cores: int) -> list[Job]:
    """Every job of a study that starts from nothing, in the order of the stages."""
    batches = [(claim, names) for claim, of_claim in study.batches.items() for names in of_claim]
    planned = [_inputs(study, rates, claim, names) for claim, names in batches]
    planned += [_together(of_job) for of_job in measurements(study, rates)]
    planned += [_plain("crosscheck", rates, claim, names[0]) for claim, names in batches]
    planned += [_analyse(study, rates, claim, cases) for claim, cases in study.cases.items()]
    planned += [_plain("collect", rates), *(_plain("figures", rates, claim) for claim in study.cases)]
    if study.performance is not None:
        planned += [_performance(study, rates, backend, cores) for backend in study.backends]
        planned.append(_plain("scaling", rates))
    return [*planned, _plain("paper", rates)]


def _plain(stage: str, rates: Rates, claim: str = "", case: str = "") -> Job:
    return Job(stage, claim, case, "", TURNS[stage] * rates.interpreter, PLAIN_RESIDENT)


def _inputs(study: Study, rates: Rates, claim: str, names: Sequence[str]) -> Job:
    """The data of the cases, and what is fitted to them beforehand."""
    fitted = [call for name in names for call in claims.get(claim).preparation(study.cases[claim][name])]
    job = _plain("inputs", rates, claim, names[0])
    return replace(job, seconds=(job.seconds or 0.0) + costs.in_python(fitted, rates))


def measurements(study: Study, rates: Rates) -> Iterator[list[Job]]:
    """Per job that measures, what each of its cases takes of it; the first pays for the start."""
    for claim, of_claim in study.batches.items():
        for names in of_claim:
            yield from (_measure(study, rates, claim, names, backend) for backend in study.backends)


def priorities(study: Study) -> dict[tuple[str, tuple[str, ...]], int]:
    """Per batch of a claim's cases, the higher the earlier: those of unknown length, then the longest.

    As the last one a long job would run alone, beside idle cores.
    """
    seconds: dict[tuple[str, tuple[str, ...]], float] = {}
    for of_job in measurements(study, ONE_CORE):
        batch = of_job[0].claim, tuple(job.case for job in of_job)
        length = sum(math.inf if job.seconds is None else job.seconds for job in of_job)
        seconds[batch] = max(seconds.get(batch, 0.0), length)
    ranks = {length: rank for rank, length in enumerate(sorted(set(seconds.values())), start=1)}
    return {batch: ranks[length] for batch, length in seconds.items()}


def host_memory(study: Study) -> dict[tuple[str, tuple[str, ...]], int]:
    """Per batch of a claim's cases, bytes that the job which measures it may hold.

    What is counted, and a framework with the study's budget at least: the budget is of blocks, not of the process.
    """
    least = study.memory_bytes + max(ENGINES[backend].resident for backend in study.backends)
    held: dict[tuple[str, tuple[str, ...]], int] = {}
    for of_job in measurements(study, ONE_CORE):
        batch = of_job[0].claim, tuple(job.case for job in of_job)
        held[batch] = max(held.get(batch, least), *(job.memory or 0 for job in of_job))
    return held


def _measure(study: Study, rates: Rates, claim: str, names: Sequence[str], backend: str) -> list[Job]:
    """In one process: what was compiled for an earlier case is not compiled again."""
    engine, itemsize, budget = ENGINES[backend], np.dtype(study.precision).itemsize, study.memory_bytes
    cases = {name: study.cases[claim][name] for name in names}
    asked = {name: [claims.get(claim).calls(case, width) for width in case.widths] for name, case in cases.items()}
    told = {
        name: [found for found in of_case if found is not None and all(map(costs.known, found))]
        for name, of_case in asked.items()
    }
    spent = iter(costs.seconds(engine, [found for of_case in told.values() for found in of_case], rates, itemsize, budget))
    start = engine.startup * rates.interpreter
    measured = []
    for name, of_case in told.items():
        seconds = sum(islice(spent, len(of_case))) + (start if name == names[0] else 0.0)
        known = len(of_case) == len(asked[name])
        memory = costs.memory(engine, of_case, itemsize, budget) if known else None
        measured.append(Job("measure", claim, name, backend, seconds if known else None, memory, study.threads))
    return measured


def _together(measured: Sequence[Job]) -> Job:
    """One job, whose cases follow each other."""
    largest = max(measured, key=lambda job: job.memory or 0)
    seconds = [job.seconds for job in measured if job.seconds is not None]
    known = len(seconds) == len(measured)
    memory = largest.memory if known else None
    return replace(largest, seconds=sum(seconds) if known else None, memory=memory, parts=tuple(measured))


def _analyse(study: Study, rates: Rates, claim: str, cases: Mapping[str, Case]) -> Job:
    """Fits resample the seeds of every width, for each expectation of a case in each backend."""
    expectations = claims.get(claim).expectations
    seeds = sum(
        sum(map(case.seeds_at, case.widths)) * sum(expectation.applies(case) for expectation in expectations)
        for case in cases.values()
    )
    resampled = RESAMPLES * seeds * len(study.backends) * RESAMPLED * rates.draw
    return Job("analyse", claim, "", "", TURNS["analyse"] * rates.interpreter + resampled, PLAIN_RESIDENT)


def _performance(study: Study, rates: Rates, backend: str, cores: int) -> Job:
    """Each size in a process of its own: a first call, rounds of the primitive and of its products, and a last call."""
    engine, itemsize, budget = ENGINES[backend], np.dtype(study.precision).itemsize, study.memory_bytes
    timed = study.performance
    workloads = dict.fromkeys(workload for curve in (timed.curves if timed else ()) for workload in curve.workloads)
    seconds = (1 + STARTED * len(workloads)) * engine.startup * rates.interpreter
    most = 0
    for workload in workloads:
        asked = (costs.call_of(workload),)
        first, again = costs.seconds(engine, [asked, asked], rates, itemsize, budget)
        seconds += first + again + 2 * (timed.rounds if timed else 0) * (2 * again + SHORT)
        most = max(most, costs.memory(engine, [asked], itemsize, budget))
    return Job("performance", "", "", backend, seconds, most, cores)


def side_by_side(planned: Sequence[Job], cores: int) -> list[Job]:
    """The jobs of one stage that hold most memory when as many run as the cores take."""
    worst: list[Job] = []
    for stage in dict.fromkeys(job.stage for job in planned):
        largest = sorted((job for job in planned if job.stage == stage), key=lambda job: -(job.memory or 0))
        room = cores
        chosen: list[Job] = []
        for job in largest:
            if not chosen or job.cores <= room:
                chosen.append(job)
                room -= job.cores
        if _held(chosen) > _held(worst):
            worst = chosen
    return worst


def _held(together: Sequence[Job]) -> int:
    return sum(job.memory or 0 for job in together)


def wall_seconds(planned: Sequence[Job], cores: int) -> float:
    """A lower estimate of the run's length: its work over its cores, or its longest job."""
    known = [(job.seconds or 0.0, min(job.cores, cores)) for job in planned]
    return max(sum(seconds * taken for seconds, taken in known) / cores, max(seconds for seconds, _ in known))


def check_memory(planned: Sequence[Job], cores: int, available: int) -> None:
    """DoesNotFit if a job alone, or those that run side by side, hold more than is available."""
    if alone := [job for job in planned if (job.memory or 0) > available]:
        lines = "; ".join(_need(job) for job in sorted(alone, key=lambda job: -(job.memory or 0)))
        raise DoesNotFit(
            f"{lines}; available are {available / GIB:.1f} GiB: lower the case's seeds, widths or points, or memory_gib where "
            "that is what it needs, or take a larger machine"
        )
    together = side_by_side(planned, cores)
    if _held(together) > available:
        fitting = max(fit for fit in range(1, cores) if _held(side_by_side(planned, fit)) <= available)
        lines = " and ".join(_need(job) for job in together)
        raise DoesNotFit(f"{lines}, side by side; available are {available / GIB:.1f} GiB: run with --cores {fitting}")


def _need(job: Job) -> str:
    place = " ".join(filter(None, (job.claim, job.case, job.stage if not job.claim else "", job.backend)))
    return f"{place} needs about {(job.memory or 0) / GIB:.1f} GiB"


def available_bytes() -> int:
    """Memory that this machine can give now, without swapping where the system says so."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def totals(planned: Sequence[Job]) -> Iterator[tuple[str, int, float, int]]:
    """Per stage: its name, its jobs, their seconds one after another, the most that one of them holds."""
    for stage in dict.fromkeys(job.stage for job in planned):
        of_stage = [job for job in planned if job.stage == stage]
        yield stage, len(of_stage), sum(job.seconds or 0.0 for job in of_stage), max(job.memory or 0 for job in of_stage)
