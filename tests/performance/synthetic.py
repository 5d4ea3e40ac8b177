"""Made-up runs, for tests of the table and of the rule."""

import json
from pathlib import Path
from typing import Any

FACTS = {"device": "cpu", "device_name": "x86_64", "version": "1.0", "threads": 1}


def entry(ours: list[float], roofline: list[float], peer: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """One benchmark as pytest-benchmark stores it."""
    info = {
        **FACTS,
        "quantity": "ntk",
        "size": "n=2",
        "framework": "torch",
        "precision": "float64",
        "products": [[1, 2, 3, 4]],
        "flops": 4e6,
        "calls": 1,
        "first_call_seconds": 1.5,
        "roofline_rounds": roofline,
        "peer_rounds": peer or [],
        "peak_mib": 3.0,
        "peer_peak_mib": None,
        **changes,
    }
    return {"extra_info": info, "stats": {"data": [info["calls"] * seconds for seconds in ours]}}


def written(path: Path, *benchmarks: dict[str, Any], processor: str = "abacus") -> Path:
    """The file of a run."""
    path.write_text(json.dumps({"machine_info": {"processor": processor}, "benchmarks": benchmarks}))
    return path
