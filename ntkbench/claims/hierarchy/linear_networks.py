"""Kernels of linear networks of one hidden layer, exactly: two orders cost a factor 1/m.

With `f(x) = s a.W x'`, `x' = x / sqrt(d)` and `G_ab = x'_a . x'_b`, the gradients are `s W x'` in a and `s a x'^T` in W, and
those of `f_b` contract a product of two such factors again into such factors. By induction over r (Euler's rule, every K_r
being a sum of products of `a.W x'`, `W x'.W x'`, `|a|^2` and G) for every r >= 1 and all parameters

    K_{r+2}(a, b, c, ..) = mobility^2 s^2 [G_ac K_r(b, ..) + G_bc K_r(a, ..) + 2 G_ab K_r(c, ..)],

the dots being the later slots. In the NTK parametrization with unit variance the factor is `1 / m`, in the mean-field one
`feature_strength^2`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel, TrainingCase
from ntkbench.claims.calls import Call, Draw, Forward, Hierarchy, Train
from ntkbench.verdicts.expectations import Identity, Where

ORDERS = (3, 4, 5, 6)
TOLERANCE = 1e-10
"""Sums over at most 1e4 units in float64; wrong factors err by order one."""
SOLVABLE: Where = {"activation": ("identity",), "depth": (1,), "bias_variance": (0.0,)}


@dataclass(frozen=True, kw_only=True)
class LinearNetworksCase(TrainingCase):
    """Kernels are taken at t = 0 and at all recorded times; expectations speak of `SOLVABLE` cases alone."""

    one_output: ClassVar = True

    control: Literal["mean_field"] | None = None


class LinearNetworks(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/linear_networks"
    title: ClassVar = "Linear networks: two orders, one factor 1/m"
    statement: ClassVar = (
        "In a linear network of one hidden layer every kernel of the hierarchy is that of two orders below, contracted with "
        "the Gram matrix of the inputs and divided by the width, exactly and at all times: kernels shrink in pairs."
    )
    source: ClassVar = (
        "huang2020dynamics, equation (2.7) (worked out for linear networks); dyer2020asymptotics, exponents in pairs"
    )
    reference_ids: ClassVar = ("HY-1", "DG-2")
    assumptions: ClassVar = "Identity activation, one hidden layer, no biases, NTK parametrization, one output."
    controls: ClassVar = {
        "mean_field": "the mean-field parametrization, in which two orders cost a factor that does not depend on the width"
    }
    quantities: ClassVar = {
        f"defect_{r}": f"largest entry of K_{r} less the recursion from K_{r - 2}, over the largest of K_{r}, all times"
        for r in ORDERS
    }
    expectations: ClassVar = tuple(
        Identity(
            name=f"recursion_{r}",
            statement=f"K_{r} is K_{r - 2} contracted with the Gram matrix, over m{' (K_1 being f)' if r == 3 else ''}.",
            source="huang2020dynamics, equation (2.7), for the identity",
            quantity=f"defect_{r}",
            control="mean_field",
            where=SOLVABLE,
            tolerance=TOLERANCE,
        )
        for r in ORDERS
    )
    limitations: ClassVar = (
        "An exactly solvable case, in which order 3 and higher are computed without a derivative of an activation: it proves "
        "the pairing of the exponents and the recursion's assembly, and says nothing of nonlinear networks."
    )
    figure: ClassVar = (
        Panel(
            title="The recursion from two orders below",
            kind="rate",
            quantities=tuple(f"defect_{r}" for r in ORDERS),
            ylabel=r"$\|K_r - \mathcal{G} K_{r-2}/m\|_\infty\,/\,\|K_r\|_\infty$",
            where={},
        ),
    )
    caption: ClassVar = (
        "Difference between each kernel of a linear network and the exact recursion from two orders below: rounding. Grey: the "
        "mean-field parametrization, whose factor is not 1/m."
    )
    labels: ClassVar = {f"defect_{r}": f"$K_{r}$" for r in ORDERS}
    case_type: ClassVar = LinearNetworksCase
    growth: ClassVar = {f"K{r}": 1e2 for r in (1, 2, *ORDERS)}

    def measure(self, backend: Backend, case: LinearNetworksCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        trained = backend.train(net, theta, data.x, data.y, **case.flow(), observe=("theta",))
        found = []
        for parameters in (theta, *trained.parameters()):
            f = backend.forward(net, parameters, data.x)[..., 0]
            found.append({1: f} | backend.hierarchy(net, parameters, data.x, max(ORDERS)))
        arrays = {f"K{r}": np.stack([kernels[r] for kernels in found], axis=1) for r in found[0]}
        return arrays | {"gram": data.x @ data.x.T / case.input_dim}

    def calls(self, case: LinearNetworksCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds}
        on_points: dict[str, Any] = networks | {"points": case.train_size}
        records = len(case.times)
        return (
            Draw(**networks),
            Train.along(case.flow(), **on_points, observe=("theta",)),
            Forward(count=records + 1, **on_points),
            Hierarchy(count=records + 1, **on_points, order=max(ORDERS)),
        )

    def summarize(self, case: LinearNetworksCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        factor = case.weight_variance**2 / width
        summary = {}
        for r in ORDERS:
            difference = arrays[f"K{r}"] - factor * _two_orders_up(arrays[f"K{r - 2}"], arrays["gram"])
            summary[f"defect_{r}"] = (_largest(difference) / _largest(arrays[f"K{r}"])).max(axis=1)
        return summary


def _two_orders_up(kernel: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """`G_ac K(b, ..) + G_bc K(a, ..) + 2 G_ab K(c, ..)`, from (S, T, n, ..) to two slots more."""
    slots = "defg"[: kernel.ndim - 3]
    terms = ((1, "ac", "b"), (1, "bc", "a"), (2, "ab", "c"))
    found: np.ndarray = sum(
        (weight * np.einsum(f"{pair},st{own}{slots}->stabc{slots}", gram, kernel) for weight, pair, own in terms), np.zeros(())
    )
    return found


def _largest(kernel: np.ndarray) -> np.ndarray:
    """Largest entry of each network and time, (S, T)."""
    largest: np.ndarray = np.abs(kernel).max(axis=tuple(range(2, kernel.ndim)))
    return largest


CLAIM = LinearNetworks()
