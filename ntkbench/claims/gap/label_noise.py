"""Wrong training labels: what they cost networks, their limiting NTK and the NTK after training (Li et al. 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, KernelDescent, Train
from ntkbench.claims.cases import ValidationCase
from ntkbench.claims.generalization import (
    SMALLEST_EFFECT,
    accuracy,
    beyond_critical,
    chosen,
    classes,
    critical_step,
    descent,
    empirical_calls,
    empirical_ntks,
    limiting_calls,
    limiting_ntks,
    lost_along,
    stops,
)
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Paired

PREDICTORS = {
    "network": "the network",
    "kernel": "regression with the limiting NTK",
    "after": "regression with the NTK of the network at its last recorded time",
}
MISFIT = 0.05
"""Share of the given training labels that a network trained to the end may still get wrong."""
WEAKENED = 0.9
"""What the control leaves of the chosen points' targets."""


@dataclass(frozen=True, kw_only=True)
class LabelNoiseCase(ValidationCase):
    """Every seed has a split, a network and an order in which labels become wrong of its own.

    Attributes:
        shares: of wrong labels among training and validation points, from 0, increasing.
    """

    shares: tuple[float, ...]
    control: Literal["truthful"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shares) < 2 or self.shares[0] != 0 or any(b <= a for a, b in pairwise(self.shares)):
            raise ValueError(f"shares must be two or more, begin with 0 and increase, got {list(self.shares)}")
        source = data.SOURCES.get(self.dataset)
        number = 2 if source is None else max(2, source.output_dim)
        if self.shares[-1] >= 1 - 1 / number:
            chance = f"{1 - 1 / number:g}, where labels of {number} classes tell nothing"
            raise ValueError(f"shares must stay below {chance}, got {self.shares[-1]}")


def corrupted(y: np.ndarray, share: float, root: int, part: str, weakened: bool = False) -> np.ndarray:
    """Targets (S, n, O) of which each seed's first `round(share n)` points, in a random order, are of another class.

    A larger share keeps the wrong labels of a smaller one. Every other class is as likely; with one output the sign changes.
    `weakened` shrinks these points' targets by `WEAKENED` and leaves them in their class.
    """
    found = y.copy()
    for s, targets in enumerate(found):
        n, outputs = targets.shape
        draw = rng(root, "label noise", part, "split", s)
        order, turns = draw.permutation(n), draw.integers(1, max(2, outputs), size=n)
        points = order[: round(share * n)]
        if weakened:
            targets[points] *= WEAKENED
        elif outputs == 1:
            targets[points] *= -1
        else:
            turned = (np.arange(outputs) - turns[points, None]) % outputs
            targets[points] = np.take_along_axis(targets[points], turned, axis=1)
    return found


def _protects(predictor: str, whose: str, source: str) -> Paired:
    return Paired(
        name=f"stopping_{predictor}",
        statement=f"Stopped on validation labels as noisy, {whose} loses less test accuracy to wrong labels than at the end.",
        source=source,
        quantity=f"protection_difference_{predictor}",
        control="truthful",
        sign=1,
        size=SMALLEST_EFFECT,
    )


def _differ(name: str, statement: str, source: str) -> Paired:
    return Paired(
        name=name,
        statement=statement,
        source=source,
        quantity=name,
        control="truthful",
        sign=0,
        size=SMALLEST_EFFECT,
        at="smallest",
    )


