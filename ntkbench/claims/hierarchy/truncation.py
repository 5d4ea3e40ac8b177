"""The truncated Neural Tangent Hierarchy approximates the training dynamics (Huang & Yau 2020, Theorem 2.6)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call
from ntkbench.claims.cases import ArchitectureCase
from ntkbench.claims.truncated import (
    LEFT_BY_STEP,
    SHARE_OF_SEEDS,
    Run,
    TwiceTheStepCase,
    calls,
    coarse_step,
    errors,
    rms,
    shuffled,
)
from ntkbench.verdicts.expectations import Bound, Expectation, Paired, Rate

ORDERS = (2, 3, 4, 5, 6)
PLAIN = {"antisymmetric": (False,)}
THEOREM = "huang2020dynamics, Theorem 2.6"
ERRORS = {
    2: "The frozen NTK (p = 2) errs by 1/m.",
    3: "Order p = 3 errs by 1/m as well: it gains a constant, not an exponent.",
    4: "Order p = 4 errs by 1/m^2.",
    5: "Order p = 5 errs by 1/m^2 as well.",
    6: "Order p = 6 errs by 1/m^3.",
}
"""Order -> how large its error is."""


@dataclass(frozen=True, kw_only=True)
class TruncationCase(TwiceTheStepCase, ArchitectureCase):
    """Fully connected or convolutional networks.

    Attributes:
        top: the highest order at which the hierarchy is truncated; the lowest is 2.
        sharpness: b of the smoothed ReLU `softplus(b z) / b`, for `softplus` with one hidden layer and without biases. Such a
            network is one of plain softplus on inputs and targets times b, at times over b^2: so it is computed.
    """

    adjustable: ClassVar = TwiceTheStepCase.adjustable | {"top"}

    top: Literal[4, 5, 6] = 4
    sharpness: float = 1.0
    control: Literal["shuffled_top", "mean_field"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top > 4 and not self.architecture(self.widths[0]).rank_one:
            raise ValueError(f"top is {self.top}, only fully connected networks have the hierarchy beyond order 4")
        if not self.sharpness > 0:
            raise ValueError(f"sharpness must be positive, got {self.sharpness}")
        if self.sharpness != 1.0 and (self.activation, self.depth, self.bias_variance) != ("softplus", 1, 0.0):
            raise ValueError("sharpness is of softplus with one hidden layer and without biases: leave it out")

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders of truncation."""
        return tuple(p for p in ORDERS if p <= self.top)

    def flow(self, refine: float = 1.0, stretch: float = 1.0) -> Flow:
        """As `TrainingCase.flow`, in the times of the network that is computed."""
        return super().flow(refine, stretch / self.sharpness**2)

    @property
    def runs(self) -> tuple[Run, Run]:
        """All orders at the case's step, and the highest at twice that step."""
        return (self.flow(), self.orders), (self.flow(refine=0.5), (self.top,))


def _judged(p: int) -> dict[str, Any]:
    """Where errors of order p are judged, and how; shuffling the top breaks the orders alone that gain an exponent."""
    reaching: dict[str, tuple[Any, ...]] = {"top": tuple(top for top in ORDERS if top >= p)} if p > 4 else {}
    return {
        "where": (PLAIN if p % 2 else {}) | reaching,
        "control": "shuffled_top" if p in (4, 6) else "mean_field",
        "margin": 0.2,
    }


