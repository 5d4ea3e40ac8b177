"""Ratios within one run, from pytest-benchmark's file: `python tests/performance/ratios.py benchmark.json`.

Fastest rounds are compared: on a machine that others use too, minima are steadier than medians.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Key = tuple[str, str, str, str]
"""Quantity, size, framework, variant."""

COLUMNS = ("quantity", "size", "backend", "ours [ms]", "GFLOP/s", "peer/ours", "ours/roofline", "torch/jax", "first call [s]")


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """Every benchmark of a run; ValueError where the file holds something else, or the run mixed devices or threads."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    found = {}
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        key = (info["quantity"], info["size"], info["framework"], info["variant"])
        if key in found:
            raise ValueError(f"{path} has {key} twice: give one run's file")
        found[key] = info | {"seconds": benchmark["stats"]["min"]}
    if not found:
        raise ValueError(f"{path} holds no benchmarks: run pytest with --benchmark-enable")
    settings = {(info["device_name"], info["threads"], info["precision"]) for info in found.values()}
    if len(settings) > 1:
        raise ValueError(f"{path} mixes {sorted(settings)}: ratios are meant within one device and number of threads")
    return found


def rows(found: dict[Key, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """One row per quantity, size and framework; a dash where there is nothing to compare with."""
    for quantity, size, framework, variant in found:
        if variant != "ours":
            continue
        ours = found[quantity, size, framework, "ours"]
        times = {v: found.get((quantity, size, framework, v), {}).get("seconds") for v in ("peer", "roofline")}
        other = {f: found.get((quantity, size, f, "ours"), {}).get("seconds") for f in ("torch", "jax")}
        yield (
            quantity,
            size,
            framework,
            f"{1e3 * ours['seconds']:.3g}",
            f"{ours['flops'] / ours['seconds'] / 1e9:.3g}",
            _ratio(times["peer"], ours["seconds"]),
            _ratio(ours["seconds"], times["roofline"]),
            _ratio(other["torch"], other["jax"]),
            f"{ours['first_call_seconds']:.2g}",
        )


def _ratio(above: float | None, below: float | None) -> str:
    return "-" if above is None or below is None else f"{above / below:.3g}"


def table(lines: list[tuple[str, ...]]) -> str:
    """Columns aligned with spaces."""
    everything = [COLUMNS, *lines]
    widths = [max(len(line[i]) for line in everything) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in everything
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="file written by pytest --benchmark-json")
    found = read(parser.parse_args().path)
    any_run = next(iter(found.values()))
    print(f"{any_run['device_name']} ({any_run['device']}), threads {any_run['threads']}, {any_run['precision']}")
    print(table(sorted(rows(found))))


if __name__ == "__main__":
    main()
