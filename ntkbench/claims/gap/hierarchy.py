"""What the change of the kernel makes of a network, as the truncated hierarchy predicts it on real data (Huang & Yau 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Forward, LimitingKernels, Train
from ntkbench.claims.cases import ArchitectureCase, SplitCase
from ntkbench.claims.generalization import accuracy, classes, mse
from ntkbench.claims.tensor_free import foretold, predictions
from ntkbench.claims.truncated import LEFT_BY_STEP, SHARE_OF_SEEDS, TwiceTheStepCase, rms, unresolved
from ntkbench.hierarchy.expansion import Expansion
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Paired, Rate

ORDERS = (2, 3, 4)
HALVED = float(np.log(2))
"""A distance that is halved: three quarters of its square are explained."""
INTRODUCTION = "huang2020dynamics, section 1"
COATS = {"image": (None,), "dataset": ("fashion_mnist_pullover_coat",)}
TWO_CLASSES = {"image": (None,), "dataset": ("fashion_mnist_pullover_coat", "fashion_mnist_sandal_sneaker", "digits_parity")}


@dataclass(frozen=True, kw_only=True)
class HierarchyGapCase(TwiceTheStepCase, SplitCase, ArchitectureCase):
    """Every seed has a split and a network of its own.

    Attributes:
        tolerance: of the predictions at the smallest width, relative to the largest residual at t = 0; at others it is less as
            1/m^2, as the error of order 4.
        judged: the recorded time at which expectations are judged; None for the last. Later ones show where orders cease.
    """

    adjustable: ClassVar = TwiceTheStepCase.adjustable | {"step", "times", "tolerance", "judged"}
    one_output: ClassVar = False

    tolerance: float
    judged: float | None = None
    control: Literal["shuffled_images", "other_network", "mean_field"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must lie between 0 and 1, got {self.tolerance}")
        if self.judged is not None and self.judged not in self.times:
            raise ValueError(f"judged {self.judged} is none of the recorded times: choose one of {list(self.times)}")

    def tolerance_at(self, width: int) -> float:
        """Of the predictions at one width."""
        return self.tolerance * (self.widths[0] / width) ** 2

    @property
    def place(self) -> int:
        """The judged time's among the recorded ones."""
        return len(self.times) - 1 if self.judged is None else self.times.index(self.judged)


def _halves(name: str, statement: str, source: str, control: str) -> Paired:
    return Paired(
        name=name,
        statement=statement,
        source=source,
        quantity=name,
        control=control,
        sign=1,
        size=HALVED,
    )


