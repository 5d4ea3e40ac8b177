"""Stage 2: cases of one claim in one backend; every width and every seed in one process."""

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
from ntkbench.files import RecordError
from ntkbench.provenance import environment
from ntkbench.records import Measurement, Record, flatten, read_record, unflatten, write_record
from ntkbench.stages.cell import Cell

SMALLER = "take fewer --cores, a smaller memory_gib, fewer seeds or smaller widths; finished widths are kept"


class MeasurementFailed(Exception):
    """The claim cannot measure a case; the message names both, the width and why."""


def measure(
    cells: Sequence[Cell], backend: str, threads: int, memory_bytes: int, inputs: Sequence[Path], outputs: Sequence[Path]
) -> None:
    """Measure every width of each cell with one backend, and write a record for each cell.

    A record that is there, made by the same code from the same data, is kept. Each finished width is kept in a folder beside
    the output until all cells are done, since the workflow removes what a job that failed has written: one that was killed
    goes on with the next width, and after a cell that failed only that one is measured again. Progress goes to stderr.

    The `peak_memory_bytes` of a record is the largest resident size of the process until then: what the import of the framework
    and cells before it took counts, so that only the maximum over all records says what a study needs.

    Args:
        cells: of one claim and one study.
        backend, threads, memory_bytes: see `backends.load`.
        inputs, outputs: the record of each cell's inputs, and the record to write, in the order of `cells`.

    Raises:
        RecordError: if inputs are missing, damaged or foreign, or an output cannot be written.
        BackendUnavailable: if the framework or the device is not there.
        MeasurementFailed: if the claim cannot measure a cell: a singular kernel, a network above the memory budget, memory of
            the device that ran out. The others have been measured.
    """
    device, precision = cells[0].device, cells[0].precision
    engine = backends.load(backend, device=device, precision=precision, threads=threads, memory_bytes=memory_bytes)
    machine = environment()
    failures = []
    for cell, source, output in zip(cells, inputs, outputs, strict=True):
        try:
            _measure_cell(cell, engine, machine, source, output)
        except MeasurementFailed as error:
            failures.append(str(error))
    if failures:
        raise MeasurementFailed("\n".join(failures))
    for output in outputs:
        shutil.rmtree(_parts(output), ignore_errors=True)


def _measure_cell(cell: Cell, engine: backends.Backend, machine: Mapping[str, Any], inputs: Path, output: Path) -> None:
    data, record = cell.read_inputs(inputs)
    identity = cell.identity_of_measurement(engine.name, record)
    facts = {**identity, "backend_facts": dict(engine.facts()), "environment": machine}
    if _made(output, facts):
        print(f"{cell} {engine.name}: kept, nothing that it depends on has changed", file=sys.stderr, flush=True)
        return
    widths = cell.case.widths
    measured: Measurement = {}
    seconds: dict[int, float] = {}
    peak = 0
    for index, width in enumerate(widths, start=1):
        part, of_width = _parts(output) / f"{width}.npz", {**facts, "kind": "part", "width": width}
        kept = _made(part, of_width)
        took = "kept from an interrupted run"
        if kept is None:
            arrays, spent = _measure_width(cell, engine, data, width)
            write_record(part, flatten({width: arrays}), {**of_width, **spent})
            kept = read_record(part)
            took = f"{spent['seconds']:.0f} s"
        measured |= unflatten(kept.arrays)
        seconds[width] = kept.facts["seconds"]
        peak = max(peak, kept.facts["peak_memory_bytes"])
        left = seconds_left(seconds, widths[index:])
        forecast = "" if left is None else f", about {left:.0f} s left"
        place = f"{cell} {engine.name}: width {width} ({index} of {len(widths)})"
        print(f"{place}, {took}{forecast}", file=sys.stderr, flush=True)
    whole = {"seconds": {str(width): value for width, value in seconds.items()}, "peak_memory_bytes": peak}
    write_record(output, flatten(measured), {**facts, **whole})


def _parts(output: Path) -> Path:
    return output.parent / f"{output.stem}.parts"


def _measure_width(
    cell: Cell, engine: backends.Backend, data: Dataset, width: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    start = time.perf_counter()
    try:
        arrays = cell.claim.measure(engine, cell.case, data, width, cell.root)
        engine.synchronize()
    # Both frameworks say by a RuntimeError that the device's memory is full or that a kernel failed.
    except (ValueError, RuntimeError, MemoryError) as error:
        mend = f": {SMALLER}" if _out_of_memory(error) else ""
        raise MeasurementFailed(f"{cell} {engine.name}, width {width}: {str(error) or type(error).__name__}{mend}") from error
    return arrays, {"seconds": time.perf_counter() - start, "peak_memory_bytes": _peak_memory()}


def _out_of_memory(error: Exception) -> bool:
    """Neither framework has an error of its own for it on a CPU; these words are numpy's, torch's and jax's."""
    told = ("unable to allocate", "can't allocate memory", "out of memory", "resource_exhausted")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in told)


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


def _made(path: Path, facts: Mapping[str, Any]) -> Record | None:
    """What an earlier job left there, if the same code, data and machine made it."""
    try:
        record = read_record(path, {name: value for name, value in facts.items() if name != "environment"})
    except RecordError:
        return None
    return record if record.facts["environment"]["versions"] == facts["environment"]["versions"] else None


def _peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
