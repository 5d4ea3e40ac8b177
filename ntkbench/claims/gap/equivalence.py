"""A fully trained wide network is kernel regression (Jacot et al. 2018, section 5; Arora et al. 2019, Theorem 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Forward, KernelDescent, Train, steps
from ntkbench.claims.cases import SplitCase
from ntkbench.claims.generalization import (
    FOREVER,
    beyond_critical,
    critical_step,
    empirical_calls,
    empirical_ntks,
    limiting_calls,
    limiting_ntks,
)
from ntkbench.claims.truncated import rms
from ntkbench.networks import SMOOTH_ACTIVATIONS
from ntkbench.verdicts.expectations import Bound, Paired, Rate

TRAINED = 0.1
"""Largest final over initial training residual (geometric mean over seeds): the loss is down to a hundredth."""

TWICE = float(np.log(2))


@dataclass(frozen=True, kw_only=True)
class EquivalenceCase(SplitCase):
    """Narrows the control."""

    one_output: ClassVar = True
    trained_by: ClassVar = "gradient descent"

    control: Literal["mean_field"] | None = None


class Equivalence(Claim):
    """See `statement`."""

    id: ClassVar = "gap/equivalence"
    title: ClassVar = "A fully trained wide network is kernel regression"
    statement: ClassVar = (
        "On real data the test outputs of a network of width m, trained until its training residual is small, come to those of "
        "regression with the limiting NTK as m^(-1/2), and to those of regression with the network's own initial kernel as 1/m "
        "for smooth activations and as m^(-1/2) for ReLU."
    )
    source: ClassVar = "jacot2018neural, section 5; arora2019exact, Theorem 3.2; lee2019wide, Theorem 2.1"
    reference_ids: ClassVar = ("JG-5", "AR-6", "LX-3", "LX-5")
    assumptions: ClassVar = (
        "NTK parametrization, square loss, full-batch gradient descent. Regression is descent in the kernel's linear model, "
        "exact, stopped at the network's last step; the predictor keeps the network's own output at t = 0, which does not "
        "vanish with width unless the initialization is antisymmetric. Checked: the training residual has fallen to "
        f"{TRAINED:.0%} of its initial rms or less, and the step is below the critical one of both kernels."
    )
    controls: ClassVar = {
        "mean_field": "the mean-field parametrization, which has the same kernels at t = 0 but learns features at every width"
    }
    quantities: ClassVar = {
        "distance": "rms of f - f_kernel over rms of f_kernel - f_0 on test points, limiting NTK, f_0 kept in the predictor",
        "distance_without_f0": "the same against the predictor that begins at zero",
        "distance_own": "as distance, with the network's own kernel at t = 0",
        "distance_ridgeless": "as distance, the limiting NTK's regression being ridgeless (infinitely many steps)",
        "distance_own_ridgeless": "the same with the network's own kernel at t = 0",
        "gain_own": "log of distance over distance_own",
        "residual": "rms of f - y over rms of f_0 - y on training points",
        "critical_step": "learning rate above which descent in the linear model of one of the two kernels diverges",
    }
    expectations: ClassVar = (
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
        Rate(
            name="distance_own_smooth",
            statement="For smooth activations the distance to regression with the network's own initial kernel falls as 1/m.",
            source="huang2020dynamics, Corollary 2.4 (its bound on the kernel's drift, read as sharp for outputs)",
            quantity="distance_own",
            control="mean_field",
            where={"activation": SMOOTH_ACTIVATIONS},
            exponent=-1.0,
            margin=0.15,
        ),
        Rate(
            name="distance_own_relu",
            statement="For ReLU the distance to regression with the network's own initial kernel falls as m^(-1/2).",
            source="lee2019wide, Theorem 2.1 (its bound, read as sharp for ReLU)",
            quantity="distance_own",
            control="mean_field",
            where={"activation": ("relu",)},
            exponent=-0.5,
            margin=0.15,
        ),
        Bound(
            name="distance_own_bound",
            statement="The distance to regression with the network's own initial kernel falls at least as fast as m^(-1/2).",
            source="lee2019wide, Theorem 2.1 (it assumes a Lipschitz derivative: ReLU goes beyond it)",
            quantity="distance_own",
            control="mean_field",
            exponent=-0.5,
            margin=0.1,
        ),
        Paired(
            name="own_kernel_nearer",
            statement="At the largest width the network is at least twice as near to regression with its own initial kernel.",
            source="lee2019wide, Figure 3",
            quantity="gain_own",
            control="mean_field",
            sign=1,
            size=TWICE,
            at="largest",
        ),
    )
    limitations: ClassVar = (
        "Two classes, few training points, fully connected networks. Intervals are over splits of one pool of images, which "
        "overlap, so that they speak of the average over splits of this pool. Small, not zero, training residual: regression "
        "is stopped where the network is, and the distances to its ridgeless end, recorded beside, keep what slow modes have "
        "left to learn. ReLU's m^(-1/2) part overtakes a 1/m part at large widths only, as for the kernel's drift. The first "
        "two expectations were those of gap/kernel_regression before they came here. Numbers of points, times and widths "
        "were settled on trials with other draws: in the first, of twice the points and half the widths, distances to the "
        "limiting kernel were too large for a rate. In both trials erf networks came to their own kernels faster than 1/m "
        "from an antisymmetric initialization, about as m^(-1.3)."
    )
    figure: ClassVar = (
        Panel(
            title="To regression with the limiting NTK",
            kind="rate",
            quantities=("distance",),
            ylabel=r"rms$(f - f_{K})\,/\,$rms$(f_{K} - f_0)$",
            where={},
            slope=-0.5,
        ),
        Panel(
            title="To its own kernel: smooth",
            kind="rate",
            quantities=("distance_own",),
            ylabel=r"rms$(f - f_{K_0})\,/\,$rms$(f_{K_0} - f_0)$",
            where={"activation": SMOOTH_ACTIVATIONS},
            slope=-1.0,
        ),
        Panel(
            title="To its own kernel: ReLU",
            kind="rate",
            quantities=("distance_own",),
            ylabel=r"rms$(f - f_{K_0})\,/\,$rms$(f_{K_0} - f_0)$",
            where={"activation": ("relu",)},
            slope=-0.5,
        ),
    )
    caption: ClassVar = (
        "Distance of the test outputs of fully trained networks to kernel regression stopped at the same step, relative to how "
        "far regression moved them, against width. (a) With the limiting NTK. (b), (c) With the network's own kernel at t = 0, "
        "for smooth activations and for ReLU. Grey: the negative controls, in the mean-field parametrization."
    )
    case_type: ClassVar = EquivalenceCase
    growth: ClassVar = {"f": 1e3, "f_test": 1e3, "moved_limit": 1e3, "moved_from_zero": 1e3, "moved_own": 1e3}

    def measure(self, backend: Backend, case: EquivalenceCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        x, y, x_test = data.x, data.y, data.x_test
        f0, f0_test = backend.forward(net, theta, x), backend.forward(net, theta, x_test)
        trained = backend.train(net, theta, x, y, **case.flow(), observe=("f", "f_test"), x_test=x_test)
        limit, limit_test = limiting_ntks(backend, net, data)
        own, own_test = empirical_ntks(backend, net, theta, data)
        descent: dict[str, Any] = {"step": case.step, "counts": (steps(case.times, case.step), FOREVER)}
        # One eigendecomposition serves both residuals, side by side as outputs.
        residuals = np.concatenate([f0 - y, -y], axis=-1)
        _, moved = backend.kernel_descent(limit, residuals, **descent, kernel_test=limit_test)
        _, moved_own = backend.kernel_descent(own, f0 - y, **descent, kernel_test=own_test)
        return {
            "f0": f0,
            "f0_test": f0_test,
            "f": trained.observed("f")[:, -1],
            "f_test": trained.observed("f_test")[:, -1],
            "moved_limit": moved[..., :1],
            "moved_from_zero": moved[..., 1:],
            "moved_own": moved_own,
            "critical_step": np.minimum(critical_step(limit), critical_step(own)),
            "y": y,
        }

    def calls(self, case: EquivalenceCase, width: int) -> tuple[Call, ...]:
        n, n_test, net = case.train_size, case.test_size, case.network(width)
        networks: dict[str, Any] = {"net": net, "seeds": case.seeds}
        trained = Train.along(case.flow(), **networks, points=n, observe=("f", "f_test"), test_points=n_test)
        descent = {"batch": case.seeds, "points": n, "test_points": n_test, "records": 2}
        return (
            Draw(**networks),
            Forward(**networks, points=n),
            Forward(**networks, points=n_test),
            trained,
            *limiting_calls(case, net, width, n_test),
            *empirical_calls(case, net, n_test),
            KernelDescent(**descent, outputs=2),
            KernelDescent(**descent, outputs=1),
        )

    def summarize(self, case: EquivalenceCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        f, moved = arrays["f_test"], arrays["f_test"] - arrays["f0_test"]
        limit, own = (_distances(moved, arrays[name]) for name in ("moved_limit", "moved_own"))
        distance, distance_own = limit[:, 0], own[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.log(distance / distance_own)
        return {
            "distance": distance,
            "distance_without_f0": _distances(f, arrays["moved_from_zero"])[:, 0],
            "distance_own": distance_own,
            "distance_ridgeless": limit[:, 1],
            "distance_own_ridgeless": own[:, 1],
            "gain_own": gain,
            "residual": rms(arrays["f"] - arrays["y"], kept=1) / rms(arrays["f0"] - arrays["y"], kept=1),
            "critical_step": arrays["critical_step"],
        }

    def violations(self, case: EquivalenceCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        problems = []
        for width, summary in summaries.items():
            left = float(np.exp(np.log(summary["residual"]).mean()))
            if not left <= TRAINED:
                problems.append(
                    f"at width {width} {left:.2g} of the training residual is left, more than {TRAINED}: take a later last time"
                )
        return problems + beyond_critical(case, summaries)


def _distances(moved: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Rms over points of `moved`, (S, h, 1), less `predicted`, (S, P, h, 1), over that of `predicted`: (S, P)."""
    with np.errstate(over="ignore", invalid="ignore"):
        distances: np.ndarray = rms(moved[:, None] - predicted) / rms(predicted)
    return distances


CLAIM = Equivalence()
