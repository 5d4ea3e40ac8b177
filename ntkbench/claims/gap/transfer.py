"""The NTK of a network trained on one task, used for another (Long 2021; Radhakrishnan et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, KernelDescent, LimitingKernels, Train
from ntkbench.claims.cases import NestedCase, ValidationCase
from ntkbench.claims.generalization import (
    SMALLEST_EFFECT,
    beyond_critical,
    chosen_scores,
    critical_step,
    descent,
    empirical_calls,
    empirical_ntks,
    limiting_calls,
    limiting_ntks,
    stops,
)
from ntkbench.data.images import PAIRS
from ntkbench.verdicts.expectations import Paired

SCRATCH = {
    "initial": "regression with the NTK of the same network before it was trained",
    "kernel": "regression with the limiting NTK",
    "network": "a network trained on the target task from the same initialization",
}
PREDICTORS = {"source": "regression with the NTK of a network trained on the source task", **SCRATCH}


@dataclass(frozen=True, kw_only=True)
class TransferCase(ValidationCase, NestedCase):
    """The target task is `dataset`, of which `train_size` points train at most; every seed has its own splits and network.

    Attributes:
        source_dataset: the source task, two other classes of images of the same kind.
        source_size: its training points.
    """

    source_dataset: str
    source_size: int
    control: Literal["permuted_source"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (self.dataset, self.source_dataset):
            if name not in PAIRS:
                raise ValueError(f"dataset {name!r} is no pair of classes: choose one of {', '.join(PAIRS)}")
        if data.SOURCES[self.source_dataset].input_dim != self.input_dim:
            raise ValueError(
                f"source_dataset {self.source_dataset!r} has other images than dataset {self.dataset!r}: take others"
            )
        if shared := set(PAIRS[self.dataset]) & set(PAIRS[self.source_dataset]):
            raise ValueError(f"source_dataset {self.source_dataset!r} has class {min(shared)} of {self.dataset!r}: take others")
        data.check(self.source_dataset, self.source_size)


def _better(than: str, source: str) -> Paired:
    return Paired(
        name=f"over_{than}",
        statement=(
            "On a related task with few training points, regression with the NTK of a network trained on the source task is "
            f"more accurate than {SCRATCH[than]}, by more than a point on average over the numbers of points."
        ),
        source=source,
        quantity=f"accuracy_difference_{than}",
        control="permuted_source",
        sign=1,
        size=SMALLEST_EFFECT,
    )


class Transfer(Claim):
    """See `statement`."""

    id: ClassVar = "gap/transfer"
    title: ClassVar = "A trained network's NTK serves a related task"
    statement: ClassVar = (
        "The NTK of a network trained on one pair of classes predicts another pair, of which few images are given, better than "
        "the network's NTK at initialization, than the limiting NTK and than a network trained on these images alone."
    )
    source: ClassVar = "long2021properties, abstract; radhakrishnan2023transfer, abstract"
    reference_ids: ClassVar = ("LG-1", "RA-1")
    assumptions: ClassVar = (
        "NTK parametrization, square loss, all layers trained by full-batch gradient descent, networks and kernels with one "
        "learning rate, below the critical one of every kernel that is used and of the limiting NTK on the source task "
        "(checked). Source and target are pairs of different classes, so that no image is in both, each centred by its own "
        "training images. All predictors see the same target images and are stopped by one rule, at the same times, on the "
        "same validation images, which are more than the training images where these are few."
    )
    controls: ClassVar = {
        "permuted_source": "the labels of the source task are permuted: the NTK changes, but there is no task to learn from"
    }
    quantities: ClassVar = {
        **{f"accuracy_{p}_path": f"test accuracy on the target task of {text}" for p, text in PREDICTORS.items()},
        **{f"accuracy_difference_{p}_path": f"accuracy_source_path minus accuracy_{p}_path" for p in SCRATCH},
        **{f"accuracy_difference_{p}": f"mean of accuracy_difference_{p}_path over numbers of target points" for p in SCRATCH},
        "change": "|K_source - K_initial|_F / |K_initial|_F on the target's training points",
        "source_error": "mean squared error of the trained network on its own training points of the source task",
        "critical_step": "learning rate above which descent on a kernel's linear model diverges, least of all kernels",
    }
    expectations: ClassVar = (
        _better("initial", "long2021properties, abstract (there on the network's own task)"),
        _better("kernel", "radhakrishnan2023transfer, abstract (there for kernels trained on the source task)"),
        _better(
            "network", "radhakrishnan2023transfer, abstract (that transfer beats training on the target, there of kernels)"
        ),
    )
    limitations: ClassVar = (
        "Pairs of classes of small images, one source and one target at a time. Neither source states the claim in this form: "
        "one compares kernels on the network's own task, the other transfers kernel machines and not NTKs of trained "
        "networks. Validation points outnumber the training points at the small end, for all predictors alike. The network on "
        "the target starts from the initialization; one that starts from the source task's parameters is not compared. "
        "Neither networks nor kernels are checked to have ended at the last time, which is the same for all; a kernel that "
        "has grown in training descends faster, which is part of what is compared. Only the number of steps is chosen on "
        "validation, neither learning rate nor ridge. Intervals are over splits of one pool of images, which overlap: they "
        "speak of the average over splits of this pool. In a trial with other draws, sixteen of them and mean-field networks "
        "of feature strength 4, the source kernel gained 1.4 points over the initial one, and so did the control (1.5): the "
        "change of the kernel helped, the source labels did not. Such networks are left out, since their control vouches for "
        "nothing."
    )
    figure: ClassVar = (
        Panel(
            title="Source kernel minus from scratch",
            kind="difference",
            quantities=tuple(f"accuracy_difference_{p}_path" for p in SCRATCH),
            ylabel="accuracy difference",
            where={},
        ),
        Panel(
            title="The same by width",
            kind="paired",
            quantities=tuple(f"accuracy_difference_{p}" for p in SCRATCH),
            ylabel="accuracy difference",
            where={},
        ),
    )
    caption: ClassVar = (
        "Test accuracy on the target task of regression with the NTK of a network trained on the source task, minus that of "
        "regression with its NTK at initialization, of regression with the limiting NTK, and of a network trained on the "
        "target task alone, paired over splits: (a) by the number of target images, at the largest width, (b) averaged over "
        "these numbers, by width; above zero the source task has helped. Grey: the control, with permuted source labels."
    )
    labels: ClassVar = {
        "accuracy_difference_initial": "less NTK at initialization",
        "accuracy_difference_kernel": "less limiting NTK",
        "accuracy_difference_network": "less network on the target",
    }
    case_type: ClassVar = TransferCase
    axis: ClassVar = "training points of the target task"
    growth: ClassVar = {
        "network": 1e3,
        "source": 1e5,
        "initial": 1e4,
        "kernel": 1e4,
        "source_kernel": 1e3,
        "f_source": 1e3,
        "critical_step": 1e3,
    }

    def measure(self, backend: Backend, case: TransferCase, data: data.Dataset, width: int, root: int) -> Arrays:
        task = self._source_task(case, root)
        net = case.architecture(width)
        theta = net.initialize(root, range(case.seeds))
        trained = backend.train(net, theta, task.x, task.y, **case.flow(), observe=("f", "theta"))
        x, x_test = data.x, data.x_test
        kernels = {
            "source": empirical_ntks(backend, net, trained.parameters()[-1], data),
            "initial": empirical_ntks(backend, net, theta, data),
            "kernel": limiting_ntks(backend, net, data),
        }
        alike: dict[str, Any] = {"step": case.step, "counts": stops(case)}
        found: dict[str, list[np.ndarray]] = {name: [] for name in PREDICTORS}
        for n in case.sizes:
            for name, (kernel, kernel_test) in kernels.items():
                found[name].append(descent(backend, kernel[:, :n, :n], kernel_test[:, :, :n], data.y[:, :n], **alike))
            alone = backend.train(net, theta, x[:, :n], data.y[:, :n], **case.flow(), observe=("f_test",), x_test=x_test)
            found["network"].append(alone.observed("f_test"))
        of_source = np.stack([backend.limiting_kernels(net, one)[1] for one in task.x])
        descended = (of_source, *(kernel[:, :n, :n] for kernel, _ in kernels.values() for n in case.sizes))
        return {name: np.stack(outputs, axis=1) for name, outputs in found.items()} | {
            "source_kernel": kernels["source"][0],
            "initial_kernel": kernels["initial"][0],
            "f_source": trained.observed("f")[:, -1],
            "y_source": task.y,
            "y_test": data.y_test,
            "critical_step": np.min([critical_step(kernel) for kernel in descended], axis=0),
        }

    @staticmethod
    def _source_task(case: TransferCase, root: int) -> data.Dataset:
        return data.load(
            case.source_dataset,
            train_size=case.source_size,
            input_dim=case.input_dim,
            root=root,
            splits=case.seeds,
            permute_labels=case.control == "permuted_source",
        )

    def calls(self, case: TransferCase, width: int) -> tuple[Call, ...]:
        net = case.architecture(width)
        held_out, seeds = case.test_size, case.seeds
        trained = partial(Train.along, case.flow(), net=net, seeds=seeds)
        regressed = partial(KernelDescent, 3, batch=seeds, test_points=held_out, outputs=1, records=len(case.times))
        return (
            Draw(net=net, seeds=seeds),
            trained(points=case.source_size, observe=("f", "theta")),
            *empirical_calls(case, net, held_out, 2),
            *limiting_calls(case, net, width, held_out),
            LimitingKernels(seeds, net=net, rows=case.source_size),
            *(trained(points=k, observe=("f_test",), test_points=held_out) for k in case.sizes),
            *(regressed(points=k) for k in case.sizes),
        )

    def summarize(self, case: TransferCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        scores = {name: chosen_scores(case, arrays[name], arrays["y_test"]) for name in PREDICTORS}
        summary = {f"accuracy_{name}_path": by_size for name, (by_size, _) in scores.items()}
        for name in SCRATCH:
            path = summary["accuracy_source_path"] - summary[f"accuracy_{name}_path"]
            summary[f"accuracy_difference_{name}_path"] = path
            summary[f"accuracy_difference_{name}"] = path.mean(axis=1)
        before = arrays["initial_kernel"]
        moved = np.linalg.norm(arrays["source_kernel"] - before, axis=(1, 2))
        summary["change"] = moved / np.linalg.norm(before, axis=(1, 2))
        summary["source_error"] = ((arrays["f_source"] - arrays["y_source"]) ** 2).sum(axis=-1).mean(axis=-1)
        return summary | {"critical_step": arrays["critical_step"]}

    def along(self, case: TransferCase) -> tuple[float, ...]:
        return tuple(map(float, case.sizes))

    def violations(self, case: TransferCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        return beyond_critical(case, summaries)


CLAIM = Transfer()
