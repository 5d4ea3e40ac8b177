"""How far the frameworks are apart on a device, in a precision: every case of the smoke study, measured in both and compared.

`python -m tests.environments.deviations cpu float32` writes `tests/environments/deviations/cpu-float32.csv`, one row per
observable, and `.json`, where and when that was. The tolerances of `ntkbench.crosscheck` are held against these files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench import backends, config
from ntkbench.crosscheck import StructureMismatch, compare
from ntkbench.provenance import environment
from ntkbench.stages.cell import Cell
from tests.environments.ladder import FOLDER, write_rows

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "workflow" / "config" / "smoke.yaml"


def cells(device: str, precision: str) -> list[Cell]:
    """Every case of the smoke study."""
    study = config.load(STUDY)
    named = [(claim, case) for claim, of_claim in study.cases.items() for case in of_claim]
    return [Cell.make(**study.cell(*name) | {"device": device, "precision": precision}) for name in named]


def measure(backend: str, device: str, precision: str, share: slice, folder: Path) -> None:
    """In one process: a share of the cases with one backend; a case that cannot be measured leaves its reason."""
    study = config.load(STUDY)
    engine = backends.load(backend, device, precision, study.threads, study.memory_bytes)
    for cell in cells(device, precision)[share]:
        data = cell.claim.prepare(cell.case, cell.root)
        path = folder / f"{str(cell).replace('/', '_').replace(' ', '-')}-{backend}"
        try:
            measured = {width: cell.claim.measure(engine, cell.case, data, width, cell.root) for width in cell.case.widths}
        except (ValueError, RuntimeError) as error:
            path.with_suffix(".txt").write_text(f"{backend}: {error}", encoding="utf-8")
            continue
        arrays = {f"{width}/{name}": array for width, of in measured.items() for name, array in of.items()}
        np.savez(path.with_suffix(".npz"), **arrays)
    (folder / f"facts-{backend}.json").write_text(json.dumps(dict(engine.facts())), encoding="utf-8")


def measurement(path: Path) -> dict[int, dict[str, np.ndarray]]:
    """What `measure` has stored."""
    found: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            width, _, name = key.partition("/")
            found.setdefault(int(width), {})[name] = arrays[key]
    return found


def compared(cell: Cell, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a case, or why there are none."""
    paths = [folder / f"{str(cell).replace('/', '_').replace(' ', '-')}-{backend}" for backend in backends.BACKENDS]
    for path in paths:
        if (told := path.with_suffix(".txt")).exists():
            return [], told.read_text(encoding="utf-8")
    pair = [measurement(path.with_suffix(".npz")) for path in paths]
    growth = cell.claim.growth
    try:
        rows = compare(*pair, growth, cell.precision, cell.device, claim=cell.claim.id, case=cell.name)
    except StructureMismatch as error:
        return [], str(error)
    kept = ("claim", "case", "quantity", "max_abs", "max_rel")
    named = [(row, {name: value for name, value in asdict(row).items() if name in kept}) for row in rows]
    return [{**plain, "growth": growth.get(row.quantity, 1.0)} for row, plain in named], ""


def run(device: str, precision: str, workers: int, folder: Path) -> None:
    """All cases in processes of one framework each, `workers` of them at a time."""

    def start(backend: str, first: int) -> None:
        command = [sys.executable, "-m", "tests.environments.deviations", device, precision, "--workers", str(workers)]
        subprocess.run([*command, "--measure", backend, str(first), str(folder)], cwd=ROOT, check=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(start, [b for b in backends.BACKENDS for _ in range(workers)], [*range(workers)] * 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "cuda"))
    parser.add_argument("precision", choices=("float64", "float32"))
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        backend, first, folder = asked.measure
        measure(backend, asked.device, asked.precision, slice(int(first), None, asked.workers), Path(folder))
        return
    surroundings = environment()  # before results of its own are what is not committed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(asked.device, asked.precision, asked.workers, folder)
        found = [(cell, *compared(cell, folder)) for cell in cells(asked.device, asked.precision)]
        facts = {b: json.loads((folder / f"facts-{b}.json").read_text(encoding="utf-8")) for b in backends.BACKENDS}
    write_rows(FOLDER / f"{asked.device}-{asked.precision}.csv", [row for _, rows, _ in found for row in rows])
    missing = {str(cell): reason for cell, rows, reason in found if not rows}
    told = {"study": "smoke", "backends": facts, **surroundings, "not_measured": missing}
    (FOLDER / f"{asked.device}-{asked.precision}.json").write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", "utf-8")
    print(f"{sum(len(rows) for _, rows, _ in found)} observables of {len(found)} cases, {len(missing)} not measured")


if __name__ == "__main__":
    main()
