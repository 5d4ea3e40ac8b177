"""A study that costs nothing, made by the workflow's own scripts in this process, one script at a time."""

import os
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ntkbench import lineage
from ntkbench.records import flatten, write_record
from ntkbench.stages.cell import Cell
from ntkbench.tables import write_table
from tests.workflow.stub_claim import Stub, StubCase

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
BACKENDS = ("torch", "jax")
CASES = ("plain", "flat")
CLAIM_ID = "convergence/initialization"
"""Of a claim that there is, since the code of a claim is found by its id."""


class Cheap(Stub):
    """The stub under another id; `measure` needs no backend."""

    id: ClassVar = CLAIM_ID

    def measure(self, backend: Any, case: StubCase, data: Any, width: int, root: int) -> dict[str, np.ndarray]:
        return super().measure(SimpleNamespace(name=backend.name, factor=1.0), case, data, width, root)


class Named(list[str]):
    """Files as a script is given them: in order, and by name."""

    def __init__(self, **named: str | list[str]) -> None:
        super().__init__(path for value in named.values() for path in ([value] if isinstance(value, str) else value))
        self.__dict__.update(named)


class Places:
    """Where the files of a study are, relative to the working directory."""

    def __init__(self, study: str = "tiny", root: int = 1) -> None:
        self.study, self.root, self.folder = study, root, f"results/{study}"
        self.inputs = [f"{self.folder}/inputs/{CLAIM_ID}/{case}.npz" for case in CASES]
        self.measured = {b: [f"{self.folder}/measurements/{CLAIM_ID}/{case}/{b}.npz" for case in CASES] for b in BACKENDS}
        self.measurements = [path for paths in self.measured.values() for path in paths]
        self.crosschecks = [f"{self.folder}/crosscheck/{CLAIM_ID}/{case}.csv" for case in CASES]
        self.quantities, self.judgements = (f"{self.folder}/{kind}/{CLAIM_ID}.csv" for kind in ("quantities", "judgements"))
        self.verdicts, self.crosscheck, self.environment = (
            f"{self.folder}/{name}" for name in ("verdicts.csv", "crosscheck.csv", "environment.json")
        )
        self.timings = [f"{self.folder}/performance/{backend}.csv" for backend in BACKENDS]
        self.performance, self.exponents = f"{self.folder}/performance.csv", f"{self.folder}/scaling.csv"
        self.figure, self.curves = f"paper/figures/{study}", "paper/figures/scaling"

    def cells(self) -> list[dict[str, Any]]:
        plain = {"dataset": "sphere", "train_size": 3, "input_dim": 4, "activation": "tanh", "depth": 1, "seeds": 8}
        cases = ({"control": None}, {"control": "flat"})
        return [
            {"claim": CLAIM_ID, "name": name, "case": {**plain, "widths": (16, 32, 64), **case}}
            | {"root": self.root, "device": "cpu", "precision": "float64"}
            for name, case in zip(CASES, cases, strict=True)
        ]

    def script(self, stage: str) -> tuple[Named, Named, dict[str, Any]]:
        """What a stage's script is given: input, output, params."""
        of_claim = {"cells": self.cells(), "backends": list(BACKENDS)}
        checked = Named(inputs=self.inputs, measurements=self.measurements, crosscheck=self.crosschecks)
        tables = Named(judgements=[self.judgements], crosscheck=self.crosschecks, measurements=self.measurements)
        told = Named(verdicts=self.verdicts, crosscheck=self.crosscheck, environment=self.environment)
        drawn = {"svg": f"{self.curves}.svg", "png": f"{self.curves}.png"}
        scaled = Named(performance=self.performance, exponents=self.exponents, **drawn)
        printed = {"tables": list(told), "figures": [f"{self.figure}.svg"], "scaling": list(scaled)}
        return {
            "inputs": (Named(), Named(records=self.inputs), of_claim),
            "crosscheck": (checked, Named(parts=self.crosschecks), of_claim),
            "analyse": (checked, Named(quantities=self.quantities, judgements=self.judgements), of_claim),
            "collect": (tables, told, {"study": self.study}),
            "figure": (
                Named(quantities=self.quantities, verdicts=self.judgements),
                Named(svg=f"{self.figure}.svg", png=f"{self.figure}.png"),
                {"claim": CLAIM_ID, "cells": self.cells()},
            ),
            "scaling": (Named(parts=self.timings), scaled, {}),
            "paper": (Named(**printed, quantities=[self.quantities]), Named(pdf="paper/main.pdf"), {"cells": self.cells()}),
        }[stage]

    def run(self, stage: str) -> None:
        """Run a stage's script; SystemExit after one line on stderr where it refuses."""
        given, made, params = self.script(stage)
        plain = SimpleNamespace(input=given, output=made, params=SimpleNamespace(**params), threads=1)
        runpy.run_path(str(SCRIPTS / f"{stage}.py"), init_globals={"snakemake": plain})

    def measure(self, widths: Iterable[int] = (16, 32, 64), **facts: Any) -> None:
        """What both backends leave of each case; `facts` beyond those of an undisturbed run."""
        for k, cell in enumerate(Cell.make(**cell) for cell in self.cells()):
            data, inputs = cell.read_inputs(Path(self.inputs[k]))
            for backend, paths in self.measured.items():
                engine = SimpleNamespace(name=backend)
                arrays = {w: cell.claim.measure(engine, cell.case, data, w, cell.root) for w in widths}  # type: ignore[arg-type]
                of = {"backend_facts": {"device": "cpu"}, "environment": {}, "seconds": {"16": 1.0}, "peak_memory_bytes": 1}
                write_record(Path(paths[k]), flatten(arrays), {**cell.identity_of_measurement(backend, inputs), **of, **facts})

    def make(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All stages, one after another; `rows` are the timings."""
        self.run("inputs")
        self.measure()
        for stage in ("crosscheck", "analyse", "collect", "figure"):
            self.run(stage)
        for backend, path in zip(BACKENDS, self.timings, strict=True):
            write_table(Path(path), "performance", [row for row in rows if row["backend"] == backend])
            lineage.note(Path(path), "performance", (), backend=backend)
        self.run("scaling")


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {path.as_posix(): path.read_bytes() for path in found if path.is_file()}
