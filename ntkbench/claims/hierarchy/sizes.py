"""How large the kernels of the hierarchy are (Huang & Yau 2020, Theorem 2.3; Dyer & Gur-Ari 2020).

Changing the sign of the readout changes that of f and leaves gradients' products alone, so that K_r goes to (-1)^r K_r: odd
kernels are symmetric random variables of mean zero. With one hidden layer, where `K_r = m^(-r/2) sum_i K_r[unit i]` is a sum
over m independent units, an even one is hence of size m^(1 - r/2) and an odd one of size m^((1 - r)/2), by the law of large
numbers and the central limit theorem: m^(-(ceil(r/2) - 1)) both. Power counting says the same for more layers.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Hierarchy, Train
from ntkbench.claims.truncated import SmoothCase, at_rate, rms
from ntkbench.verdicts.expectations import Bound, Expectation, Rate

TOP = 6
KEPT = 8
"""Networks whose kernels are kept entry by entry, for the comparison of the backends; of all others their sizes alone are."""
TYPICAL = {2: 0, 3: -1, 4: -1, 5: -2, 6: -2}
"""Order -> exponent of its typical size."""
MARGINS = {2: 0.1, 3: 0.15, 4: 0.15, 5: 0.3, 6: 0.3}


@dataclass(frozen=True, kw_only=True)
class SizesCase(SmoothCase):
    """Plain initializations; with antisymmetric ones only even kernels have a size at t = 0.

    Attributes:
        order: the highest kernel.
    """

    order: Literal[4, 5, 6] = 6
    control: Literal["unit_rate"] | None = None


def _reaching(r: int) -> dict[str, tuple[Any, ...]]:
    """Cases that have K_r, and odd ones at t = 0."""
    orders = tuple(order for order in (4, 5, 6) if order >= r)
    return ({"order": orders} if r > 4 else {}) | ({"antisymmetric": (False,)} if r % 2 else {})


def _typical(r: int, along: bool) -> Rate:
    size = "keeps its size" if r == 2 else f"is of size 1/m{'' if TYPICAL[r] == -1 else '^2'}"
    return Rate(
        name=f"size_{r}_flow" if along else f"size_{r}",
        statement=f"K_{r} {size} {'along the flow' if along else 'at initialization'}.",
        source="dyer2020asymptotics, exponents in pairs; huang2020dynamics, Theorem 2.3 (limits and fluctuations)",
        quantity=f"size_{r}_flow" if along else f"size_{r}",
        control="unit_rate",
        where=_reaching(r),
        exponent=TYPICAL[r],
        margin=MARGINS[r],
    )


def _printed_bound(r: int) -> Bound:
    return Bound(
        name=f"printed_bound_{r}",
        statement=f"The printed bound m^(-(r/2 - 1)) on K_{r} holds along the flow.",
        source="huang2020dynamics, Theorem 2.3",
        quantity=f"size_{r}_flow",
        control="unit_rate",
        where=_reaching(r),
        exponent=1 - r / 2,
        margin=0.1,
    )


def _bound_read_as_sharp(r: int) -> Rate:
    return Rate(
        name=f"bound_read_as_sharp_{r}",
        statement=f"The printed bound m^(-(r/2 - 1)) is the size of K_{r} along the flow.",
        source="huang2020dynamics, Theorem 2.3 (a bound, which does not claim to be sharp)",
        quantity=f"size_{r}_flow",
        control="unit_rate",
        where=_reaching(r),
        rival_to=f"size_{r}_flow",
        exponent=1 - r / 2,
        margin=MARGINS[r],
    )


def _expectations() -> tuple[Expectation, ...]:
    return (
        *(_typical(r, along=False) for r in TYPICAL),
        *(_typical(r, along=True) for r in TYPICAL if r > 2),
        *(_printed_bound(r) for r in TYPICAL if r > 2),
        *(_bound_read_as_sharp(r) for r in (3, 5)),
    )


class Sizes(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/sizes"
    title: ClassVar = "Kernels shrink in pairs"
    statement: ClassVar = (
        "The r-th kernel of the hierarchy is of size m^(-(ceil(r/2) - 1)) at initialization and along gradient flow to a fixed "
        "time: exponents come in pairs. The printed a-priori bound m^(-(r/2 - 1)) holds; for odd r it is loose by sqrt(m)."
    )
    source: ClassVar = "huang2020dynamics, Theorem 2.3; dyer2020asymptotics"
    reference_ids: ClassVar = ("HY-2", "HY-3", "DG-2")
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization without biases, independent Gaussian weights, all layers trained by gradient "
        "flow on the square loss, fixed time, fixed number of points."
    )
    controls: ClassVar = {
        "unit_rate": (
            "the standard parametrization at a learning rate that is not divided by the width: kernels are m^(r-1) times as "
            "large, and the flow is stopped m times as early, after the same decay of the loss"
        )
    }
    quantities: ClassVar = {
        **{f"size_{r}": f"rms over all entries of K_{r} at initialization" for r in TYPICAL},
        **{
            f"size_{r}_flow": f"the same along the flow, largest of the recorded times, t = 0 among them, K_{r}"
            for r in TYPICAL
        },
    }
    expectations: ClassVar = _expectations()
    limitations: ClassVar = (
        "Few points, since K_6 has n^6 entries; one draw of the data per case; root mean squares over entries, which the "
        "theorem's largest entries exceed by a constant; exponents, never constants or logarithms; fixed times, whereas the "
        "theorem's window grows with m. At orders 5 and 6 the next order in 1/m is not small at all of these widths, hence the "
        "wider margins. Points, widths and seeds were settled on trials with other draws."
    )
    figure: ClassVar = (
        Panel(
            title="At initialization",
            kind="rate",
            quantities=tuple(f"size_{r}" for r in TYPICAL),
            ylabel=r"rms$(K_r)$",
            where={},
        ),
        Panel(
            title="Largest along the flow",
            kind="rate",
            quantities=tuple(f"size_{r}_flow" for r in TYPICAL),
            ylabel=r"$\max_t$ rms$(K_r)$",
            where={},
        ),
    )
    caption: ClassVar = (
        "Typical size of the kernels of the hierarchy against width, (a) at initialization and (b) along the flow. Theory "
        "has the lines come in pairs, 1/m for K_3 and K_4, 1/m^2 for K_5 and K_6. Grey: the control, whose learning rate "
        "is not divided by the width."
    )
    labels: ClassVar = {f"size_{r}": f"$K_{r}$" for r in TYPICAL}
    case_type: ClassVar = SizesCase
    # Kernels after training: rounding of some hundred stages, and K_6 is a sum of many terms that cancel in part.
    growth: ClassVar = {f"K{r}": 1e2 for r in TYPICAL} | {f"sizes_{r}": 1e2 for r in TYPICAL}

    def measure(self, backend: Backend, case: SizesCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        trained = backend.train(net, theta, data.x, data.y, **case.flow(), observe=("theta",))
        arrays: Arrays = {}
        sizes: list[Arrays] = []
        for parameters in (theta, *trained.parameters()):
            kernels = at_rate(case, net, backend.hierarchy(net, parameters, data.x, case.order))
            sizes.append({f"sizes_{r}": rms(kernel, kept=1) for r, kernel in kernels.items()})
            arrays = {f"K{r}": kernel[:KEPT] for r, kernel in kernels.items()}
        return arrays | {name: np.stack([of_time[name] for of_time in sizes], axis=1) for name in sizes[0]}

    def calls(self, case: SizesCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds, "points": case.train_size}
        records = len(case.times)
        return (
            Draw(net=networks["net"], seeds=case.seeds),
            Train.along(case.flow(), **networks, observe=("theta",)),
            Hierarchy(count=records + 1, **networks, order=case.order),
        )

    def summarize(self, case: SizesCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        summary: dict[str, np.ndarray] = {}
        for r in range(2, case.order + 1):
            sizes = arrays[f"sizes_{r}"]
            summary |= {f"size_{r}": sizes[:, 0], f"size_{r}_flow": sizes.max(axis=1)}
        return summary


CLAIM = Sizes()
