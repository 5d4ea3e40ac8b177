"""The NTK stays constant during training (Jacot et al. 2018, Theorem 2; Huang & Yau 2020, Corollary 2.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel, TrainingCase
from ntkbench.claims.calls import Call, Draw, Train
from ntkbench.networks import SMOOTH_ACTIVATIONS
from ntkbench.verdicts.expectations import Bound, Rate

TRAINED = 0.5
"""Largest final over initial loss (geometric mean over seeds) at which a network counts as trained."""

RESOLVED = 1.0
"""Largest product of the step and the fastest rate of the flow, at which rk4 errs by 2% of that mode in one step."""


@dataclass(frozen=True, kw_only=True)
class GradientFlowCase(TrainingCase):
    """Narrows the control."""

    one_output: ClassVar = True
    trained_by: ClassVar = "gradient flow"

    control: Literal["mean_field"] | None = None


class GradientFlow(Claim):
    """See `statement`."""

    id: ClassVar = "constancy/gradient_flow"
    title: ClassVar = "The NTK stays constant during training"
    statement: ClassVar = (
        "Under gradient flow to a fixed time the NTK of a network of width m drifts by a relative amount that falls as 1/m for "
        "smooth activations and as m^(-1/2) for ReLU on the training points; the older bound m^(-1/2) holds for all."
    )
    source: ClassVar = "jacot2018neural, Theorem 2; huang2020dynamics, Corollary 2.4; lee2019wide, Theorem 2.1"
    reference_ids: ClassVar = ("JG-3", "HY-4", "LX-3")
    assumptions: ClassVar = (
        "NTK parametrization, square loss, full-batch gradient flow, fixed time and number of points. Smoothness of the "
        "activation is assumed by the theorems; ReLU lies outside them. Checked: the loss has at least halved by the end, and "
        f"the step resolves the fastest mode (step times the largest eigenvalue of K2 / n is at most {RESOLVED:g})."
    )
    controls: ClassVar = {
        "mean_field": (
            "the mean-field parametrization, in which features move by an amount that does not depend on the width; it has the "
            "same kernel at initialization"
        )
    }
    quantities: ClassVar = {
        "drift": "|K2(t) - K2(0)|_F / |K2(0)|_F on the training points at the last recorded time",
        "drift_offdiagonal": "the same over pairs of different points only",
        "drift_path": "drift at each recorded time",
        "loss_ratio": "training loss at the last recorded time over the initial loss",
        "step_rate": "integrator's step times the fastest rate of the flow at t = 0, the largest eigenvalue of K2(0) / n",
    }
    expectations: ClassVar = (
        Rate(
            name="smooth_rate",
            statement="For smooth activations the drift of the NTK falls as 1/m.",
            source="huang2020dynamics, Corollary 2.4 (its bound, read as sharp)",
            quantity="drift",
            control="mean_field",
            where={"activation": SMOOTH_ACTIVATIONS},
            exponent=-1.0,
            margin=0.15,
        ),
        Rate(
            name="relu_rate",
            statement="For ReLU the drift of the NTK between different training points falls as m^(-1/2).",
            source="lee2019wide, Theorem 2.1 (its bound, read as sharp for ReLU)",
            quantity="drift_offdiagonal",
            control="mean_field",
            where={"activation": ("relu",)},
            exponent=-0.5,
            margin=0.15,
        ),
        Bound(
            name="older_bound",
            statement="The drift of the NTK falls at least as fast as m^(-1/2).",
            source="lee2019wide, Theorem 2.1 (it assumes a Lipschitz derivative: ReLU goes beyond it)",
            quantity="drift",
            control="mean_field",
            exponent=-0.5,
            margin=0.1,
        ),
    )
    limitations: ClassVar = (
        "Training points only: at unseen points ReLU's drift is expected to fall faster. The rate for ReLU is asymptotic: its "
        "m^(-1/2) part overtakes a 1/m part only at large widths, first between different points, where it is judged. A fixed "
        "time, not the end of training; one draw of the data per case."
    )
    figure: ClassVar = (
        Panel(
            title="Smooth activations",
            kind="rate",
            quantities=("drift",),
            ylabel=r"$\|K_2(t) - K_2(0)\|_F\,/\,\|K_2(0)\|_F$",
            where={"activation": SMOOTH_ACTIVATIONS},
            slope=-1.0,
        ),
        Panel(
            title="ReLU, between different points",
            kind="rate",
            quantities=("drift_offdiagonal",),
            ylabel=r"$\|K_2(t) - K_2(0)\|_F\,/\,\|K_2(0)\|_F$",
            where={"activation": ("relu",)},
            slope=-0.5,
        ),
    )
    caption: ClassVar = (
        "Relative drift of the NTK on the training points after gradient flow to a fixed time. (a) Smooth activations; "
        "the line halves the drift per doubling of the width. (b) ReLU, between different training points; the line loses "
        "the square root of two per doubling. Grey: the negative controls, in the mean-field parametrization."
    )
    case_type: ClassVar = GradientFlowCase
    growth: ClassVar = {"K2": 1e2, "f": 1e2}

    def measure(self, backend: Backend, case: GradientFlowCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        flow = case.flow() | {"times": (0.0, *case.times)}
        trajectory = backend.train(net, theta, data.x, data.y, **flow, observe=("f", "K2"))
        f = trajectory.observed("f")
        loss = 0.5 * ((f - data.y) ** 2).sum(axis=-1).mean(axis=-1)
        return {"K2": trajectory.observed("K2"), "f": f, "loss": loss}

    def calls(self, case: GradientFlowCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds}
        trained = Train.along(
            case.flow(),
            **networks,
            points=case.train_size,
            records=1 + len(case.times),
            observe=("f", "K2"),
        )
        return (Draw(**networks), trained)

    def summarize(self, case: GradientFlowCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        kernels = arrays["K2"]
        pairs = ~np.eye(case.train_size, dtype=bool)
        path = _relative_drift(kernels.reshape(*kernels.shape[:2], -1))
        offdiagonal = _relative_drift(kernels[:, :, pairs])
        return {
            "drift": path[:, -1],
            "drift_offdiagonal": offdiagonal[:, -1],
            "drift_path": path,
            "loss_ratio": arrays["loss"][:, -1] / arrays["loss"][:, 0],
            "step_rate": case.step * np.linalg.eigvalsh(kernels[:, 0])[:, -1] / case.train_size,
        }

    def along(self, case: GradientFlowCase) -> tuple[float, ...]:
        return case.times

    def violations(self, case: GradientFlowCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = []
        for width, summary in summaries.items():
            ratio = float(np.exp(np.log(summary["loss_ratio"]).mean()))
            if not ratio <= TRAINED:
                problems.append(f"at width {width} the loss fell to {ratio:.3g} of its initial value only, not to {TRAINED}")
            fastest = float(summary["step_rate"].max())
            if not fastest <= RESOLVED:
                problems.append(
                    f"at width {width} step times the fastest rate is {fastest:.3g}, above {RESOLVED}: take a smaller step"
                )
        return problems


def _relative_drift(entries: np.ndarray) -> np.ndarray:
    """(S, T + 1, entries), t = 0 first, to (S, T)."""
    change = np.linalg.norm(entries[:, 1:] - entries[:, :1], axis=-1)
    drift: np.ndarray = change / np.linalg.norm(entries[:, :1], axis=-1)
    return drift


CLAIM = GradientFlow()
