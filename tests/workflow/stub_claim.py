"""A claim that costs nothing: the workflow's tests put it into a copy of the package."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench.claims.base import Arrays, Case, Claim, Panel
from ntkbench.data import Dataset
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Rate


def stumble(stage: str) -> None:
    """What no case foresees, while a file `broken` names the stage and how it ends: a job that fails, or is killed."""
    told = Path("broken")
    match told.read_text(encoding="utf-8").split() if told.exists() else ():
        case [named, "fails"] if named == stage:
            raise OSError("no space left on device")
        case [named, "killed"] if named == stage:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class StubCase(Case):
    """Adds how long a width takes, and a factor of each seed's observable; where it is below 0 nothing can be measured."""

    adjustable: ClassVar = Case.adjustable | {"seconds", "scale"}

    seconds: float = 0.0
    scale: float = 1.0
    control: Literal["flat"] | None = None


class Stub(Claim):
    """See `statement`."""

    id: ClassVar = "convergence/stub"
    title: ClassVar = "A number falls"
    statement: ClassVar = "A number falls as one over the width."
    source: ClassVar = "jacot2018neural, Theorem 1"
    reference_ids: ClassVar = ()
    assumptions: ClassVar = "None."
    controls: ClassVar = {"flat": "the number does not fall"}
    quantities: ClassVar = {"number": "a number", "path": "the number along time"}
    expectations: ClassVar = (
        Rate(
            name="rate",
            statement="The number falls as 1/m.",
            source="jacot2018neural, Theorem 1",
            quantity="number",
            control="flat",
            exponent=-1.0,
            margin=0.2,
        ),
    )
    limitations: ClassVar = "It is no science."
    figure: ClassVar = (
        Panel(
            title="It falls", kind="rate", quantities=("number",), ylabel="number", where={"activation": ("tanh",)}, slope=-1
        ),
    )
    caption: ClassVar = "A number against the width."
    case_type: ClassVar = StubCase
    growth: ClassVar[Mapping[str, float]] = {}

    def prepare(self, case: StubCase, root: int) -> Dataset:
        stumble("inputs")
        x = rng(root, "stub").standard_normal((case.train_size, case.input_dim))
        return Dataset(x=x, y=x[:, :1], x_test=x[:0], y_test=x[:0, :1])

    def measure(self, backend: Any, case: StubCase, data: Dataset, width: int, root: int) -> Arrays:
        if log := os.environ.get("STUB_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{case.control} {backend.name} {width}\n")
        stumble("measure")
        if case.scale < 0:
            raise ValueError(f"the scale is {case.scale}")
        time.sleep(case.seconds)
        draws = rng(root, "stub", width).standard_normal(case.seeds)
        power = 0 if case.control == "flat" else -1
        return {"number": backend.factor * case.scale * np.exp(0.1 * draws) * float(width) ** power}

    def summarize(self, case: StubCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        return {"number": arrays["number"], "path": arrays["number"][:, None] * np.array([0.5, 1.0])}

    def along(self, case: StubCase) -> tuple[float, ...]:
        return (1.0, 2.0)


CLAIM = Stub()
