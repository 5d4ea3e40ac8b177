"""Test images that are moved, turned or dimmed: what networks, their limiting NTK and their NTK after training make of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, KernelDescent, Train
from ntkbench.claims.cases import StrengthCase
from ntkbench.claims.generalization import (
    SMALLEST_EFFECT,
    accuracy,
    beyond_critical,
    chosen,
    critical_step,
    descent,
    empirical_calls,
    empirical_ntks,
    limiting_calls,
    limiting_ntks,
    lost_along,
    stops,
)
from ntkbench.data.images import PAIRS, transformed_test_points
from ntkbench.verdicts.expectations import Paired

PREDICTORS = {
    "network": "the network",
    "kernel": "regression with the limiting NTK",
    "initial": "regression with the NTK of the network before training",
    "after": "regression with the NTK of the network at its last recorded time",
}
HARDLY = 0.02
"""What the control leaves of the amounts."""
IMAGES = ("digits", "digits_parity", "fashion_mnist", *PAIRS)


def transformed(images: np.ndarray, transformation: str, amount: float) -> np.ndarray:
    """Square images (N, d), one channel and a dark frame of zeros around them.

    Args:
        transformation: `shift`, to the right by `amount` pixels; `rotation`, by `amount` degrees about the centre; `dimming`,
            which takes the share `amount` of the brightness. Between pixels values are interpolated linearly.
    """
    if transformation == "dimming":
        return (1 - amount) * images
    # Every process that knows the claims loads this module.
    from scipy import ndimage

    side = round(np.sqrt(images.shape[1]))
    square = images.reshape(-1, side, side)
    if transformation == "shift":
        moved = ndimage.shift(square, (0, 0, amount), order=1, mode="constant")
    else:
        moved = ndimage.rotate(square, amount, axes=(1, 2), reshape=False, order=1, mode="constant")
    return np.asarray(moved).reshape(images.shape)


@dataclass(frozen=True, kw_only=True)
class DistributionShiftCase(StrengthCase):
    """Training and validation images are as they are; test images are transformed.

    Attributes:
        transformation: see `transformed`.
        amounts: of it, from 0, increasing; pixels, degrees or shares of the brightness below 1.
    """

    transformation: Literal["shift", "rotation", "dimming"]
    amounts: tuple[float, ...]
    control: Literal["hardly"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.amounts) < 2 or self.amounts[0] != 0 or any(b <= a for a, b in pairwise(self.amounts)):
            raise ValueError(f"amounts must be two or more, begin with 0 and increase, got {list(self.amounts)}")
        if self.transformation == "dimming" and self.amounts[-1] >= 1:
            raise ValueError(f"amounts of dimming must stay below 1, where images are black, got {self.amounts[-1]}")
        if self.dataset not in IMAGES:
            raise ValueError(f"dataset {self.dataset!r} is not transformed: choose one of {', '.join(IMAGES)}")


def _lost(transformation: str, title: str) -> Panel:
    return Panel(
        title=title,
        kind="difference",
        quantities=tuple(f"lost_difference_{p}_path" for p in PREDICTORS),
        ylabel="test accuracy lost",
        where={"transformation": (transformation,)},
    )


class DistributionShift(Claim):
    """See `statement`."""

    id: ClassVar = "gap/distribution_shift"
    title: ClassVar = "Shifted images cost networks and kernels differently"
    statement: ClassVar = (
        "When test images are moved or turned, regression with the network's NTK after training loses less accuracy than with "
        "its NTK at initialization, and the network and regression with its limiting NTK lose different amounts."
    )
    source: ClassVar = "long2021properties, abstract; huang2020dynamics, section 1"
    reference_ids: ClassVar = ("LG-3", "HY-9")
    assumptions: ClassVar = (
        "NTK parametrization or, with a strength, mean-field; square loss, all layers trained by full-batch gradient descent, "
        "networks and kernels with one learning rate, below the critical one of every kernel that is used (checked). All "
        "predictors are stopped by one rule, at the same times, on validation images that are not transformed, since who "
        "trains does not know of the shift. Test images are transformed as they are in the file, then centred by the training "
        "images and scaled as those are."
    )
    controls: ClassVar = {"hardly": f"{HARDLY:g} of the amounts: images that are hardly transformed cost nobody anything"}
    quantities: ClassVar = {
        **{f"accuracy_{p}_path": f"test accuracy of {text} at each amount" for p, text in PREDICTORS.items()},
        **{
            f"lost_difference_{p}_path": f"accuracy_{p}_path without transformation minus that at each amount"
            for p in PREDICTORS
        },
        **{f"lost_{p}": f"accuracy lost at the largest amount by {text}" for p, text in PREDICTORS.items()},
        "invariance_difference": "lost_initial minus lost_after: above zero training made the kernel less sensitive",
        "degradation_difference": "lost_network minus lost_kernel: above zero the network is the more sensitive one",
        "critical_step": "learning rate above which descent on a kernel's linear model diverges, least of all kernels used",
    }
    expectations: ClassVar = (
        Paired(
            name="invariance_difference",
            statement="Moved or turned images cost regression with the NTK less accuracy after training than before.",
            source="long2021properties, abstract (the kernel's invariance, read as accuracy)",
            quantity="invariance_difference",
            control="hardly",
            where={"transformation": ("shift", "rotation")},
            sign=1,
            size=SMALLEST_EFFECT,
            at="smallest",
        ),
        Paired(
            name="degradation_difference",
            statement="Transformed images cost the network and NTK regression different amounts of accuracy.",
            source="huang2020dynamics, section 1 (that they perform differently, no source gives the sign under shift)",
            quantity="degradation_difference",
            control="hardly",
            sign=0,
            size=SMALLEST_EFFECT,
            at="smallest",
        ),
    )
    limitations: ClassVar = (
        "All test images move alike, to the right or in one sense of rotation only; accuracy is judged, not the kernel's own "
        "invariance, of which the source speaks. Judged at the smallest width, where training changes the kernel most. Small "
        "images, of which a pixel is a large part; networks without augmentation. Neither networks nor kernels are checked to "
        "have ended at the last time, which is the same for all; a kernel that has grown in training descends faster, which "
        "is part of what is compared. Only the number of steps is chosen on validation, neither learning rate nor ridge. "
        "Intervals are over splits of one pool of images, which overlap: they speak of the average over splits of this pool."
    )
    figure: ClassVar = (
        _lost("shift", "Accuracy lost by pixels"),
        _lost("rotation", "Accuracy lost by degrees"),
        _lost("dimming", "Accuracy lost by share of brightness"),
        Panel(
            title="Initial kernel minus that after",
            kind="paired",
            quantities=("invariance_difference",),
            ylabel="difference of accuracy lost",
            where={"transformation": ("shift", "rotation")},
        ),
        Panel(
            title="Network minus kernel",
            kind="paired",
            quantities=("degradation_difference",),
            ylabel="difference of accuracy lost",
            where={},
        ),
    )
    caption: ClassVar = (
        "Test accuracy lost as test images are (a) moved, (b) turned or (c) dimmed more, by networks and by regression "
        "with the limiting NTK, with the NTK before and after training; points of one amount stand side by side. At the "
        "largest amount and paired over splits: (d) what the NTK at initialization loses minus what the NTK after "
        "training loses, above zero where training has made the kernel less sensitive, and (e) what the network loses "
        "minus what the limiting NTK loses. Grey: the control, hardly transformed."
    )
    labels: ClassVar = {
        "lost_difference_network": "network",
        "lost_difference_kernel": "limiting NTK",
        "lost_difference_initial": "NTK before training",
        "lost_difference_after": "NTK after training",
    }
    case_type: ClassVar = DistributionShiftCase
    axis: ClassVar = "amount of the transformation"
    growth: ClassVar = {"network": 1e3, "kernel": 1e4, "initial": 1e4, "after": 1e5, "critical_step": 1e3}

    def prepare(self, case: DistributionShiftCase, root: int) -> data.Dataset:
        """The test points' images follow one another, one set for each amount; their labels stand there once."""
        plain = case.load(root)
        sizes = {"train_size": case.train_size, "test_size": case.test_size, "root": root, "splits": case.seeds}
        held_out = [plain.x_test]
        for amount in case.amounts[1:]:
            true = HARDLY * amount if case.control == "hardly" else amount

            def transform(images: np.ndarray, true: float = true) -> np.ndarray:
                return transformed(images, case.transformation, true)

            held_out.append(transformed_test_points(case.dataset, transform, **sizes)[:, case.validation_size :])
        return data.Dataset(plain.x, plain.y, np.concatenate(held_out, axis=1), plain.y_test)

    def measure(self, backend: Backend, case: DistributionShiftCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.architecture(width, output_dim=data.y.shape[-1])
        theta = net.initialize(root, range(case.seeds))
        x, y, x_test = data.x, data.y, data.x_test
        trained = backend.train(net, theta, x, y, **case.flow(), observe=("f_test", "theta"), x_test=x_test)
        kernels = {
            "kernel": limiting_ntks(backend, net, data),
            "initial": empirical_ntks(backend, net, theta, data),
            "after": empirical_ntks(backend, net, trained.parameters()[-1], data),
        }
        alike: dict[str, Any] = {"step": case.step, "counts": stops(case)}
        return {name: descent(backend, *pair, y, **alike) for name, pair in kernels.items()} | {
            "network": trained.observed("f_test"),
            "y_test": data.y_test,
            "critical_step": np.min([critical_step(kernel) for kernel, _ in kernels.values()], axis=0),
        }

    def calls(self, case: DistributionShiftCase, width: int) -> tuple[Call, ...]:
        net = case.architecture(width, output_dim=data.SOURCES[case.dataset].output_dim)
        n, seeds = case.train_size, case.seeds
        held_out = case.validation_size + len(case.amounts) * (case.test_size - case.validation_size)
        return (
            Draw(net=net, seeds=seeds),
            Train.along(case.flow(), net=net, seeds=seeds, points=n, observe=("f_test", "theta"), test_points=held_out),
            *empirical_calls(case, net, held_out, 2),
            *limiting_calls(case, net, width, held_out),
            KernelDescent(3, batch=seeds, points=n, test_points=held_out, outputs=net.output_dim, records=len(case.times)),
        )

    def summarize(self, case: DistributionShiftCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        y = arrays["y_test"]
        y_test = y[:, case.validation_size :]
        summary: dict[str, np.ndarray] = {}
        for predictor in PREDICTORS:
            outputs = chosen(case, arrays[predictor], y)
            by_amount = outputs.reshape(len(outputs), len(case.amounts), *y_test.shape[1:])
            summary |= lost_along(predictor, accuracy(by_amount, y_test))
        summary["invariance_difference"] = summary["lost_initial"] - summary["lost_after"]
        summary["degradation_difference"] = summary["lost_network"] - summary["lost_kernel"]
        return summary | {"critical_step": arrays["critical_step"]}

    def along(self, case: DistributionShiftCase) -> tuple[float, ...]:
        return case.amounts

    def violations(self, case: DistributionShiftCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        return beyond_critical(case, summaries)


CLAIM = DistributionShift()
