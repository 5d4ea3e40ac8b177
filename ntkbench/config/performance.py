"""The scaling curves of a study."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from ntkbench import names
from ntkbench.config.cases import LARGEST, Section, name_problems
from ntkbench.config.problems import Problem
from ntkbench.networks import SMOOTH_ACTIVATIONS
from ntkbench.performance.workloads import Axis, Curve, Quantity, Workload

Count = Annotated[int, Field(ge=1, le=LARGEST)]
AXES: Mapping[Quantity, tuple[Axis, ...]] = {
    "ntk": ("points", "width", "depth", "outputs"),
    "hierarchy": ("points", "width", "depth", "order"),
    "naive_hierarchy": ("points", "width", "depth", "order"),
    "limiting": ("points", "depth"),
}


class CurveSection(Section):
    """One quantity against one of its sizes."""

    quantity: Literal["ntk", "hierarchy", "naive_hierarchy", "limiting"] = Field(
        description="What is timed; naive_hierarchy, nested forward mode, beside a hierarchy curve that is otherwise the same."
    )
    axis: Literal["points", "width", "depth", "outputs", "order"] = Field(description="The size that varies.")
    sizes: list[Count] = Field(min_length=2, description="Along the axis, increasing.")
    points: Count = 1
    width: Count = 1
    depth: Count = 2
    outputs: Count = 1
    order: int = Field(default=2, ge=2, le=6, description="Of the highest kernel of the hierarchy.")
    input_dim: Count = 32
    activation: str = "tanh"


class PerformanceSection(Section):
    """What is timed at the end of a run."""

    rounds: Count = Field(default=5, description="Timings of each size, the least of which counts.")
    curves: dict[str, CurveSection] = Field(min_length=1, description="Curve name to what is timed.")


@dataclass(frozen=True)
class Performance:
    """The curves of a study, and the rounds of each size."""

    rounds: int
    curves: tuple[Curve, ...]


def performance(section: PerformanceSection) -> tuple[Performance, list[Problem]]:
    """The curves, and what is wrong with them."""
    curves, problems = [], []
    for name, written in section.curves.items():
        found = list(_problems(f"performance.curves.{name}", name, written))
        problems += found
        if not found:
            sizes = {key: value for key, value in written.model_dump().items() if key not in ("axis", "sizes")}
            curves.append(Curve(name, written.axis, tuple(written.sizes), Workload(**sizes)))
    if not problems:  # or a curve that is refused would be missed as the twin of another
        problems += [_without_twin(curve) for curve in curves if not _has_twin(curve, curves)]
    return Performance(section.rounds, tuple(curves)), problems


def _has_twin(curve: Curve, curves: Sequence[Curve]) -> bool:
    """Whether what is computed naively is computed fast as well, at one size at least; true of all other curves."""
    if curve.start.quantity != "naive_hierarchy":
        return True
    fast = {replace(workload, quantity="hierarchy") for workload in curve.workloads}
    return any(other.axis == curve.axis and fast & set(other.workloads) for other in curves)


def _without_twin(curve: Curve) -> Problem:
    mend = "a curve of hierarchy must have the same axis, sizes besides it and activation, and one size along it in common"
    return Problem(f"performance.curves.{curve.name}", list(curve.sizes), f"is compared with nothing: {mend}")


def _problems(key: str, name: str, curve: CurveSection) -> Iterator[Problem]:
    yield from name_problems(key, name, "curve")
    if curve.axis not in AXES[curve.quantity]:
        yield Problem(
            f"{key}.axis", curve.axis, f"{curve.quantity} varies along one of {', '.join(AXES[curve.quantity])}; choose one"
        )
    if curve.outputs > 1 and "outputs" not in AXES[curve.quantity]:
        yield Problem(f"{key}.outputs", curve.outputs, f"{curve.quantity} is of one output; leave it out")
    if any(after <= before for before, after in pairwise(curve.sizes)):
        yield Problem(f"{key}.sizes", curve.sizes, "must increase")
    if curve.axis == "order" and not 2 <= curve.sizes[0] <= curve.sizes[-1] <= 6:
        yield Problem(f"{key}.sizes", curve.sizes, "orders must be from 2 to 6")
    if curve.quantity in ("hierarchy", "naive_hierarchy") and curve.activation not in SMOOTH_ACTIVATIONS:
        yield Problem(f"{key}.activation", curve.activation, names.mend(curve.activation, SMOOTH_ACTIVATIONS))
    try:
        Workload(curve.quantity, curve.points, activation=curve.activation).net  # noqa: B018 (the network refuses)
    except ValueError as error:
        yield Problem(f"{key}.activation", curve.activation, str(error))
