"""Regression with the kernel that training made: the changed kernel explains the gap (Fort et al. 2020, Long 2021).

The network's own NTK is taken at t = 0 and along training, and each of these kernels is a fixed one for a regression of its
own, from zero and on the same data. Were the gap due to the kernel's change alone, the kernel at the end of training would
predict as well as the network. What of the change comes from learning the task, and not from training at all, the kernel of a
network tells that was trained from the same initialization on permuted labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, KernelDescent, Train
from ntkbench.claims.cases import StrengthCase
from ntkbench.claims.generalization import (
    SMALLEST_EFFECT,
    STOPS,
    accuracy,
    chosen,
    chosen_scores,
    descent,
    empirical_calls,
    empirical_ntks,
)
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Paired

EARLY = (0.15, 0.45)
"""Shares of training time between which the kernel is said to have caught up with the network (Fort et al. 2020)."""
FITTED = 0.99
"""Share of training points, on average over networks, that the network is right about at the last recorded time."""
FORT = "fort2020deep, abstract"
LONG = "long2021properties, abstract"


@dataclass(frozen=True, kw_only=True)
class AfterKernelCase(StrengthCase):
    """Narrows the control; one recorded time must be early."""

    adjustable: ClassVar = StrengthCase.adjustable | {"times"}

    control: Literal["shuffled_images", "stopped"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = EARLY
        if not any(low * self.times[-1] <= t <= high * self.times[-1] for t in self.times):
            raise ValueError(f"times need one between {low:.0%} and {high:.0%} of the last, got {list(self.times)}")

    @property
    def early(self) -> int:
        """Of the recorded times the one nearest to the middle of `EARLY`."""
        return int(np.abs(np.array(self.times) / self.times[-1] - sum(EARLY) / 2).argmin())


def _above(
    name: str, statement: str, source: str, quantity: str, control: str = "shuffled_images", size: float = 0.0
) -> Paired:
    return Paired(
        name=name, statement=statement, source=source, quantity=quantity, control=control, sign=1, size=size, at="largest"
    )


class AfterKernel(Claim):
    """See `statement`."""

    id: ClassVar = "gap/after_kernel"
    title: ClassVar = "The changed kernel explains the gap"
    statement: ClassVar = (
        "Regression with the NTK that training has made is more accurate than with the NTK at initialization and explains the "
        "gap between that and the network; most of the gain comes early, and thereafter the kernel hardly changes."
    )
    source: ClassVar = "fort2020deep, abstract; long2021properties, abstract"
    reference_ids: ClassVar = ("FT-2", "FT-3", "LG-1", "HY-9")
    assumptions: ClassVar = (
        "Square loss, full-batch gradient descent from one initialization per split, all layers trained until the training "
        f"points are fitted (checked: {FITTED:.0%} of them at the last recorded time). The kernel of a network of several "
        "outputs is the mean of the kernels of each output with itself, and serves each output. All regressions begin at zero; "
        "their stop and the network's are those of least squared error on the same validation points."
    )
    controls: ClassVar = {
        "shuffled_images": (
            "kernels after t = 0 have the training images in a random order, so that each one's similarity to other images is "
            "taken for another's: the same as regression on permuted labels, at chance whatever training did to the kernel. It "
            "shows that differences of accuracy are seen, not that a kernel of another origin would fall short"
        ),
        "stopped": "training ends while the kernel still sets out, so that its velocity has not fallen",
    }
    quantities: ClassVar = {
        "accuracy": "test accuracy of the network",
        "accuracy_initial": "test accuracy of regression with the kernel at t = 0",
        "accuracy_after": "test accuracy of regression with the kernel at the last recorded time",
        "accuracy_permuted": "the same with that of the network that was trained on permuted labels",
        "gap_difference": "accuracy of the network minus that of the initial kernel",
        "gain": "accuracy of the kernel at the last recorded time minus that of the initial kernel",
        "gain_path": "accuracy of the kernel at each time minus that of the initial kernel",
        "gain_in_mse": "test mean squared error (summed over outputs) of the initial kernel minus that of the last one",
        "left_difference_path": "accuracy of the network minus that of the kernel at each time: the gap that is left",
        "explained_difference": "how much nearer in accuracy to the network the last kernel is than the initial one",
        "learned_difference": "accuracy_after minus accuracy_permuted",
        "early_difference": (
            f"gain at {EARLY[0]:.0%} to {EARLY[1]:.0%} of training minus half of the gain at the end, or the gain at the end, "
            "whichever has the smaller mean in units of its scatter over splits"
        ),
        "matched_difference": (
            "accuracy of the kernel at that time, plus one point, minus that of the network, or gap_difference minus one "
            "point, chosen alike"
        ),
        "change_path": "|K(t) - K(0)|_F / |K(0)|_F on training points",
        "velocity_path": "1 - cosine between the kernels at t' and at t, the next record, times t / (t - t')",
        "alignment_path": "cosine between the kernel at t and y y^T on training points",
        "velocity_fall": "log of the largest velocity before the last one over the last one",
        "train_accuracy": "share of training points that the network is right about at the last recorded time",
    }
    expectations: ClassVar = (
        _above("gain", "The kernel after training is more accurate than the kernel at initialization.", LONG, "gain"),
        _above(
            "gain_of_a_point",
            "The kernel after training is more accurate than the kernel at initialization, by more than one point.",
            LONG,
            "gain",
            size=SMALLEST_EFFECT,
        ),
        _above(
            "explained",
            "The kernel after training is nearer in accuracy to the network than the kernel at initialization.",
            f"huang2020dynamics, section 1; {FORT}",
            "explained_difference",
        ),
        _above(
            "learned",
            "The kernel after training is more accurate than that of a network trained on permuted labels.",
            f"{LONG} (read as an effect of the task, not of training alone)",
            "learned_difference",
        ),
        _above(
            "early",
            "There is a gain of the kernel, and more than half of it has come at 15% to 45% of training.",
            FORT,
            "early_difference",
        ),
        _above(
            "matched",
            "The kernel at initialization is more than one point less accurate than the network in the end, that at 15% to 45% "
            "of training at most one point.",
            FORT,
            "matched_difference",
        ),
        _above(
            "velocity",
            "After a transient the kernel's velocity per logarithm of time falls by more than a factor of three.",
            f"{FORT} (there per epoch, where it falls by more)",
            "velocity_fall",
            control="stopped",
            size=float(np.log(3)),
        ),
    )
    limitations: ClassVar = (
        "Small images and small networks, full-batch gradient descent without noise or momentum: the literature's kernels "
        "come from large networks trained by stochastic gradients, whose noise keeps them moving. Regression is stopped "
        "early in place of Long's maximal margin. Shares of training time depend on when training is said to end, here some "
        "time after all training points are fitted. `early` and `matched` each say two things, of which the one that is less "
        "sure is judged: where the kernel gains nothing, or never lagged, they are not supported, whatever the other one "
        "says. Until results were seen they did not ask for a gain and a lag. Intervals are over splits of one pool of "
        "images, which overlap, so that they speak of the average over splits of this pool. Networks that average over "
        "positions had fitted half of them at the end of a trial and are in the largest study only. Widths, steps, times, "
        "sizes and seeds were settled on trials with other draws; margins were fixed before any number was seen, but for "
        "what true labels add. In one of the trials the kernels of networks trained on permuted labels, meant as a negative "
        "control, gained as well: they became a question of their own, and shuffled images the control."
    )
    figure: ClassVar = (
        Panel(
            title="Gain of the kernel along training",
            kind="difference",
            quantities=("gain_path",),
            ylabel="gain of accuracy",
            where={},
        ),
        Panel(
            title="What is left of the gap",
            kind="difference",
            quantities=("left_difference_path",),
            ylabel="gap of accuracy left",
            where={},
        ),
        Panel(
            title="How much nearer to the network",
            kind="paired",
            quantities=("explained_difference",),
            ylabel="gap of accuracy closed",
            where={},
        ),
        Panel(
            title="Change of dense networks' kernels",
            kind="along",
            quantities=("change_path", "velocity_path", "alignment_path"),
            ylabel="change, velocity, alignment",
            where={"image": (None,)},
        ),
    )
    caption: ClassVar = (
        "Regression with the network's own NTK taken along training. (a) Its test accuracy minus that with the kernel at "
        "initialization; band: one point. (b) Accuracy of the network minus that of the kernel: where it reaches zero, the "
        "changed kernel explains the gap. (c) How much nearer to the network the last kernel is than the first, paired over "
        "splits, against width. (d) Change of the kernel since initialization, its velocity per logarithm of time, and its "
        "alignment with the targets. Grey: kernels with the training images in a random order."
    )
    labels: ClassVar = {"change": "change since t = 0", "velocity": "velocity", "alignment": "alignment with the labels"}
    case_type: ClassVar = AfterKernelCase
    growth: ClassVar = {
        # Outputs and kernels along training, in which rounding grows with time; a kernel's long descent enlarges it further.
        "f": 1e3,
        "f_test": 1e3,
        "kernel_test": 1e5,
        "permuted_test": 1e5,
        "change": 1e3,
        "velocity": 1e3,
        "alignment": 1e3,
    }

    def measure(self, backend: Backend, case: AfterKernelCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.architecture(width, output_dim=data.y.shape[-1])
        theta = net.initialize(root, range(case.seeds))
        flow, observe = case.flow(), ("f", "f_test", "theta")
        end: Flow = {**flow, "times": flow["times"][-1:]}
        trained = backend.train(net, theta, data.x, data.y, **flow, observe=observe, x_test=data.x_test)
        permuted = backend.train(net, theta, data.x, _permuted(data.y, root), **end, observe=("theta",))
        kernels, tested = [], []
        for k, at in enumerate((theta, *trained.parameters())):
            kernel, kernel_test = empirical_ntks(backend, net, at, data)
            if k > 0 and case.control == "shuffled_images":
                kernel, kernel_test = _shuffled(kernel, kernel_test, root)
            kernels.append(kernel)
            tested.append(descent(backend, kernel, kernel_test, data.y))
        return {
            "f": trained.observed("f")[:, -1],
            "f_test": trained.observed("f_test"),
            "kernel_test": np.stack(tested, axis=1),
            "permuted_test": descent(backend, *empirical_ntks(backend, net, permuted.parameters()[-1], data), data.y),
            **_changes(np.stack(kernels, axis=1), data.y, (0.0, *case.times)),
            "y": data.y,
            "y_test": data.y_test,
        }

    def calls(self, case: AfterKernelCase, width: int) -> tuple[Call, ...]:
        n, held_out, seeds, records = case.train_size, case.test_size, case.seeds, len(case.times)
        net = case.architecture(width, output_dim=data.SOURCES[case.dataset].output_dim)
        shared: dict[str, Any] = {"net": net, "seeds": seeds, "points": n}
        return (
            Draw(net=net, seeds=seeds),
            Train.along(case.flow(), **shared, observe=("f", "f_test", "theta"), test_points=held_out),
            Train.along(case.flow(), **shared, records=1, observe=("theta",)),
            *empirical_calls(case, net, held_out, records + 2, kept=False),
            KernelDescent(records + 2, batch=seeds, points=n, test_points=held_out, outputs=net.output_dim, records=len(STOPS)),
        )

    def summarize(self, case: AfterKernelCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        y, v = arrays["y_test"], case.validation_size
        network = accuracy(chosen(case, arrays["f_test"], y), y[:, v:])
        kernel, errors = chosen_scores(case, arrays["kernel_test"], y)
        initial, along = kernel[:, 0], kernel[:, 1:]
        permuted = accuracy(chosen(case, arrays["permuted_test"], y), y[:, v:])
        gain, velocity = along - initial[:, None], arrays["velocity"]
        with np.errstate(divide="ignore", invalid="ignore"):
            fall = np.log(velocity[:, :-1].max(axis=1) / velocity[:, -1])
        return {
            "accuracy": network,
            "accuracy_initial": initial,
            "accuracy_after": along[:, -1],
            "accuracy_permuted": permuted,
            "gap_difference": network - initial,
            "gain": gain[:, -1],
            "gain_path": gain,
            "gain_in_mse": errors[:, 0] - errors[:, -1],
            "left_difference_path": network[:, None] - along,
            "explained_difference": np.abs(network - initial) - np.abs(network - along[:, -1]),
            "learned_difference": along[:, -1] - permuted,
            "early_difference": _both(gain[:, case.early] - gain[:, -1] / 2, gain[:, -1]),
            "matched_difference": _both(along[:, case.early] + SMALLEST_EFFECT - network, network - initial - SMALLEST_EFFECT),
            "change_path": arrays["change"],
            "velocity_path": velocity,
            "alignment_path": arrays["alignment"][:, 1:],
            "velocity_fall": fall,
            "train_accuracy": accuracy(arrays["f"], arrays["y"]),
        }

    def along(self, case: AfterKernelCase) -> tuple[float, ...]:
        return case.times

    def violations(self, case: AfterKernelCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        if case.control == "stopped":
            return []
        fitted = {width: float(summary["train_accuracy"].mean()) for width, summary in summaries.items()}
        return [
            f"at width {width} training ends with {share:.1%} of the training points fitted; take later times"
            for width, share in fitted.items()
            if not share >= FITTED
        ]


def _both(*differences: np.ndarray) -> np.ndarray:
    """Of differences (S,) that are both said to be positive the one that is less surely so, NaN before all.

    They are then supported together or not at all (intersection-union test, Berger 1982); a contradiction, for which one
    suffices, errs at up to twice the level. The least difference of each seed would be negative by scatter alone.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        sure = [one.mean() / one.std() for one in differences]
    return differences[int(np.argmin(sure))]