def _rate(p: int, statement: str, quantity: str = "error") -> Rate:
    return Rate(
        name=f"{quantity}_p{p}",
        statement=statement,
        source="dyer2020asymptotics, exponents in pairs" if p % 2 else f"{THEOREM} (its bound, read as sharp: power counting)",
        quantity=f"{quantity}_p{p}",
        exponent=-float(p // 2),
        **_judged(p),
    )


def _bound(p: int) -> Bound:
    odd = p % 2 == 1
    return Bound(
        name=f"formula_read_at_p{p}" if odd else f"printed_bound_p{p}",
        statement=f"The formula m^(-p/2), printed for even p, read at p = {p} as well."
        if odd
        else f"The printed bound m^(-p/2) holds at p = {p}.",
        source=f"{THEOREM} (extended to odd p, which the theorem does not claim)" if odd else THEOREM,
        quantity=f"error_p{p}",
        rival_to=f"error_p{p}" if odd else None,
        exponent=-p / 2,
        **_judged(p),
    )


def _expectations() -> tuple[Expectation, ...]:
    gain = Paired(
        name="gain_p3_early",
        statement="At the first recorded time order p = 3 errs less than p = 2 from a plain initialization.",
        source=f"{THEOREM} (powers of t)",
        quantity="gain_p3_early",
        control="shuffled_top",
        where=PLAIN,
        sign=1,
        size=0.0,
        at="largest",
    )
    return (
        *(_rate(p, statement) for p, statement in ERRORS.items()),
        _rate(3, "At p = 3 the kernel errs by 1/m.", "kernel_error"),
        _rate(4, "At p = 4 the kernel errs by 1/m^2.", "kernel_error"),
        *map(_bound, (2, 4, 6, 3, 5)),
        gain,
    )


class Truncation(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/truncation"
    title: ClassVar = "The truncated hierarchy approximates training"
    statement: ClassVar = (
        "The Neural Tangent Hierarchy truncated at order p (K_p frozen at its initial value) predicts the outputs of the "
        "network under gradient flow at a fixed time up to an error that falls as m^(-floor(p/2)) with the width m; the "
        "printed bound m^(-p/2), stated for even p, holds."
    )
    source: ClassVar = "huang2020dynamics, Theorem 2.6; dyer2020asymptotics"
    reference_ids: ClassVar = ("HY-6",)
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization (the theorem's networks have no biases), all layers trained by gradient flow "
        "on the square loss, fixed time and number of points. Checked at the last recorded time: doubling the step changes "
        f"f - f_p, p the highest order, by less than {LEFT_BY_STEP:.0%} of the smallest truncation error for "
        f"{SHARE_OF_SEEDS:.0%} of the seeds, which bounds the error of the step and excludes that the difference is rounding. "
        "Cases outside of the theorem: convolutional networks, three and more points on a circle (any three of its inputs are "
        "linearly dependent), and a smoothed ReLU whose derivatives grow with its sharpness."
    )
    controls: ClassVar = {
        "shuffled_top": (
            "the entries of the frozen top tensor K_p are permuted at random for p = 3 and higher, so that it says nothing of "
            "the net; order 2 stays as it is"
        ),
        "mean_field": "the mean-field parametrization, in which the width does not control the truncation",
    }
    quantities: ClassVar = {
        **{f"error_p{p}": f"rms over training points of f - f_p at the last recorded time, order {p}" for p in ORDERS},
        **{f"error_p{p}_path": f"the same at each recorded time, order {p}" for p in ORDERS},
        **{f"kernel_error_p{p}": f"rms over pairs of training points of K2 - K2_p at that time, order {p}" for p in ORDERS},
        "gain_p3_early": "log of error_p2 over error_p3 at the first recorded time",
        "step_change": "change of f - f_p, p the highest order, when the time step is doubled, rms over training points",
    }
    expectations: ClassVar = _expectations()
    limitations: ClassVar = (
        "Few training points, since K_p has n^p entries; outputs on the training points only; one draw of the data per case; "
        "a fixed time. Exponents are tested, never the theorem's constants or logarithms. With antisymmetric initialization "
        "odd kernels vanish at t = 0, so that p = 3 and p = 2 are one and the same there, p = 5 and p = 4 too, and odd orders "
        "are judged from a plain one only. From p = 4 on the next order in 1/m is not small at all of these widths: where the "
        "slope still changes along them, the verdict says so. Orders 5 and 6, the kernel's error, three hidden layers, "
        "convolutional networks, the circle and the smoothed ReLU came later than the rest; the last recorded time of the "
        "cases to order 6 was then doubled, so that their smallest errors stay above rounding."
    )
    figure: ClassVar = (
        Panel(
            title="Antisymmetric initialization",
            kind="rate",
            quantities=("error_p2", "error_p4", "error_p6"),
            ylabel=r"rms$(f - f_p)$",
            where={"antisymmetric": (True,), "image": (None,), "sharpness": (1.0,)},
        ),
        Panel(
            title="Plain initialization",
            kind="rate",
            quantities=("error_p2", "error_p3", "error_p4", "error_p5", "error_p6"),
            ylabel=r"rms$(f - f_p)$",
            where=PLAIN,
        ),
        Panel(
            title="Smoothed ReLU",
            kind="rate",
            quantities=("error_p2", "error_p4"),
            ylabel=r"rms$(f - f_p)$",
            where={"activation": ("softplus",)},
        ),
        Panel(
            title="Convolutional networks",
            kind="rate",
            quantities=("error_p2", "error_p4"),
            ylabel=r"rms$(f - f_p)$",
            where={"dataset": ("digits_parity",), "antisymmetric": (True,), "activation": ("tanh",)},
        ),
    )
    caption: ClassVar = (
        "Error of the outputs predicted by the truncated hierarchy at a fixed time against width. Theory has the lines come in "
        "pairs: 1/m for p = 2 and p = 3, 1/m^2 for p = 4 and p = 5, 1/m^3 for p = 6. (a) and (b) by initialization, (c) "
        "softplus of growing sharpness, (d) convolutional networks; these, the circle in (a) and sharpness are outside of the "
        "theorem's assumptions. Grey: negative controls, in the mean-field parametrization (p = 2, 3, 5) or with a shuffled "
        "top tensor (p = 4, 6)."
    )
    labels: ClassVar = {f"error_p{p}": f"order {p}" for p in ORDERS}
    case_type: ClassVar = TruncationCase
    growth: ClassVar = (
        {"f": 1e2}
        # Differences of outputs of order one, 1e-6 and less in size: rounding weighs as much more in them.
        | {f"{name}_p{p}": 1e6 if p < 5 else 1e7 for name in ("error", "kernel_error") for p in ORDERS}
        | {"error_coarse": 1e7}
    )

    def prepare(self, case: TruncationCase, root: int) -> data.Dataset:
        drawn = super().prepare(case, root)
        return replace(drawn, x=case.sharpness * drawn.x, y=case.sharpness * drawn.y)

    def measure(self, backend: Backend, case: TruncationCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.architecture(width)
        theta = net.initialize(root, range(case.seeds))

        def spoil(p: int, kernel: np.ndarray) -> np.ndarray:
            return shuffled(kernel, root, width) if case.control == "shuffled_top" and p > 2 else kernel

        fine, coarse = errors(backend, net, theta, data.x, data.y[:, 0], case.runs, spoil)
        scale = 1 / case.sharpness
        arrays = {"f": scale * fine.f, "error_coarse": scale * coarse.outputs[case.top]}
        arrays |= {f"error_p{p}": scale * error for p, error in fine.outputs.items()}
        return arrays | {f"kernel_error_p{p}": error for p, error in fine.kernel.items()}

    def calls(self, case: TruncationCase, width: int) -> tuple[Call, ...]:
        return calls(case.architecture(width), case.seeds, case.train_size, case.runs)

    def summarize(self, case: TruncationCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        paths = {p: rms(arrays[f"error_p{p}"]) for p in case.orders}
        summary = {f"error_p{p}": path[:, -1] for p, path in paths.items()}
        summary |= {f"error_p{p}_path": path for p, path in paths.items()}
        summary |= {f"kernel_error_p{p}": rms(arrays[f"kernel_error_p{p}"])[:, -1] for p in case.orders}
        with np.errstate(divide="ignore", invalid="ignore"):
            summary["gain_p3_early"] = np.log(paths[2][:, 0] / paths[3][:, 0])
        summary["step_change"] = rms(arrays["error_coarse"] - arrays[f"error_p{case.top}"])[:, -1]
        return summary

    def along(self, case: TruncationCase) -> tuple[float, ...]:
        return case.times

    def violations(self, case: TruncationCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = []
        for width, summary in summaries.items():
            smallest = np.minimum.reduce([summary[f"error_p{p}"] for p in case.orders])
            problems += coarse_step(width, summary["step_change"], smallest, f"f - f_{case.top}", "the truncation error")
        return problems


CLAIM = Truncation()