class LabelNoise(Claim):
    """See `statement`."""

    id: ClassVar = "gap/label_noise"
    title: ClassVar = "Wrong labels cost networks and kernels differently"
    statement: ClassVar = (
        "As the share of wrong training labels grows, early stopping protects networks and NTK regression alike, and the "
        "network, regression with its limiting NTK and regression with its NTK after training lose different amounts of test "
        "accuracy."
    )
    source: ClassVar = "li2020gradient, abstract; hu2020simple, abstract; lee2020finite, on diagonal regularization"
    reference_ids: ClassVar = ("LI-1", "HU-1", "FI-6", "LG-1", "HY-9")
    assumptions: ClassVar = (
        "NTK parametrization, square loss, all layers trained by full-batch gradient descent, networks and kernels with one "
        "learning rate, below the critical one of every kernel that is used (checked). Symmetric noise: every other class is "
        "as likely. Labels of validation points come from the same source as those of training points and are wrong as often, "
        "as in practice, where nobody has clean ones; test labels are true. Networks and kernels see the same labels, begin "
        "at zero where the initialization is antisymmetric, and are stopped by the same rule, at the same times; the end is "
        f"the last of these, for kernels too. At the end networks get at most {MISFIT:.0%} of the training labels that they "
        "were given wrong (checked)."
    )
    controls: ClassVar = {
        "truthful": f"the same points' targets shrink to {WEAKENED:g} of themselves and stay in their class: no label is wrong"
    }
    quantities: ClassVar = {
        **{f"accuracy_{p}_path": f"test accuracy of {text}, stopped on validation" for p, text in PREDICTORS.items()},
        **{f"accuracy_{p}_final_path": f"test accuracy of {text}, at the end" for p, text in PREDICTORS.items()},
        **{f"lost_difference_{p}_path": f"accuracy_{p}_path at share 0 minus that at each share" for p in PREDICTORS},
        **{f"lost_difference_{p}_final_path": f"the same of accuracy_{p}_final_path" for p in PREDICTORS},
        **{f"lost_{p}": f"accuracy lost from share 0 to the largest by {text}, stopped" for p, text in PREDICTORS.items()},
        **{f"lost_{p}_final": f"the same of {text}, at the end" for p, text in PREDICTORS.items()},
        **{f"protection_difference_{p}": f"lost_{p}_final minus lost_{p}" for p in PREDICTORS},
        "degradation_difference": "lost_network minus lost_kernel: above zero the network loses more",
        "degradation_difference_final": "lost_network_final minus lost_kernel_final",
        "degradation_difference_after": "lost_after minus lost_kernel",
        "degradation_difference_after_final": "lost_after_final minus lost_kernel_final",
        "misfit": "share of given training labels that the network gets wrong at the end, largest over the shares",
        "critical_step": "learning rate above which descent on a kernel's linear model diverges, least of all kernels used",
    }
    expectations: ClassVar = (
        _protects("network", "the network", "li2020gradient, abstract"),
        _protects("kernel", "NTK regression", "hu2020simple, abstract; lee2020finite, on diagonal regularization"),
        _differ(
            "degradation_difference",
            "Stopped early, network and NTK regression lose different amounts of accuracy to wrong labels.",
            "huang2020dynamics, section 1 (that they perform differently, no source gives the sign under noise)",
        ),
        _differ(
            "degradation_difference_final",
            "At the end of training, network and NTK regression lose different amounts of accuracy to wrong labels.",
            "huang2020dynamics, section 1 (that they perform differently, no source gives the sign under noise)",
        ),
        _differ(
            "degradation_difference_after",
            "Stopped early, regression with the NTK after training and with its limit lose different amounts of accuracy.",
            "long2021properties, abstract (that the kernel after training performs differently, nothing on noise)",
        ),
    )
    limitations: ClassVar = (
        "Symmetric noise only, which is kinder than confusions of similar classes; small images, some hundred training "
        "points. The kernel after training is that of the network at the end, which has fitted the wrong labels; that of a "
        "network stopped early may be better. Differences between predictors are judged at the smallest width, where training "
        "changes the kernel most. At equal times kernels need not have fitted their labels when networks have, and a kernel "
        "that has grown in training descends faster: both are part of what is compared. Only the number of steps is chosen on "
        "validation, neither learning rate nor ridge. Intervals are over splits of one pool of images, which overlap: they "
        "speak of the average over splits of this pool. With as many wrong labels on validation points as on training points, "
        "the choice of when to stop is itself noisy. A sign is a result for these data and sizes, not a law. In trials with "
        "other draws the control halved targets, which does cost accuracy: it takes a tenth now. With twice the points the "
        "network, stopped early, lost 4 points more to noise than its kernel, but had not fitted its labels at the end; "
        "numbers of points, widths and shares were lowered then."
    )
    figure: ClassVar = (
        Panel(
            title="Accuracy lost, stopped early",
            kind="difference",
            quantities=tuple(f"lost_difference_{p}_path" for p in PREDICTORS),
            ylabel="test accuracy lost",
            where={},
        ),
        Panel(
            title="Accuracy lost at the end",
            kind="difference",
            quantities=tuple(f"lost_difference_{p}_final_path" for p in PREDICTORS),
            ylabel="test accuracy lost",
            where={},
        ),
        Panel(
            title="Network minus kernel",
            kind="paired",
            quantities=("degradation_difference", "degradation_difference_final", "degradation_difference_after"),
            ylabel="difference of accuracy lost",
            where={},
        ),
    )
    caption: ClassVar = (
        "(a) Test accuracy lost as the share of wrong training labels grows, by networks, regression with the limiting NTK "
        "and regression with the NTK after training, each stopped on validation labels that are wrong as often. (b) The same "
        "without stopping: networks and kernels at the last recorded time. (c) Accuracy lost at the largest share by the "
        "network, and by the kernel after training, minus that by the limiting NTK, paired over splits: above zero the "
        "limiting NTK is more robust. Grey: the control, in which labels are weakened but not wrong."
    )
    labels: ClassVar = {
        f"lost_difference_{name}{ending}": words
        for name, words in (("network", "network"), ("kernel", "limiting NTK"), ("after", "NTK after training"))
        for ending in ("", "_final")
    } | {
        "degradation_difference": "network, stopped early",
        "degradation_difference_final": "network, at the end",
        "degradation_difference_after": "NTK after training",
    }
    case_type: ClassVar = LabelNoiseCase
    axis: ClassVar = "share of wrong labels"
    growth: ClassVar = {"network": 1e3, "network_train": 1e3, "kernel": 1e4, "after": 1e5, "critical_step": 1e3}

    def measure(self, backend: Backend, case: LabelNoiseCase, data: data.Dataset, width: int, root: int) -> Arrays:
        outputs, v, weakened = data.y.shape[-1], case.validation_size, case.control == "truthful"
        net = case.architecture(width, output_dim=outputs)
        theta = net.initialize(root, range(case.seeds))
        alike: dict[str, Any] = {"step": case.step, "counts": stops(case)}
        limits, limits_test = limiting_ntks(backend, net, data)
        networks, fitted, afters, labels = [], [], [], []
        critical = [critical_step(limits)]
        for share in case.shares:
            y = corrupted(data.y, share, root, "train", weakened)
            observe = ("f", "f_test", "theta")
            trained = backend.train(net, theta, data.x, y, **case.flow(), observe=observe, x_test=data.x_test)
            networks.append(trained.observed("f_test"))
            fitted.append(trained.observed("f")[:, -1])
            kernel, kernel_test = empirical_ntks(backend, net, trained.parameters()[-1], data)
            afters.append(descent(backend, kernel, kernel_test, y, **alike))
            critical.append(critical_step(kernel))
            labels.append(y)
        # One eigendecomposition serves the labels of all shares, side by side as outputs.
        regressed = descent(backend, limits, limits_test, np.concatenate(labels, axis=-1), **alike)
        validation = [corrupted(data.y_test[:, :v], share, root, "validation", weakened) for share in case.shares]
        return {
            "network": np.stack(networks, axis=1),
            "network_train": np.stack(fitted, axis=1),
            "kernel": np.stack(np.split(regressed, len(case.shares), axis=-1), axis=1),
            "after": np.stack(afters, axis=1),
            "y_train": np.stack(labels, axis=1),
            "y_validation": np.stack(validation, axis=1),
            "y_test": data.y_test[:, v:],
            "critical_step": np.min(critical, axis=0),
        }

    def calls(self, case: LabelNoiseCase, width: int) -> tuple[Call, ...]:
        net = case.architecture(width, output_dim=data.SOURCES[case.dataset].output_dim)
        n, held_out, seeds, shares = case.train_size, case.test_size, case.seeds, len(case.shares)
        networks: dict[str, Any] = {"net": net, "seeds": seeds}
        observed: dict[str, Any] = {"observe": ("f", "f_test", "theta"), "test_points": held_out}
        sizes = {"batch": seeds, "points": n, "test_points": held_out, "records": len(case.times)}
        return (
            Draw(**networks),
            Train.along(case.flow(), shares, **networks, points=n, **observed),
            *empirical_calls(case, net, held_out, shares),
            *limiting_calls(case, net, width, held_out),
            KernelDescent(shares, outputs=net.output_dim, **sizes),
            KernelDescent(outputs=shares * net.output_dim, **sizes),
        )

    def summarize(self, case: LabelNoiseCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        y_test, v = arrays["y_test"], case.validation_size
        summary: dict[str, np.ndarray] = {}
        for predictor in PREDICTORS:
            stopped, final = [], []
            for k in range(len(case.shares)):
                candidates = arrays[predictor][:, k]
                held_out = np.concatenate([arrays["y_validation"][:, k], y_test], axis=1)
                stopped.append(accuracy(chosen(case, candidates, held_out), y_test))
                final.append(accuracy(candidates[:, -1, v:], y_test))
            summary |= lost_along(predictor, np.stack(stopped, axis=1))
            summary |= lost_along(f"{predictor}_final", np.stack(final, axis=1))
            summary[f"protection_difference_{predictor}"] = summary[f"lost_{predictor}_final"] - summary[f"lost_{predictor}"]
        for end in ("", "_final"):
            summary[f"degradation_difference{end}"] = summary[f"lost_network{end}"] - summary[f"lost_kernel{end}"]
            summary[f"degradation_difference_after{end}"] = summary[f"lost_after{end}"] - summary[f"lost_kernel{end}"]
        wrong = classes(arrays["network_train"]) != classes(arrays["y_train"])
        return summary | {"misfit": wrong.mean(axis=-1).max(axis=-1), "critical_step": arrays["critical_step"]}

    def along(self, case: LabelNoiseCase) -> tuple[float, ...]:
        return case.shares

    def violations(self, case: LabelNoiseCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = beyond_critical(case, summaries)
        for width, summary in summaries.items():
            if not (misfit := float(summary["misfit"].mean())) <= MISFIT:
                problems.append(
                    f"at width {width} networks get {misfit:.0%} of their training labels wrong at the end: take later times"
                )
        return problems


CLAIM = LabelNoise()
