"""Whether the machine suffices: processors, memory, disk, folders, speed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from threadpoolctl import threadpool_limits

from ntkbench import config
from ntkbench.doctor.finding import Finding
from ntkbench.performance import planning
from ntkbench.performance.calibration import ONE_CORE, Rates, calibrate

GIB = planning.GIB
LEAST_DISK, WHOLE_DISK = 1 * GIB, 6 * GIB
"""Below the first a run is about to end; the second is what the default study leaves in its folder."""
SLOW = 3.0
"""Times as slow as the machine of the published times, from which on a user should know."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def check(study: Path, results: Path) -> Iterator[Finding]:
    """Processors, speed, the study's memory, disk and folder."""
    with threadpool_limits(1):
        rates = calibrate()
    cores = usable_cores()
    yield _busy(cores)
    yield _speed(rates)
    yield _memory(study, rates, cores)
    yield from _folder(results)


def usable_cores() -> int:
    """Those that this process may use: of the machine, of its affinity, of its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return min(allowed, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or a quota of "max"
        return allowed


def _busy(cores: int) -> Finding:
    seen, load = os.cpu_count() or 1, os.getloadavg()[0]
    told = f"{cores} of {seen} processors may be used, {load:.1f} processes ran on average in the last minute"
    if cores < seen:
        mend = f"take CORES={cores} (snakemake --cores {cores}): `all` would start {seen} jobs on them"
        return Finding("processors", "note", told, mend)
    if load > cores / 2:
        mend = "times will be longer than planned, and timings of primitives worthless; run alone, or with fewer --cores"
        return Finding("processors", "note", told, mend)
    return Finding("processors", "ok", told)


def _speed(rates: Rates) -> Finding:
    times = {name: value / asdict(ONE_CORE)[name] for name, value in asdict(rates).items()}
    short = {"flop": "matrix products", "byte_streamed": "memory", "evaluation": "functions", "interpreter": "Python"}
    told = ", ".join(f"{words} {times[name]:.1f}" for name, words in short.items())
    told = f"seconds of one core over those of the published machine: {told}"
    if max(times[name] for name in short) > SLOW:
        return Finding("speed", "note", told, "see what `ntkbench plan` foretells; take fewer claims or another machine")
    return Finding("speed", "ok", told)


def _memory(study: Path, rates: Rates, cores: int) -> Finding:
    available = planning.available_bytes()
    told = f"{available / GIB:.1f} GiB are available"
    if not study.is_file():
        return Finding("memory", "note", f"{told}; {study} is not here", "run in a checkout to hold it against a study's needs")
    try:
        found = config.load(study)
        planned = planning.jobs(found, rates, cores)
        planning.check_memory(planned, cores, available)
    except (config.ConfigError, planning.DoesNotFit) as error:
        return Finding("memory", "problem", str(error), f"see `ntkbench plan {study.stem}`")
    needed = sum(job.memory or 0 for job in planning.side_by_side(planned, cores))
    return Finding("memory", "ok", f"{told}; the study {found.name} needs {needed / GIB:.1f} with {cores} cores")


def _folder(results: Path) -> Iterator[Finding]:
    """Where a run writes, or the nearest folder above it that is there; whether it may is found by writing."""
    place = next(folder for folder in (results.resolve(), *results.resolve().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 2**20)
    except OSError as error:
        mend = "make it writable, or work in a clone of your own"
        yield Finding("results folder", "problem", f"{place} cannot be written to: {error.strerror}", mend)
        return
    yield Finding("results folder", "ok", f"{results.resolve()} can be written")
    free = shutil.disk_usage(place).free
    told = f"{free / GIB:.1f} GiB are free; the default study leaves {WHOLE_DISK / GIB:.0f}"
    if free < LEAST_DISK:
        yield Finding("disk", "problem", told, "make room, or link results/ to another disk")
    elif free < WHOLE_DISK:
        yield Finding("disk", "note", told, "enough for the smoke study; make room for larger ones")
    else:
        yield Finding("disk", "ok", told)