def _orders(points: np.ndarray, root: int, what: str) -> np.ndarray:
    """An order of the second axis for each entry of the first."""
    seeds, n = points.shape[:2]
    return np.stack([rng(root, "after_kernel", what, "seed", s).permutation(n) for s in range(seeds)])


def _permuted(y: np.ndarray, root: int) -> np.ndarray:
    """The targets (S, n, O), each seed's among its points in an order of its own."""
    return np.take_along_axis(y, _orders(y, root, "permuted labels")[..., None], axis=1)


def _shuffled(kernel: np.ndarray, kernel_test: np.ndarray, root: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (S, n, n) and (S, h, n) with the training points in a random order."""
    order = _orders(kernel, root, "shuffled images")
    rows = np.take_along_axis(kernel, order[..., None], axis=1)
    return np.take_along_axis(rows, order[:, None], axis=2), np.take_along_axis(kernel_test, order[:, None], axis=2)


def _changes(kernels: np.ndarray, y: np.ndarray, times: tuple[float, ...]) -> Arrays:
    """How kernels (S, T + 1, n, n) at `times`, the first at t = 0, move, and how they are aligned with y (S, n, O).

    The velocity per logarithm of time, d/d(log t) = t d/dt, is that of a backward difference, which t = 0 allows.
    """
    norms = np.linalg.norm(kernels, axis=(-2, -1))
    change = np.linalg.norm(kernels[:, 1:] - kernels[:, :1], axis=(-2, -1)) / norms[:, :1]
    # From normalized kernels' difference, since 1 - cosine would lose the digits of a small one.
    units = kernels / norms[..., None, None]
    distance = ((units[:, 1:] - units[:, :-1]) ** 2).sum(axis=(-2, -1)) / 2
    t = np.array(times)
    gram = y @ y.transpose(0, 2, 1)
    cosine = np.einsum("stab,sab->st", units, gram) / np.linalg.norm(gram, axis=(-2, -1))[:, None]
    return {"change": change, "velocity": distance * t[1:] / np.diff(t), "alignment": cosine}


CLAIM = AfterKernel()
