"""The table of ratios, from a made-up run; part of the ordinary tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.performance import ratios

FACTS = {"device": "cpu", "device_name": "abacus", "threads": 1, "precision": "float64", "first_call_seconds": 1.5}


def entry(framework: str, variant: str, seconds: float, **changes: Any) -> dict[str, Any]:
    info = {**FACTS, "quantity": "ntk", "size": "n=2", "framework": framework, "variant": variant, "flops": 4e6, **changes}
    return {"extra_info": info, "stats": {"min": seconds, "median": 99.0}}


def written(folder: Path, *benchmarks: dict[str, Any]) -> Path:
    path = folder / "benchmark.json"
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


def test_ratios_compare_the_fastest_rounds(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        entry("torch", "ours", 0.002),
        entry("torch", "peer", 0.02),
        entry("torch", "roofline", 0.001),
        entry("jax", "ours", 0.004),
    )
    torch, jax = ratios.rows(ratios.read(path))
    assert torch == ("ntk", "n=2", "torch", "2", "2", "10", "2", "0.5", "1.5")
    assert jax == ("ntk", "n=2", "jax", "4", "1", "-", "-", "0.5", "1.5")
    header, *lines = ratios.table([torch, jax]).splitlines()
    assert header.split("  ")[0] == "quantity"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ([], "no benchmarks"),
        ([entry("torch", "ours", 1.0)] * 2, "twice"),
        ([entry("torch", "ours", 1.0), entry("jax", "ours", 1.0, threads=2)], "mixes"),
        ([entry("torch", "ours", 1.0), entry("jax", "ours", 1.0, device_name="quipu")], "mixes"),
    ],
)
def test_files_that_would_mislead_are_refused(tmp_path: Path, benchmarks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratios.read(written(tmp_path, *benchmarks))
