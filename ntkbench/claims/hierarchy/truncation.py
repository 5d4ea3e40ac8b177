"""The truncated Neural Tangent Hierarchy approximates the training dynamics (Huang & Yau 2020, Theorem 2.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.base import Arrays, Claim, Panel, TrainingCase
from ntkbench.claims.calls import Call, Draw, Forward, Hierarchy, IntegrateHierarchy, Train, steps
from ntkbench.networks import SMOOTH_ACTIVATIONS
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Bound, Paired, Rate

ORDERS = (2, 3, 4)
TOP = max(ORDERS)
DISCRETIZATION = 0.05
SHARE_OF_SEEDS = 0.9
"""For this share of the seeds the change under a doubled step is at most that fraction of the truncation error."""


@dataclass(frozen=True, kw_only=True)
class TruncationCase(TrainingCase):
    """Narrows the control; every recorded time must be an even number of steps, for the run at twice the step."""

    one_output: ClassVar = True

    control: Literal["shuffled_top", "mean_field"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in SMOOTH_ACTIVATIONS:
            raise ValueError(
                f"activation {self.activation!r} has no K3 and K4 (its second derivative is a delta function); "
                f"choose one of {', '.join(SMOOTH_ACTIVATIONS)}"
            )
        for t in self.times:
            if round(t / self.step) % 2:
                raise ValueError(f"time {t} is an odd number of steps of {self.step}; halve the step or move the time")


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
        f"f - f_4 by less than {DISCRETIZATION:.0%} of the smallest truncation error for {SHARE_OF_SEEDS:.0%} of the seeds, "
        "which bounds the error of the step and excludes that the difference is rounding."
    )
    controls: ClassVar = {
        "shuffled_top": (
            "the entries of the frozen top tensor K_p are permuted at random for p = 3 and 4, so that it says nothing of the "
            "net; order 2 stays as it is"
        ),
        "mean_field": "the mean-field parametrization, in which the width does not control the truncation",
    }
    quantities: ClassVar = {
        **{f"error_p{p}": f"rms over training points of f - f_p at the last recorded time, order {p}" for p in ORDERS},
        **{f"error_p{p}_path": f"the same at each recorded time, order {p}" for p in ORDERS},
        "gain_p3_early": "log of error_p2 over error_p3 at the first recorded time",
        "step_change": "change of f - f_4 when the time step is doubled, rms over training points, at the last recorded time",
    }
    expectations: ClassVar = (
        Rate(
            name="error_p2",
            statement="The frozen NTK (p = 2) errs by 1/m.",
            source="huang2020dynamics, Theorem 2.6 (its bound, read as sharp: power counting)",
            quantity="error_p2",
            control="mean_field",
            exponent=-1.0,
            margin=0.2,
        ),
        Rate(
            name="error_p3",
            statement="Order p = 3 errs by 1/m as well: it gains a constant, not an exponent.",
            source="dyer2020asymptotics, exponents in pairs",
            quantity="error_p3",
            control="mean_field",
            where={"antisymmetric": (False,)},
            exponent=-1.0,
            margin=0.2,
        ),
        Rate(
            name="error_p4",
            statement="Order p = 4 errs by 1/m^2.",
            source="huang2020dynamics, Theorem 2.6 (its bound, read as sharp: power counting)",
            quantity="error_p4",
            control="shuffled_top",
            exponent=-2.0,
            margin=0.2,
        ),
        Bound(
            name="printed_bound_p2",
            statement="The printed bound m^(-p/2) holds at p = 2.",
            source="huang2020dynamics, Theorem 2.6",
            quantity="error_p2",
            control="mean_field",
            exponent=-1.0,
            margin=0.2,
        ),
        Bound(
            name="printed_bound_p4",
            statement="The printed bound m^(-p/2) holds at p = 4.",
            source="huang2020dynamics, Theorem 2.6",
            quantity="error_p4",
            control="shuffled_top",
            exponent=-2.0,
            margin=0.2,
        ),
        Bound(
            name="formula_read_at_p3",
            statement="The formula m^(-p/2), printed for even p, read at p = 3 as well.",
            source="huang2020dynamics, Theorem 2.6 (extended to odd p, which the theorem does not claim)",
            quantity="error_p3",
            control="mean_field",
            where={"antisymmetric": (False,)},
            exponent=-1.5,
            margin=0.2,
        ),
        Paired(
            name="gain_p3_early",
            statement="At the first recorded time order p = 3 errs less than p = 2 from a plain initialization.",
            source="huang2020dynamics, Theorem 2.6 (powers of t)",
            quantity="gain_p3_early",
            control="shuffled_top",
            where={"antisymmetric": (False,)},
            sign=1,
            size=0.0,
            at="largest",
        ),
    )
    limitations: ClassVar = (
        "Few training points, since K4 has n^4 entries; outputs on the training points only; one draw of the data per case; a "
        "fixed time. Exponents are tested, never the theorem's constants or logarithms. With antisymmetric initialization K3 "
        "vanishes at t = 0, so that p = 3 and p = 2 are one and the same there and p = 3 is judged from a plain one only. At "
        "p = 4 the next order in 1/m is not small at all of these widths: where the slope still changes along them, the "
        "verdict says so."
    )
    figure: ClassVar = (
        Panel(
            title="Antisymmetric initialization",
            kind="rate",
            quantities=("error_p2", "error_p4"),
            ylabel=r"rms$(f - f_p)$",
            where={"antisymmetric": (True,)},
        ),
        Panel(
            title="Plain initialization",
            kind="rate",
            quantities=("error_p2", "error_p3", "error_p4"),
            ylabel=r"rms$(f - f_p)$",
            where={"antisymmetric": (False,)},
        ),
    )
    caption: ClassVar = (
        "Error of the outputs predicted by the truncated hierarchy at a fixed time against width. The lines come in pairs: 1/m "
        "for p = 2 and p = 3, 1/m^2 for p = 4. Grey, right: negative controls, in the mean-field parametrization (p = 2, 3) or "
        "with a shuffled top tensor (p = 4)."
    )
    case_type: ClassVar = TruncationCase
    growth: ClassVar = (
        {"f": 1e2, "f_coarse": 1e2, f"f_p{TOP}_coarse": 1e2}
        | {f"f_p{p}": 1e2 for p in ORDERS}
        # Differences of outputs of order one, 1e-6 and less in size: rounding weighs as much more in them.
        | {f"error_p{p}": 1e6 for p in ORDERS}
    )

    def prepare(self, case: TruncationCase, root: int) -> data.Dataset:
        return data.load(case.dataset, train_size=case.train_size, input_dim=case.input_dim, root=root)

    def measure(self, backend: Backend, case: TruncationCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        kernels = backend.hierarchy(net, theta, data.x, TOP)
        f0 = backend.forward(net, theta, data.x)[..., 0]
        systems = {p: {r: kernels[r] for r in range(2, p + 1)} for p in ORDERS}
        if case.control == "shuffled_top":
            for p in ORDERS[1:]:
                systems[p][p] = _shuffled(kernels[p], root, width)

        def outputs(flow: Flow, orders: Sequence[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
            f = backend.train(net, theta, data.x, data.y, **flow).observed("f")[..., 0]
            runs = {p: backend.integrate_hierarchy(systems[p], f0, data.y[:, 0], **flow) for p in orders}
            return f, {p: run.observed("f")[..., 0] for p, run in runs.items()}

        f, predicted = outputs(case.flow(), ORDERS)
        f_coarse, predicted_coarse = outputs(case.flow(refine=0.5), (TOP,))
        arrays = {"f": f, "f_coarse": f_coarse, f"f_p{TOP}_coarse": predicted_coarse[TOP]}
        arrays |= {f"f_p{p}": predicted[p] for p in ORDERS}
        return arrays | {f"error_p{p}": f - predicted[p] for p in ORDERS}

    def calls(self, case: TruncationCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds}
        points: dict[str, Any] = {"points": case.train_size}
        asked: list[Call] = [Draw(**networks), Hierarchy(**networks, **points, order=TOP), Forward(**networks, **points)]
        for refine, orders in ((1.0, ORDERS), (0.5, (TOP,))):
            taken = steps(case.times, case.step / refine)
            flow: dict[str, Any] = {"integrator": case.integrator, "steps": taken, "records": len(case.times)}
            asked.append(Train(**networks, **points, **flow))
            asked += [IntegrateHierarchy(seeds=case.seeds, **points, order=p, **flow) for p in orders]
        return tuple(asked)

    def summarize(self, case: TruncationCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        paths = {p: _rms(arrays[f"error_p{p}"]) for p in ORDERS}
        summary = {f"error_p{p}": path[:, -1] for p, path in paths.items()}
        summary |= {f"error_p{p}_path": path for p, path in paths.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            summary["gain_p3_early"] = np.log(paths[2][:, 0] / paths[3][:, 0])
        change = arrays["f_coarse"] - arrays[f"f_p{TOP}_coarse"] - arrays[f"error_p{TOP}"]
        summary["step_change"] = _rms(change)[:, -1]
        return summary

    def along(self, case: TruncationCase) -> tuple[float, ...]:
        return case.times

    def violations(self, case: TruncationCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = []
        for width, summary in summaries.items():
            smallest = np.minimum.reduce([summary[f"error_p{p}"] for p in ORDERS])
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = float(np.quantile(summary["step_change"] / smallest, SHARE_OF_SEEDS))
            if not ratio <= DISCRETIZATION:
                problems.append(
                    f"at width {width} doubling the time step changes f - f_{TOP} by {ratio:.2g} of the truncation error: take "
                    "a smaller step, or, where that is rounding, a longer time or smaller widths"
                )
        return problems


def _shuffled(kernel: np.ndarray, root: int, width: int) -> np.ndarray:
    """Each seed's tensor with its entries in a random order."""
    shuffled = np.empty_like(kernel)
    for seed, tensor in enumerate(kernel):
        draw = rng(root, "shuffled_top", "order", tensor.ndim, "width", width, "seed", seed)
        shuffled[seed] = draw.permutation(tensor.ravel()).reshape(tensor.shape)
    return shuffled


def _rms(errors: np.ndarray) -> np.ndarray:
    """(S, T, n) to (S, T)."""
    rms: np.ndarray = np.sqrt((errors**2).mean(axis=-1))
    return rms


CLAIM = Truncation()
