"""What a measurement asks of a backend, as data: from it the cost of a study is foretold before anything runs.

One class per method of `ntkbench.backends.base.Backend`, named alike, with the sizes that its cost depends on. `Draw` is
the initialization of networks, which numpy does, `Predict` a prediction without tensors, which calls
`contracted_hierarchy` as often as the residual's path asks for, and `Fit` what is fitted while data are prepared.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from ntkbench.backends.base import Flow
from ntkbench.integrators import steps_between
from ntkbench.networks import Network


@dataclass(frozen=True)
class Call:
    """`count` equal calls."""

    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Draw(Call):
    """`net.initialize` of `seeds` networks, all at once or in blocks under the backend's budget."""

    net: Network
    seeds: int
    in_blocks: bool = False


@dataclass(frozen=True, kw_only=True)
class Forward(Call):
    """Outputs of `seeds` networks at `points`."""

    net: Network
    seeds: int
    points: int


@dataclass(frozen=True, kw_only=True)
class Ntk(Call):
    """Kernels of `rows` points with `columns` others, or among themselves where that is None; `outputs` as in `Backend.ntk`.

    `kept` says whether they are held until the width is done, or reduced one by one.
    """

    net: Network
    seeds: int
    rows: int
    columns: int | None = None
    outputs: str = "one"
    kept: bool = field(default=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.net.output_dim == 1:
            object.__setattr__(self, "outputs", "one")


@dataclass(frozen=True, kw_only=True)
class Hierarchy(Call):
    """K2 to K_order at `points`."""

    net: Network
    seeds: int
    points: int
    order: int


@dataclass(frozen=True, kw_only=True)
class Stepped(Call):
    """`steps` steps of an integrator, recorded `records` times."""

    integrator: str
    steps: int
    records: int

    @classmethod
    def along(cls, flow: Flow, count: int = 1, **sizes: Any) -> Self:
        """As a backend is asked: the steps of `flow`, recorded at all its times."""
        times = tuple(flow["times"])
        recorded = {"steps": steps(times, flow["step"]), "records": len(times)}
        return cls(count, integrator=flow["integrator"], **recorded | sizes)


@dataclass(frozen=True, kw_only=True)
class Train(Stepped):
    """On `points`, with `observe` recorded."""

    net: Network
    seeds: int
    points: int
    observe: tuple[str, ...] = ("f",)
    test_points: int = 0


@dataclass(frozen=True, kw_only=True)
class IntegrateHierarchy(Stepped):
    """Of the hierarchy truncated at `order`."""

    seeds: int
    points: int
    order: int


@dataclass(frozen=True, kw_only=True)
class Predict(Call):
    """Outputs of `seeds` networks at `rows`, of which the first `points` train, for orders 3 to `order` without tensors."""

    net: Network
    seeds: int
    points: int
    rows: int
    order: int


@dataclass(frozen=True, kw_only=True)
class LimitingKernels(Call):
    """NNGP and NTK at infinite width of `rows` points with `columns` others, or among themselves where that is None."""

    net: Network
    rows: int
    columns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Solve(Call):
    """`batch` systems of `points` equations with `sides` right-hand sides."""

    batch: int
    points: int
    sides: int


@dataclass(frozen=True, kw_only=True)
class KernelDescent(Call):
    """`batch` kernels' descents, at `records` numbers of steps."""

    batch: int
    points: int
    test_points: int
    outputs: int
    records: int


@dataclass(frozen=True, kw_only=True)
class Fit(Call):
    """Classifiers of `ntkbench.baselines` on one set: so many support vector machines and trees, and a Gaussian process."""

    points: int
    machines: int
    trees: int


def steps(times: tuple[float, ...], step: float) -> int:
    """Steps of a flow to the last of its recorded times."""
    return sum(steps_between(times, step))
