"""Stage 2: one claim, one case, one backend; every width and every seed in one process."""

import math
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench import backends
from ntkbench.data import Dataset
from ntkbench.provenance import environment
from ntkbench.records import Measurement, Record, RecordError, flatten, read_record, unflatten, write_record
from ntkbench.stages.cell import Cell


class MeasurementFailed(Exception):
    """The claim cannot measure the case; the message names both, the width and why."""


def measure(cell: Cell, backend: str, threads: int, memory_bytes: int, inputs: Path, output: Path) -> None:
    """Measure every width of a cell with one backend, and write the record.

    Each finished width is kept in a folder beside the output until the record is whole, so that a job that was killed
    goes on with the next width. Progress goes to stderr.

    Raises:
        RecordError: if the inputs are missing, damaged or foreign, or the output cannot be written.
        BackendUnavailable: if the framework or the device is not there.
        MeasurementFailed: if the claim cannot measure the case: a singular kernel, a network above the memory budget.
    """
    data, record = cell.read_inputs(inputs)
    engine = backends.load(backend, device=cell.device, precision=cell.precision, threads=threads, memory_bytes=memory_bytes)
    identity = cell.identity_of_measurement(backend, record)
    facts = {**identity, "backend_facts": dict(engine.facts()), "environment": environment()}
    parts = output.parent / f"{output.stem}.parts"
    widths = cell.case.widths
    measured: Measurement = {}
    seconds: dict[int, float] = {}
    peak = 0
    for index, width in enumerate(widths, start=1):
        part = parts / f"{width}.npz"
        kept = _resume(part, facts, width)
        took = "kept from an interrupted run"
        if kept is None:
            arrays, spent = _measure_width(cell, engine, data, width)
            write_record(part, flatten({width: arrays}), {**facts, **spent, "kind": "part", "width": width})
            kept = read_record(part)
            took = f"{spent['seconds']:.0f} s"
        measured |= unflatten(kept.arrays)
        seconds[width] = kept.facts["seconds"]
        peak = max(peak, kept.facts["peak_memory_bytes"])
        left = seconds_left(seconds, widths[index:])
        forecast = "" if left is None else f", about {left:.0f} s left"
        place = f"{cell.claim.id} {cell.name} {backend}: width {width} ({index} of {len(widths)})"
        print(f"{place}, {took}{forecast}", file=sys.stderr, flush=True)
    whole = {"seconds": {str(width): value for width, value in seconds.items()}, "peak_memory_bytes": peak}
    write_record(output, flatten(measured), {**facts, **whole})
    shutil.rmtree(parts, ignore_errors=True)


def _measure_width(
    cell: Cell, engine: backends.Backend, data: Dataset, width: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    start = time.perf_counter()
    try:
        arrays = cell.claim.measure(engine, cell.case, data, width, cell.root)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise MeasurementFailed(f"{cell.claim.id} {cell.name} {engine.name}, width {width}: {error}") from error
    engine.synchronize()
    return arrays, {"seconds": time.perf_counter() - start, "peak_memory_bytes": _peak_memory()}


def seconds_left(seconds: Mapping[int, float], remaining: Sequence[int]) -> float | None:
    """Forecast for the widths that remain: a power law through the last two measured widths, of exponent 0 to 3.

    Args:
        seconds: what each measured width took, in order.
        remaining: the widths to come.

    Returns:
        None after the first of several widths, which pays for compilation and foretells nothing.
    """
    *before, (width, last) = seconds.items()
    if not remaining:
        return 0.0
    if not before:
        return None
    earlier, first = before[-1]
    exponent = min(3.0, max(0.0, math.log(max(last, 1e-9) / max(first, 1e-9)) / math.log(width / earlier)))
    return math.fsum(last * (other / width) ** exponent for other in remaining)


def _resume(part: Path, facts: Mapping[str, Any], width: int) -> Record | None:
    """What an interrupted job left of this width, if the same code, data and machine made it."""
    same = {name: facts[name] for name in facts if name not in ("kind", "environment")}
    versions = facts["environment"]["versions"]
    try:
        record = read_record(part, {**same, "kind": "part", "width": width})
    except RecordError:
        return None
    return record if record.facts["environment"]["versions"] == versions else None


def _peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
