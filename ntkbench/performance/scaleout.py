"""How long a study takes on several devices: the jobs of its plan, scheduled one by one."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ntkbench import config, files
from ntkbench.config import Study
from ntkbench.performance import planning
from ntkbench.performance.calibration import ONE_CORE
from ntkbench.performance.planning import Job
from ntkbench.units import counted, duration

ON_DEVICES = ("measure", "performance")
"""Stages that take a device; the others take cores, of which there are enough."""


@dataclass(frozen=True)
class Measured:
    """A run on a device, held against its plan.

    Attributes:
        claims: that it measured.
        device: its name.
        speed: by backend, planned seconds of one CPU core for each second measured.
    """

    claims: frozenset[str]
    device: str
    speed: Mapping[str, float]


def read_measured(folder: Path) -> Measured:
    """What a published run tells of its device's speed.

    Args:
        folder: of the run: its study, under the folder's name, and `environment.json`.

    Raises:
        ConfigError: if the study is missing or not valid.
        RecordError: if the facts are missing or damaged.
    """
    study = config.load(folder / f"{folder.name}.yaml")
    facts = files.read_json(folder / "environment.json")
    planned = dict.fromkeys(study.backends, 0.0)
    for job in (part for of_job in planning.measurements(study, ONE_CORE) for part in of_job):
        planned[job.backend] += job.seconds or 0.0
    devices = {run["device_name"] for runs in facts["backends"].values() for run in runs}
    speed = {backend: planned[backend] / facts["measured_seconds"][backend] for backend in study.backends}
    return Measured(frozenset(study.cases), " and ".join(sorted(devices)), speed)


def planned(study: Study) -> list[Job]:
    """The jobs of a study, in seconds of one core that is the same everywhere; those that time need no more than one."""
    return planning.jobs(study, ONE_CORE, cores=1)


def only(jobs: Sequence[Job], measured: Measured) -> list[Job]:
    """Jobs of a plan that measure claims which were measured on a device, in the seconds that its speed foretells."""
    return [
        replace(job, seconds=(job.seconds or 0.0) / measured.speed[job.backend])
        for job in jobs
        if job.stage == "measure" and job.claim in measured.claims
    ]


def makespan(jobs: Sequence[Job], devices: int) -> float:
    """Seconds until the last job ends, when of the jobs that can start the longest always starts first.

    Args:
        jobs: of one study, or some of them; those of unknown length take no time.
        devices: how many there are; a job that measures or times takes one.
    """
    waits = {index: set(before) for index, before in enumerate(_dependencies(jobs))}
    now, free, done = 0.0, devices, 0
    ready: list[tuple[float, int]] = []
    running: list[tuple[float, int]] = []
    opened: set[int] = set()
    while done < len(jobs):
        for index in [index for index, before in waits.items() if not before and index not in opened]:
            opened.add(index)
            heapq.heappush(ready, (-_seconds(jobs[index]), index))
        held = []
        while ready:
            length, index = heapq.heappop(ready)
            takes = jobs[index].stage in ON_DEVICES
            if takes and free == 0:
                held.append((length, index))
                continue
            free -= takes
            heapq.heappush(running, (now - length, index))
        ready = held
        heapq.heapify(ready)
        now, ended = heapq.heappop(running)
        free += jobs[ended].stage in ON_DEVICES
        done += 1
        for before in waits.values():
            before.discard(ended)
    return now


def _seconds(job: Job) -> float:
    return job.seconds or 0.0


def _dependencies(jobs: Sequence[Job]) -> Iterator[list[int]]:
    """For each job the places of those that it waits for, as the workflow's rules say."""
    for job in jobs:
        stages, shared = WAITS.get(job.stage, ((), _study))
        yield [index for index, other in enumerate(jobs) if other.stage in stages and shared(other) == shared(job)]


def _batch(job: Job) -> tuple[str, str]:
    """Cases that share a process, by the first; a job that measures has the name of its largest."""
    return job.claim, job.parts[0].case if job.parts else job.case


def _claim(job: Job) -> str:
    return job.claim


def _study(_: Job) -> None:
    return None


WAITS: Mapping[str, tuple[tuple[str, ...], Callable[[Job], object]]] = {
    "measure": (("inputs",), _batch),
    "crosscheck": (("measure",), _batch),
    "analyse": (("crosscheck",), _claim),
    "figures": (("analyse",), _claim),
    "collect": (("analyse",), _study),
    "performance": (("measure",), _study),
    "scaling": (("performance",), _study),
    "paper": (("collect", "figures", "scaling"), _study),
}
"""Stage -> those whose jobs it waits for, and what they have in common with the job that waits."""


def table(jobs: Sequence[Job], measured: Measured, devices: Sequence[int]) -> str:
    """The estimate as a Markdown table, and below it what bounds it.

    Args:
        jobs: of the whole study, as `planned` has them.
        devices: how many, a row for each.
    """
    some = only(jobs, measured)
    alone = makespan(jobs, 1)
    of_some = {count: duration(makespan(some, count)) if some else "none" for count in devices}
    rows = [(count, makespan(jobs, count)) for count in devices]
    lines = [
        "| devices | whole study, time of the plan | times as fast | part, estimated time |",
        "|---|---|---|---|",
        *(f"| {count} | {duration(took)} | {alone / took:.1f} | {of_some[count]} |" for count, took in rows),
    ]
    speed = ", ".join(f"{backend} {factor:.1f}" for backend, factor in sorted(measured.speed.items()))
    lines += [
        "",
        f"- Whole study: {_measuring([job for job in jobs if job.stage == 'measure'])}.",
        f"- Part: {counted(len(some), 'job')} of {', '.join(sorted(measured.claims))}. Measured on one {measured.device}:"
        f" seconds of the plan per second there, {speed}.",
    ]
    return "\n".join(lines)


def _measuring(jobs: Sequence[Job]) -> str:
    """How many there are, and the longest where any length is known."""
    known = [job for job in jobs if job.seconds is not None]
    told = f"{counted(len(jobs), 'measurement job')}, {len(jobs) - len(known)} of unknown length"
    if not known:
        return told
    longest = max(known, key=_seconds)
    share = _seconds(longest) / sum(map(_seconds, known))
    where = f"{longest.claim} {longest.case} in {longest.backend}"
    return f"{told}. The longest, {where}, takes {duration(longest.seconds)} of the plan, {share:.0%} of all measuring"