class HierarchyGap(Claim):
    """See `statement`."""

    id: ClassVar = "gap/hierarchy"
    title: ClassVar = "The hierarchy predicts what the kernel's change does"
    statement: ClassVar = (
        "Networks and regression with their limiting NTK perform differently because the NTK changes along training; the "
        "truncated hierarchy, which knows the network at initialization alone, predicts that change: on real data order 4 "
        "explains most of how test outputs, loss and classes of the trained network deviate from those of its frozen NTK."
    )
    source: ClassVar = "huang2020dynamics, section 1 (a hypothesis, without number) and Theorem 2.6"
    reference_ids: ClassVar = ("HY-7", "HY-8", "HY-9")
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, all layers trained by gradient flow on the square loss; network, its frozen "
        "NTK (p = 2), the hierarchy and regression with the limiting NTK are compared at one time, from the same f at t = 0. "
        "Kernels beyond the NTK are contracted with a basis of the residual's path. Checked at the judged time, for "
        f"{SHARE_OF_SEEDS:.0%} of the seeds: doubling training's step and the predictions' tolerance each leave less than "
        f"{LEFT_BY_STEP:.0%} of the smallest distance; and no prediction has blown up."
    )
    controls: ClassVar = {
        "shuffled_images": (
            "K3 and K4 act on the training images in a random order, so that each image's residual is taken for another's; "
            "outputs and NTK at t = 0 stay as they are"
        ),
        "other_network": (
            "K3 and K4 are those of another initialization, whose K3 has another sign; outputs and NTK at t = 0 stay"
        ),
        "mean_field": (
            "the mean-field parametrization at a small feature strength, from an antisymmetric start: the kernel changes "
            "little, at any width alike, and its fluctuation at t = 0 stays"
        ),
    }
    quantities: ClassVar = {
        "gain_p3": "log of rms(f - f_2) over rms(f - f_3) on test points at the judged time, f_2 of the frozen NTK",
        "gain_p4": "the same for order 4: log 2 is half of the distance and three quarters of its square explained",
        "left_p3": "rms(f - f_3) over rms(f - f_2) on test points at the judged time",
        "left_p4": "rms(f - f_4) over rms(f - f_2) on test points at the judged time",
        "left_p3_path": "the same as left_p3 at each recorded time",
        "left_p4_path": "the same as left_p4 at each recorded time",
        "loss_gain_p3": "log of |L - L_2| over |L - L_3|, L the test mean squared error, at the judged time",
        "loss_gain_p4": "log of |L - L_2| over |L - L_4|",
        **{f"loss_difference_p{p}": f"test mean squared error of the network minus that of order {p}" for p in ORDERS},
        "loss_difference_limit": "test mean squared error of the network minus that of the limiting NTK",
        **{f"accuracy_difference_p{p}": f"test accuracy of the network minus that of order {p}" for p in ORDERS},
        "accuracy_difference_limit": "test accuracy of the network minus that of the limiting NTK",
        **{f"disagreement_p{p}": f"share of test points that network and order {p} put in different classes" for p in ORDERS},
        "classes_difference_p4": "disagreement_p2 minus disagreement_p4",
        "change": "rms(f - f_2) over rms(f_limit - f_0) on test points: what the change of the NTK does",
        "fluctuation": "rms(f_2 - f_limit) over rms(f_limit - f_0): what the NTK's fluctuation at t = 0 does",
        "change_over_fluctuation": "the former over the latter",
        "change_dominates": "log of that ratio",
        "loss": "test mean squared error of the network at the judged time",
        "accuracy": "test accuracy of the network at the judged time",
        "step_change": "change of f on test points when the time step is doubled, rms, judged time",
        "distance_p4": "rms(f - f_4) on test points at the judged time",
        "tolerance": "what the predictions' basis and integration may err by: the case's tolerance times the largest |f_0 - y|",
    }
    expectations: ClassVar = (
        _halves(
            "gain_p4",
            "Order 4 at least halves the distance of the frozen NTK's test outputs to the network's.",
            "huang2020dynamics, Theorem 2.6 and section 1 (no number given: half is ours)",
            "shuffled_images",
        ),
        Paired(
            name="gain_p3",
            statement="Order 3 comes nearer to the network's test outputs than the frozen NTK.",
            source="huang2020dynamics, Theorem 2.6 (powers of t)",
            quantity="gain_p3",
            control="other_network",
            where={"antisymmetric": (False,)},
            sign=1,
            size=0.0,
        ),
        Rate(
            name="left_p4",
            statement="The share of the distance that order 4 leaves falls as 1/m.",
            source="huang2020dynamics, Theorem 2.6 (bounds of order 4 and 2, read as sharp)",
            quantity="left_p4",
            control="shuffled_images",
            exponent=-1.0,
            margin=0.2,
        ),
        _halves(
            "loss_gain_p4",
            "Order 4 at least halves the gap in test loss between the network and its frozen NTK.",
            "huang2020dynamics, section 1 (no number given: half is ours)",
            "other_network",
        ),
        Paired(
            name="classes_p4",
            statement="Order 4 puts more test points in the network's class than the frozen NTK does.",
            source=INTRODUCTION,
            quantity="classes_difference_p4",
            control="other_network",
            sign=1,
            size=0.0,
            at="smallest",
        ),
        Paired(
            name="change_dominates",
            statement=(
                "At the largest width the change of the NTK along training moves the network's outputs further from regression "
                "with the limiting NTK than the NTK's fluctuation at initialization does."
            ),
            source=INTRODUCTION,
            quantity="change_dominates",
            control="mean_field",
            sign=1,
            size=0.0,
        ),
        Rate(
            name="change_over_fluctuation",
            statement="What the change of the NTK does falls faster than what its fluctuation does, by m^(-1/2).",
            source="huang2020dynamics, Theorem 2.3 and Corollary 2.4 (1/m against m^(-1/2))",
            quantity="change_over_fluctuation",
            control="mean_field",
            exponent=-0.5,
            margin=0.15,
        ),
    )
    limitations: ClassVar = (
        "Gradient flow at fixed times, not tuned training: the question is what the kernel's change does, not which method "
        "wins. Shares of a small difference of losses scatter without bound, hence the logarithm, whose mean weighs each "
        "network alike. From an antisymmetric initialization orders 2 and 3 are the same equation. The limiting NTK's outputs "
        "keep the network's own f at t = 0, as do all others. Images are small, classes two unless a case says otherwise. "
        "Splits of one pool of images overlap: intervals speak of the average over splits of this pool. The judged times, "
        "sizes and steps were settled on trials with other draws. In one of them images in another order were no control for "
        "order 3, for the loss and for classes: residuals of one class are alike, and what their mean does survives. These "
        "have the kernels of another network since."
    )
    figure: ClassVar = (
        Panel(
            title="Two classes: left by order 4",
            kind="rate",
            quantities=("left_p4",),
            ylabel=r"rms$(f - f_4)\,/\,$rms$(f - f_2)$",
            where=TWO_CLASSES,
        ),
        Panel(
            title="Ten classes",
            kind="rate",
            quantities=("left_p3", "left_p4"),
            ylabel=r"rms$(f - f_p)\,/\,$rms$(f - f_2)$",
            where={"dataset": ("digits", "fashion_mnist")},
        ),
        Panel(
            title="Convolutional networks",
            kind="rate",
            quantities=("left_p3", "left_p4"),
            ylabel=r"rms$(f - f_p)\,/\,$rms$(f - f_2)$",
            where={"image": ((8, 8, 1), (14, 14, 1))},
        ),
        Panel(
            title="Orders along training",
            kind="along",
            quantities=("left_p3_path", "left_p4_path"),
            ylabel=r"rms$(f - f_p)\,/\,$rms$(f - f_2)$",
            where=COATS | {"antisymmetric": (False,)},
        ),
        Panel(
            title="Order 4 along training, by width",
            kind="along",
            quantities=("left_p4_path",),
            ylabel=r"rms$(f - f_4)\,/\,$rms$(f - f_2)$",
            where=COATS,
        ),
        Panel(
            title="Gain in test loss",
            kind="paired",
            quantities=("loss_gain_p3", "loss_gain_p4"),
            ylabel=r"$\log\,|L - L_2|\,/\,|L - L_p|$",
            where=TWO_CLASSES | {"antisymmetric": (False,)},
        ),
        Panel(
            title="Change and fluctuation of the NTK",
            kind="rate",
            quantities=("change", "fluctuation"),
            ylabel="effect on test outputs",
            where=TWO_CLASSES,
        ),
        Panel(
            title="Test loss beside frozen NTK",
            kind="paired",
            quantities=("loss_difference_p2",),
            ylabel=r"$L - L_2$",
            where=TWO_CLASSES,
        ),
    )
    caption: ClassVar = (
        "(a) Share of the distance between the trained network and its frozen NTK, on test points, that order 4 of the "
        "hierarchy leaves, against width: 1/m. (b), (c) The same for ten classes and for convolutional networks, beside order "
        "3. (d) Along training for orders 3 and 4 at the largest width, (e) for order 4 by width: at 1 an order is no better "
        "than the frozen NTK, and has ceased to help. (f) How many times nearer to the network's test loss orders 3 and 4 come "
        "than the frozen NTK, mean logarithm. (g) What parts the network from regression with the limiting NTK: the NTK's "
        "change along training and its fluctuation at initialization. (h) The gap in test loss that is to be explained. Grey: "
        "negative controls, K3 and K4 of shuffled images or of another network."
    )
    labels: ClassVar = {f"{name}_p{p}": f"order {p}" for name in ("left", "loss_gain") for p in ORDERS[1:]} | {
        "change": "change of the NTK",
        "fluctuation": "fluctuation at t = 0",
    }
    case_type: ClassVar = HierarchyGapCase
    growth: ClassVar = (
        {"f_test": 1e3, "f_coarse": 1e3, "limit_test": 1e3, "f0_test": 1.0}
        # Differences of outputs, to which each backend's basis adds its own rounding, enlarged by nearly equal singular values.
        | {f"error_p{p}": 1e5 if p < 4 else 1e7 for p in ORDERS}
    )

    def measure(self, backend: Backend, case: HierarchyGapCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net, n = case.architecture(width, output_dim=data.y.shape[-1]), case.train_size
        theta = net.initialize(root, range(case.seeds))
        rows = np.concatenate([data.x, data.x_test], axis=1)
        trained = backend.train(net, theta, data.x, data.y, **case.flow(), observe=("f_test",), x_test=data.x_test)
        coarse = case.flow(refine=0.5)
        again = backend.train(net, theta, data.x, data.y, **coarse, observe=("f_test",), x_test=data.x_test)
        f_test, f0 = trained.observed("f_test"), backend.forward(net, theta, rows)
        order = rng(root, "shuffled_images", "points", n).permutation(n) if case.control == "shuffled_images" else None
        others = net.initialize(root, range(case.seeds, 2 * case.seeds)) if case.control == "other_network" else theta
        predicted: dict[int, list[np.ndarray]] = {p: [] for p in ORDERS}
        limits = []
        for s in range(case.seeds):
            own, beyond = ({name: array[s : s + 1] for name, array in one.items()} for one in (theta, others))
            x, y = data.x[s], data.y[s]
            targets = y if net.output_dim > 1 else y[:, 0]
            asked = rows[s], case.times, ORDERS[-1], case.tolerance_at(width)
            found = predictions(backend, net, own, x, targets, *asked, shuffle=order, beyond=beyond)
            for p, outputs in found.items():
                predicted[p].append(outputs.reshape(len(case.times), -1, net.output_dim)[:, n:])
            limits.append(_regressed(f0[s], backend.limiting_kernels(net, rows[s], x)[1], y, case)[:, n:])
        return {
            "f_test": f_test,
            "f_coarse": again.observed("f_test")[:, case.place],
            "f0_test": f0[:, n:],
            "residual_start": f0[:, :n] - data.y,
            "limit_test": np.stack(limits),
            "y_test": data.y_test,
        } | {f"error_p{p}": f_test - np.stack(outputs) for p, outputs in predicted.items()}

    def calls(self, case: HierarchyGapCase, width: int) -> tuple[Call, ...]:
        net, n = case.architecture(width, output_dim=data.SOURCES[case.dataset].output_dim), case.train_size
        rows = n + case.test_size
        networks: dict[str, Any] = {"net": net, "seeds": case.seeds}
        sizes: dict[str, Any] = {"points": n, "observe": ("f_test",), "test_points": case.test_size}
        return (
            Draw(net=net, seeds=case.seeds, count=2 if case.control == "other_network" else 1),
            *(Train.along(case.flow(refine), **networks, **sizes) for refine in (1.0, 0.5)),
            Forward(**networks, points=rows),
            *(replace(call, count=case.seeds) for call in foretold(net, 1, n, rows, ORDERS[-1])),
            LimitingKernels(net=net, rows=rows, columns=n, count=case.seeds),
        )

    def summarize(self, case: HierarchyGapCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        at = case.place
        f, y, limit = arrays["f_test"], arrays["y_test"], arrays["limit_test"][:, at]
        distances = {p: rms(arrays[f"error_p{p}"]) for p in ORDERS}
        outputs = {p: (f - arrays[f"error_p{p}"])[:, at] for p in ORDERS}
        summary = {f"left_p{p}_path": distances[p] / distances[2] for p in (3, 4)}
        summary |= {f"left_p{p}": summary[f"left_p{p}_path"][:, at] for p in (3, 4)}
        summary |= {f"gain_p{p}": -np.log(summary[f"left_p{p}"]) for p in (3, 4)}
        scored = {f"p{p}": outputs[p] for p in ORDERS} | {"limit": limit}
        loss, hit = mse(f[:, at], y), accuracy(f[:, at], y)
        summary |= {f"loss_difference_{name}": loss - mse(one, y) for name, one in scored.items()}
        summary |= {f"accuracy_difference_{name}": hit - accuracy(one, y) for name, one in scored.items()}
        gaps = {p: np.abs(summary[f"loss_difference_p{p}"]) for p in ORDERS}
        summary |= {f"loss_gain_p{p}": np.log(gaps[2] / gaps[p]) for p in (3, 4)}
        summary |= {f"disagreement_p{p}": (classes(f[:, at]) != classes(outputs[p])).mean(axis=1) for p in ORDERS}
        moved = rms(limit - arrays["f0_test"], kept=1)
        change, fluctuation = distances[2][:, at] / moved, rms(outputs[2] - limit, kept=1) / moved
        return summary | {
            "classes_difference_p4": summary["disagreement_p2"] - summary["disagreement_p4"],
            "change": change,
            "fluctuation": fluctuation,
            "change_over_fluctuation": change / fluctuation,
            "change_dominates": np.log(change / fluctuation),
            "loss": loss,
            "accuracy": hit,
            "step_change": rms(arrays["f_coarse"] - f[:, at], kept=1),
            "distance_p4": distances[4][:, at],
            "tolerance": case.tolerance_at(width) * np.abs(arrays["residual_start"]).max(axis=(1, 2)),
        }

    def along(self, case: HierarchyGapCase) -> tuple[float, ...]:
        return case.times

    def violations(self, case: HierarchyGapCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = []
        for width, summary in summaries.items():
            distance, change = summary["distance_p4"], summary["step_change"]
            problems += unresolved(width, ORDERS[-1], distance, change, summary["tolerance"])
        return problems


def _regressed(f0: np.ndarray, kernel: np.ndarray, y: np.ndarray, case: HierarchyGapCase) -> np.ndarray:
    """Gradient flow from f0 (R, O) in the linear model of a kernel (R, n) that all outputs share, (T, R, O)."""
    start, times = f0.astype(float), np.asarray(case.times)
    each = [Expansion(start[:, o], kernel.astype(float)).integrate(y[:, o], times, case.tolerance) for o in range(y.shape[1])]
    return np.stack(each, axis=-1)


CLAIM = HierarchyGap()
