"""Stage 6, last and alone on the machine: how long the primitives take, and how much memory, against each of their sizes."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ntkbench import lineage
from ntkbench.performance import workloads
from ntkbench.performance.timing import Timing, measure_apart
from ntkbench.performance.workloads import Curve, Workload
from ntkbench.tables import write_table


def performance(curves: Sequence[Curve], backend: str, rounds: int, output: Path, **settings: Any) -> None:
    """Measure every size of every curve with one backend, each in a process of its own, and write the table.

    What two curves share is measured once.

    Args:
        rounds: of each size, the least time of which counts.
        output: the csv.
        settings: of the backend, see `ntkbench.backends.load`.

    Raises:
        TimingFailed: if a size cannot be measured.
        RecordError: if the output cannot be written.
    """
    rows = []
    measured: dict[Workload, Timing] = {}
    for curve in curves:
        for size, workload in zip(curve.sizes, curve.workloads, strict=True):
            if workload not in measured:
                measured[workload] = measure_apart(workload, backend, rounds, **settings)
            timing = measured[workload]
            place = f"{curve.name} {backend}: {curve.axis} {size}"
            print(f"{place}, {timing.seconds:.3g} s, {timing.ratio:.2g} times its products", file=sys.stderr, flush=True)
            named = {"curve": curve.name, "backend": backend, "axis": curve.axis, "size": size}
            kept = {name: settings[name] for name in ("precision", "threads")}
            rows.append({**asdict(workload), **asdict(timing), **named, **kept, "flops": workloads.flops(workload.products)})
    write_table(output, "performance", rows)
    lineage.note(output, "performance", (), backend=backend)
