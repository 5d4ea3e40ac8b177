"""The canary: small studies whose results are stored, so that a change of the code that moves results is seen.

Each folder named in `PARTS` is a run's, tables and records; `history.csv` has a line per results version and part with the hash
of what was stored. More cases are a part of their own: what other parts have stays byte for byte as it was.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ntkbench.backends import BACKENDS
from ntkbench.stages.analyse import analyse
from ntkbench.stages.cell import Cell
from ntkbench.stages.collect import collect
from ntkbench.stages.crosscheck import crosscheck
from ntkbench.stages.measure import measure
from ntkbench.stages.prepare import prepare
from tests.claims.tiny import CONSTANCY, CONVERGENCE, HIERARCHY, case_of

HERE = Path(__file__).resolve().parent
STORED, HISTORY = HERE / "stored", "history.csv"
ROOT, MEMORY = 6, 2**28
EQUIVALENCE = "gap/equivalence"
TABLES = ("verdicts.csv", "crosscheck.csv", "environment.json")

Cases = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Claim -> case -> fields."""

_SIZES: dict[str, Any] = {"widths": (16, 32, 64), "seeds": 8}
_IMAGES: dict[str, Any] = {"dataset": "digits_parity", "input_dim": 64, "image": (8, 8, 1), "widths": (2, 4), "seeds": 2}
_FEW: dict[str, Any] = {"widths": (8, 16), "seeds": 4, "train_size": 8, "test_size": 8}
_RELU: dict[str, Any] = {"activation": "relu", "weight_variance": 2.0}
_FIRST: Cases = {
    CONVERGENCE: {"plain": _SIZES, "correlated": {**_SIZES, "control": "correlated_weights"}},
    CONSTANCY: {"plain": _SIZES, "mean-field": {**_SIZES, "control": "mean_field"}},
    HIERARCHY: {
        "plain": {**_SIZES, "top": 4},
        "convolutional": {**_IMAGES, "top": 4},
        "shuffled": {**_SIZES, "top": 4, "control": "shuffled_top"},
        "mean-field": {**_SIZES, "top": 4, "control": "mean_field"},
    },
    EQUIVALENCE: {
        "plain": {**_FEW, "antisymmetric": True},
        "mean-field": {**_FEW, "control": "mean_field", "feature_strength": 2.0},
    },
}
_ACTIVATIONS: Cases = {
    CONVERGENCE: {"residual": {**_RELU, "specification": "residual", "depth": 2, "widths": (8, 16), "seeds": 4}},
    HIERARCHY: {"gelu": {"activation": "gelu", "widths": (8, 16), "seeds": 4, "top": 4}},
    EQUIVALENCE: {"relu": {**_FEW, **_RELU}},
}
PARTS: Mapping[str, Cases] = {STORED.name: _FIRST, "activations": _ACTIVATIONS}
"""By folder: one claim of each family, both kinds of networks, synthetic data and images, kernels, training, the hierarchy's
tensors, limits, fits and intervals; then other activations and residual networks, without controls."""


def run(folder: Path, part: str) -> Path:
    """Measure and judge a part's cases in this process, on the CPU; the folder, laid out as `results/<study>`."""
    judgements, crosschecks, measured = [], [], []
    for claim, cases in PARTS[part].items():
        cells = [Cell.make(claim, name, case_of(claim, **of).as_dict(), ROOT, "cpu", "float64") for name, of in cases.items()]
        inputs = [folder / "inputs" / claim / f"{name}.npz" for name in cases]
        prepare(cells, inputs)
        records = {
            backend: [folder / "measurements" / claim / name / f"{backend}.npz" for name in cases] for backend in BACKENDS
        }
        for backend, paths in records.items():
            measure(cells, backend, 1, MEMORY, inputs, paths)
            measured += paths
        compared = [folder / "crosscheck" / claim / f"{name}.csv" for name in cases]
        crosscheck(cells, inputs, records, compared)
        crosschecks += compared
        judgements.append(folder / "judgements" / f"{claim}.csv")
        analyse(cells, inputs, records, compared, folder / "quantities" / f"{claim}.csv", judgements[-1])
    collect("canary", judgements, crosschecks, measured, *(folder / name for name in TABLES))
    return folder


def files(folder: Path) -> Iterator[Path]:
    """What is stored of a run: its tables and its records, relative to the folder."""
    yield from map(Path, TABLES)
    yield from sorted(
        path.relative_to(folder) for part in ("inputs", "measurements") for path in (folder / part).rglob("*.npz")
    )


def digest(folder: Path) -> str:
    """SHA-256 over names and contents of what is stored."""
    whole = hashlib.sha256()
    for file in files(folder):
        whole.update(f"{file.as_posix()}:{hashlib.sha256((folder / file).read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def history(folder: Path = HERE) -> list[tuple[int, str, str]]:
    """Results versions, in order, each with the parts that were stored with it and their hashes."""
    with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
        return [(int(row["results_version"]), row["part"], row["sha256"]) for row in csv.DictReader(file)]
