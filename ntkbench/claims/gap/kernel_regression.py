"""Finite networks and kernel regression with the limiting NTK differ, and the difference goes to zero with width."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel, TrainingCase
from ntkbench.claims.calls import Call, Draw, Forward, KernelDescent, LimitingKernels, Solve, Train, steps
from ntkbench.integrators import steps_between
from ntkbench.verdicts.expectations import Paired, Rate

SMALLEST_EFFECT = 0.01
"""One point of test accuracy."""


@dataclass(frozen=True, kw_only=True)
class KernelRegressionCase(TrainingCase):
    """Narrows the control; `train_size` and `test_size` are drawn anew for every seed (one network per split)."""

    test_points: ClassVar = True

    control: Literal["permuted_labels", "mean_field"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.integrator != "euler":
            raise ValueError(f"integrator {self.integrator!r}: the kernel's descent is exact for 'euler' only")
        if self.test_size < 1:
            raise ValueError(f"test_size must be at least 1, got {self.test_size}")
        source = data.SOURCES.get(self.dataset)
        if source is not None and source.size is None:
            real = ", ".join(name for name, known in data.SOURCES.items() if known.size is not None)
            raise ValueError(f"dataset {self.dataset!r} is synthetic, the claim is about real data: choose one of {real}")


class KernelRegression(Claim):
    """See `statement`."""

    id: ClassVar = "gap/kernel_regression"
    title: ClassVar = "Networks and NTK regression differ at finite width"
    statement: ClassVar = (
        "On real data a finite network and regression with its limiting NTK, both after the same gradient descent, differ in "
        "test accuracy, and the difference of their predictions goes to zero with the width m, as m^(-1/2)."
    )
    source: ClassVar = "huang2020dynamics, section 1; arora2019exact, Theorem 3.2"
    reference_ids: ClassVar = ("HY-9", "AR-2", "AR-6", "JG-5")
    assumptions: ClassVar = (
        "NTK parametrization, square loss, full-batch gradient descent below the critical learning rate (checked). Regression "
        "is stopped at the same number of steps as the network, so that only the finite width tells them apart; the predictor "
        "keeps the network's own output at initialization, which does not vanish with width unless the initialization is "
        "antisymmetric."
    )
    controls: ClassVar = {
        "permuted_labels": "the training labels are permuted, so that there is nothing to predict and no accuracy to differ in",
        "mean_field": "the mean-field parametrization, which has the same limiting kernel but learns features at every width",
    }
    quantities: ClassVar = {
        "distance": "rms of f - f_kernel over rms of f_kernel - f_0 on test points, f_0 kept in the predictor",
        "distance_without_f0": "the same against the predictor that begins at zero",
        "accuracy_difference": "test accuracy of the network minus that of NTK regression, same split, same steps",
        "accuracy_difference_ridgeless": "the same against ridgeless regression (infinitely many steps)",
        "mse_difference": "test mean squared error (summed over outputs) of the network minus that of NTK regression",
        "accuracy": "test accuracy of the network",
        "accuracy_kernel": "test accuracy of NTK regression stopped at the same number of steps",
        "critical_step": "learning rate above which gradient descent on the limiting kernel's linear model diverges",
    }
    expectations: ClassVar = (
        Paired(
            name="accuracy_gap",
            statement=(
                "From an antisymmetric initialization network and NTK regression differ, at the smallest width, in test "
                "accuracy by more than one point."
            ),
            source="huang2020dynamics, section 1",
            quantity="accuracy_difference",
            control="permuted_labels",
            where={"antisymmetric": (True,)},
            sign=0,
            size=SMALLEST_EFFECT,
            at="smallest",
        ),
        Rate(
            name="distance",
            statement="The distance of the network's test outputs to NTK regression (f_0 kept) falls as m^(-1/2).",
            source="arora2019exact, Theorem 3.2 (rate: fluctuation of the kernel at initialization)",
            quantity="distance",
            control="mean_field",
            exponent=-0.5,
            margin=0.1,
        ),
        Rate(
            name="distance_without_f0",
            statement=(
                "From a plain initialization the distance of the network's test outputs to NTK regression that begins at zero "
                "falls as m^(-1/2)."
            ),
            source="arora2019exact, Theorem 3.2 (read without its small output scale)",
            quantity="distance_without_f0",
            control="mean_field",
            where={"antisymmetric": (False,)},
            rival_to="distance",
            exponent=-0.5,
            margin=0.1,
        ),
    )
    limitations: ClassVar = (
        "Fully connected networks on small images: the literature's largest gaps are those of convolutional networks. A fixed "
        "number of steps of full-batch gradient descent without tuning, the same for both; accuracy differences hold for "
        "these data, sizes and steps, and their sign is a result, not a law. From a plain initialization the predictor carries "
        "the network's own random f_0 to the test points, and with it noise that is no property of the kernel: accuracy "
        "differences of plain cases are drawn but not judged."
    )
    figure: ClassVar = (
        Panel(
            title="Distance of predictions",
            kind="rate",
            quantities=("distance",),
            ylabel=r"rms$(f - f_{K})\,/\,$rms$(f_{K} - f_0)$",
            where={},
            slope=-0.5,
        ),
        Panel(
            title="Test accuracy: network minus kernel",
            kind="paired",
            quantities=("accuracy_difference",),
            ylabel="accuracy difference",
            where={},
        ),
    )
    caption: ClassVar = (
        "Left: distance of the test outputs of trained networks to those of regression with the limiting NTK, stopped at the "
        "same step; the line falls as the square root of the width. Grey: the negative controls, in the mean-field "
        "parametrization (left) and with permuted labels (right). "
        "Right: test accuracy of the network minus that of NTK regression, paired over splits; above zero the network is "
        "better; cases from a plain initialization are drawn, not judged."
    )
    case_type: ClassVar = KernelRegressionCase
    growth: ClassVar = {
        "f_test": 1e3,
        "kernel_test": 1e3,
        "kernel_test_movement": 1e3,
        "kernel_test_without_f0": 1e3,
        "ridgeless_test": 1e5,
    }

    def prepare(self, case: KernelRegressionCase, root: int) -> data.Dataset:
        return data.load(
            case.dataset,
            train_size=case.train_size,
            test_size=case.test_size,
            input_dim=case.input_dim,
            root=root,
            splits=case.seeds,
            permute_labels=case.control == "permuted_labels",
        )

    def measure(self, backend: Backend, case: KernelRegressionCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width, output_dim=data.y.shape[-1])
        theta = net.initialize(root, range(case.seeds))
        f0 = backend.forward(net, theta, data.x)
        f0_test = backend.forward(net, theta, data.x_test)
        trained = backend.train(net, theta, data.x, data.y, **case.flow(), observe=("f_test",), x_test=data.x_test)
        limits = [backend.limiting_kernels(net, x)[1] for x in data.x]
        limits_test = [backend.limiting_kernels(net, x_test, x)[1] for x_test, x in zip(data.x_test, data.x, strict=True)]
        kernel, kernel_test = np.stack(limits), np.stack(limits_test)
        # One eigendecomposition serves both residuals, side by side as outputs.
        residuals = np.concatenate([f0 - data.y, -data.y], axis=-1)
        counts = np.cumsum(steps_between(case.times, case.step)).tolist()
        _, moved = backend.kernel_descent(kernel, residuals, step=case.step, counts=counts, kernel_test=kernel_test)
        moved, moved_from_zero = np.split(moved, 2, axis=-1)
        return {
            "f_test": trained.observed("f_test"),
            "kernel_test": f0_test[:, None] + moved,
            "kernel_test_movement": moved,
            "kernel_test_without_f0": moved_from_zero,
            "ridgeless_test": f0_test + kernel_test @ backend.solve(kernel, data.y - f0),
            "critical_step": 2 * case.train_size / np.linalg.eigvalsh(kernel)[:, -1],
            "y_test": data.y_test,
        }

    def calls(self, case: KernelRegressionCase, width: int) -> tuple[Call, ...]:
        n, n_test, seeds, records = case.train_size, case.test_size, case.seeds, len(case.times)
        net = case.network(width, output_dim=data.SOURCES[case.dataset].output_dim)
        trained = Train(
            net=net,
            seeds=seeds,
            points=n,
            integrator=case.integrator,
            steps=steps(case.times, case.step),
            records=records,
            observe=("f_test",),
            test_points=n_test,
        )
        return (
            Draw(net=net, seeds=seeds),
            Forward(net=net, seeds=seeds, points=n),
            Forward(net=net, seeds=seeds, points=n_test),
            trained,
            LimitingKernels(seeds, net=net, rows=n),
            LimitingKernels(seeds, net=net, rows=n_test, columns=n),
            KernelDescent(batch=seeds, points=n, test_points=n_test, outputs=2 * net.output_dim, records=records),
            Solve(batch=seeds, points=n, sides=net.output_dim),
        )

    def summarize(self, case: KernelRegressionCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        network, kernel = arrays["f_test"][:, -1], arrays["kernel_test"][:, -1]
        from_zero = arrays["kernel_test_without_f0"][:, -1]
        y_test = arrays["y_test"]
        accuracy, accuracy_kernel = _accuracy(network, y_test), _accuracy(kernel, y_test)
        return {
            "distance": _rms(network - kernel) / _rms(arrays["kernel_test_movement"][:, -1]),
            "distance_without_f0": _rms(network - from_zero) / _rms(from_zero),
            "accuracy": accuracy,
            "accuracy_kernel": accuracy_kernel,
            "accuracy_difference": accuracy - accuracy_kernel,
            "accuracy_difference_ridgeless": accuracy - _accuracy(arrays["ridgeless_test"], y_test),
            "mse_difference": _mse(network, y_test) - _mse(kernel, y_test),
            "critical_step": arrays["critical_step"],
        }

    def violations(self, case: KernelRegressionCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        critical = min(float(summary["critical_step"].min()) for summary in summaries.values())
        if case.step < critical:
            return []
        return [f"step {case.step} is not below the critical learning rate {critical:.3g} of the limiting kernel"]


def _rms(values: np.ndarray) -> np.ndarray:
    rms: np.ndarray = np.sqrt((values**2).mean(axis=(-2, -1)))
    return rms


def _mse(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    mse: np.ndarray = ((f - y) ** 2).sum(axis=-1).mean(axis=-1)
    return mse


def _accuracy(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of points whose largest output (or sign, with one output) is the label's, NaN if not finite; (S, n, O) to (S,)."""
    hits = np.sign(f[..., 0]) == np.sign(y[..., 0]) if f.shape[-1] == 1 else f.argmax(axis=-1) == y.argmax(axis=-1)
    return np.where(np.isfinite(f).all(axis=(-2, -1)), hits.mean(axis=-1), np.nan)


CLAIM = KernelRegression()
