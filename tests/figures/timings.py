"""A table of timings as a performance stage leaves it, made of counted operations."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench import config
from ntkbench.performance import workloads
from ntkbench.performance.workloads import Curve

ROOT = Path(__file__).parents[2]


def curves(study: str = "default") -> Sequence[Curve]:
    found = config.load(ROOT / "workflow" / "config" / f"{study}.yaml").performance
    assert found is not None
    return found.curves


def rows(study: str = "default", noise: float = 0.05) -> list[dict[str, Any]]:
    """One row per curve, size and backend: 4e10 operations a second, twice that for bare products."""
    rng, made = np.random.default_rng(0), []
    for backend, factor in (("torch", 1.0), ("jax", 1.3)):
        for curve in curves(study):
            for size, workload in zip(curve.sizes, curve.workloads, strict=True):
                counted = workloads.flops(workload.products)
                seconds = factor * (counted / 4e10 + 2e-5) * float(np.exp(noise * rng.standard_normal()))
                made.append(
                    asdict(workload)
                    | {"curve": curve.name, "backend": backend, "axis": curve.axis, "size": size, "flops": counted}
                    | {"precision": "float64", "device": "cpu", "threads": 1, "rounds": 5, "first_seconds": 1.0}
                    | {"seconds": seconds, "roofline_seconds": seconds / 2, "ratio": 2.0}
                    | {"peak_bytes": 8.0 * workload.points**workload.order}
                )
    return made
