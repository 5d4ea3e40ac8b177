"""Depth over width as the expansion parameter: kernels and errors at fixed width against the number of hidden layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, LimitingKernels
from ntkbench.claims.truncated import GROWTH_ALONG, ORDERS, Run, SmoothCase, by_network, calls, errors, powers
from ntkbench.networks import FullyConnected
from ntkbench.verdicts.expectations import Equivalence

SOURCE = "dyer2020asymptotics; hanin2020finite, depth over width at initialization"


@dataclass(frozen=True, kw_only=True)
class DepthCase(SmoothCase):
    """Every depth is trained alike: times are divided by the mean diagonal of its limiting NTK.

    Attributes:
        depths: the axis, increasing, from `depth` on.
    """

    depths: tuple[int, ...]
    control: Literal["proportional_width"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.depths) < 3 or any(b <= a for a, b in pairwise(self.depths)):
            raise ValueError(f"depths must be three or more and increase, got {list(self.depths)}")
        if self.depths[0] != self.depth:
            raise ValueError(f"depths begin with {self.depths[0]}, depth is {self.depth}: make them equal")

    def networks(self, width: int) -> Iterator[FullyConnected]:
        """One per depth; the control makes deeper ones wider in proportion."""
        for depth in self.depths:
            scaled = width * depth // self.depth if self.control == "proportional_width" else width
            yield self.network(scaled, depth=depth)

    def runs(self, scale: float) -> list[Run]:
        """Orders 2 to 4 with times and steps divided by `scale`."""
        return [(self.flow(stretch=1 / scale), ORDERS)]


def _expectation(quantity: str, statement: str, value: float, margin: float) -> Equivalence:
    return Equivalence(
        name=quantity,
        statement=statement,
        source=SOURCE,
        quantity=quantity,
        control="proportional_width",
        value=value,
        margin=margin,
    )


class Depth(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/depth"
    title: ClassVar = "Depth over width is the expansion parameter"
    statement: ClassVar = (
        "At fixed width m the drift of the NTK and the error of its frozen version grow with the number of hidden layers L as "
        "L/m, that of the hierarchy truncated at order 4 as (L/m)^2: a conjecture, of which we know neither a measurement nor, "
        "for smooth activations, a proof."
    )
    source: ClassVar = SOURCE
    reference_ids: ClassVar = ("DG-3", "HN-3")
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, all layers trained by gradient flow on the square loss from an antisymmetric "
        "or plain initialization. Depths are compared after equal training: times are divided by the mean diagonal of the "
        "limiting NTK of that depth."
    )
    controls: ClassVar = {
        "proportional_width": "the width grows in proportion to the depth: if the two matter by their ratio alone, nothing "
        "changes"
    }
    quantities: ClassVar = {
        "drift_power": "slope of log |K2(t) - K2(0)|_F / |K2(0)|_F in log(depth), at the last recorded time",
        **{f"error_p{p}_power": f"slope of log rms(f - f_{p}) in log(depth), at that time" for p in ORDERS},
        "drift_path": "|K2(t) - K2(0)|_F / |K2(0)|_F at that time, for each depth",
        **{f"error_p{p}_path": f"rms over training points of f - f_{p} at that time, for each depth" for p in ORDERS},
    }
    expectations: ClassVar = (
        _expectation("drift_power", "The drift of the NTK is proportional to the depth.", 1.0, 0.25),
        _expectation("error_p2_power", "The error of the frozen NTK is proportional to the depth.", 1.0, 0.25),
        _expectation("error_p4_power", "The error of order 4 grows as the square of the depth.", 2.0, 0.5),
    )
    limitations: ClassVar = (
        "One activation and initialization scale per case, few depths and points. Depth changes the limiting kernel as well, "
        "not only by the factor that times are divided by: its eigenvalues move apart or together, which is in the measured "
        "powers. Depths, widths and seeds were settled on a trial with other draws."
    )
    figure: ClassVar = (
        Panel(
            title="Errors and drift by depth",
            kind="along",
            quantities=("drift_path", "error_p2_path", "error_p4_path"),
            ylabel=r"drift, rms$(f - f_p)$",
            where={},
        ),
        Panel(
            title="Powers of the depth",
            kind="level",
            quantities=("drift_power", "error_p2_power", "error_p4_power"),
            ylabel="exponent of the depth",
            where={},
        ),
    )
    caption: ClassVar = (
        "(a) Relative drift of the NTK and errors of the truncated hierarchy after equal training, against depth at the "
        "largest width. (b) Fitted powers of the depth of every network, mean and interval; bands: what the ratio of depth "
        "and width as the only parameter would give. Grey: width in proportion to depth."
    )
    labels: ClassVar = {"drift": "drift of the NTK"} | {f"error_p{p}": f"error at order {p}" for p in ORDERS}
    case_type: ClassVar = DepthCase
    growth: ClassVar = GROWTH_ALONG
    axis: ClassVar = "hidden layers"

    def measure(self, backend: Backend, case: DepthCase, data: data.Dataset, width: int, root: int) -> Arrays:
        found = []
        for net in case.networks(width):
            theta = net.initialize(root, range(case.seeds))
            scale = float(np.diag(backend.limiting_kernels(net, data.x)[1]).mean())
            found += errors(backend, net, theta, data.x, data.y[:, 0], case.runs(scale))
        return by_network(found)

    def calls(self, case: DepthCase, width: int) -> tuple[Call, ...]:
        asked: list[Call] = []
        for net in case.networks(width):
            asked += calls(net, case.seeds, case.train_size, case.runs(1.0))
            asked.append(LimitingKernels(net=net, rows=case.train_size))
        return tuple(asked)

    def summarize(self, case: DepthCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        return powers(arrays, case.depths)

    def along(self, case: DepthCase) -> tuple[float, ...]:
        return tuple(float(depth) for depth in case.depths)


CLAIM = Depth()
