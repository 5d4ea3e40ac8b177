"""Correlation functions at initialization fall as the cluster graph says (Dyer & Gur-Ari 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Case, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Forward, Hierarchy
from ntkbench.claims.truncated import at_rate, check_smooth
from ntkbench.verdicts.expectations import Rate, Where

ORDERS = (2, 4, 6)
CONNECTED = {"kernel_connected": "K2", "K4_connected": "K4", "K6_connected": "K6"}
"""By quantity, the kernel whose variance over networks it is."""
COPIES = 8
"""What a block of networks takes, in copies of its parameters: smaller ones are faster, since less memory is touched anew."""


@dataclass(frozen=True, kw_only=True)
class CorrelationsCase(Case):
    """Adds how far up the hierarchy the case goes.

    Attributes:
        order: the highest kernel, 2, 4 or 6; expectations are judged where theirs is the highest, since the products of
            lower kernels need more networks than those of higher ones allow.
    """

    one_output: ClassVar = True

    order: int
    control: Literal["unit_rate", "mean_field"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(map(str, ORDERS))}, got {self.order!r}")
        check_smooth(self.activation)


def _rate(name: str, product: str, exponent: float, control: str, order: int, source: str = "the conjecture") -> Rate:
    return Rate(
        name=name,
        statement=f"E[{product}] goes as m^{exponent:g}.",
        source=f"dyer2020asymptotics, {source}",
        quantity=name,
        control=control,
        where={"order": (order,)},
        exponent=exponent,
        margin=0.25 if exponent <= -2 else 0.1,
        aggregate="mean",
    )


def _connected(name: str, exponent: float, order: int) -> Rate:
    kernel = CONNECTED[name]
    product = f"{kernel} {kernel}] - E[{kernel}] E[{kernel}"
    return _rate(name, product, exponent, "unit_rate", order, "power counting of connected parts")


def _panel(title: str, order: int, *quantities: str) -> Panel:
    where: Where = {"order": (order,)}
    return Panel(title=title, kind="rate", quantities=quantities, ylabel="|mean over networks|", where=where)


class Correlations(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/correlations"
    title: ClassVar = "Correlation functions count the clusters of their graph"
    statement: ClassVar = (
        "The mean over initializations of a product of derivatives of f, all parameter indices contracted in pairs, goes as "
        "m^s with s = e + (o - v)/2: v is the number of factors f, joined by an edge where they share an index, e and o the "
        "numbers of connected clusters of even and of odd size."
    )
    source: ClassVar = "dyer2020asymptotics, the conjecture on cluster graphs"
    reference_ids: ClassVar = ("DG-1", "DG-2")
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, independent Gaussian weights, all layers in the kernels, fixed depth. Proved "
        "by the authors for one hidden layer and for deep linear networks, conjectured for deep ones. The statement is an "
        "upper bound; that no product here vanishes at leading order is a further assumption, and inputs are joined in pairs "
        "of equal ones so that no symmetry makes it fail."
    )
    controls: ClassVar = {
        "unit_rate": (
            "the standard parametrization at a learning rate that is not divided by the width, in which each contracted index "
            "of a layer that sums m units gains a factor m"
        ),
        "mean_field": "the mean-field parametrization, in which f falls as m^(-1/2) at initialization",
    }
    quantities: ClassVar = {
        "ff": "mean over points of f_a^2",
        "kernel": "mean over points of K2(a, a)",
        "ffff": "square of ff, one network at a time",
        **{
            name: f"mean over entries of ({kernel} - E[{kernel}])^2, E the mean over the networks of the width"
            for name, kernel in CONNECTED.items()
        },
        "hessian": (
            "mean over pairs of points of f_a times the second derivative of f_a along the gradient of f_b, "
            "K3(a, b, b) - K3(b, b, a)/2"
        ),
        "K4": "mean over pairs of points of K4(a, a, b, b)",
        "K3_f": "mean over pairs of points of K3(a, a, b) f_b",
        "K3_K3": "mean over entries of K3^2",
        "K5_K5": "mean over entries of K5^2",
        "K6": "mean over triples of points of K6(a, a, b, b, c, c)",
    }
    expectations: ClassVar = (
        _rate("ff", "f f", 0.0, "mean_field", 2),
        _rate("kernel", "K2", 0.0, "unit_rate", 2),
        _rate("ffff", "f f f f", 0.0, "mean_field", 2),
        _connected("kernel_connected", -1.0, 2),
        _rate("hessian", "d_i f d_j f d_i d_j f f", -1.0, "unit_rate", 4),
        _rate("K4", "K4", -1.0, "unit_rate", 4),
        _rate("K3_f", "K3 f", -1.0, "unit_rate", 4),
        _rate("K3_K3", "K3 K3", -2.0, "unit_rate", 4),
        _connected("K4_connected", -3.0, 4),
        _rate("K5_K5", "K5 K5", -4.0, "unit_rate", 6),
        _rate("K6", "K6", -2.0, "unit_rate", 6),
        _connected("K6_connected", -5.0, 6),
    )
    limitations: ClassVar = (
        "One choice of inputs and of contractions per product; fully connected networks. Numbers of points and of networks and "
        "the widths were settled on trials with other draws, so that products of high degree in f, which have heavy tails, are "
        "resolved: with two points the third and fourth kernel's products at equal and different ones nearly cancel. "
        "Products of K5 and K6 are measured at depth 1 only."
    )
    figure: ClassVar = (
        _panel("Outputs and the NTK", 2, "ff", "kernel", "ffff", "kernel_connected"),
        _panel("Third and fourth kernel", 4, "hessian", "K4", "K3_f", "K3_K3", "K4_connected"),
        _panel("Fifth and sixth kernel", 6, "K5_K5", "K6", "K6_connected"),
    )
    caption: ClassVar = (
        "Means over initializations of products of the hierarchy's kernels, against width: (a) of outputs and the NTK, "
        "(b) with the third and fourth kernel, (c) with the fifth and sixth. Grey: the negative controls, a learning rate "
        "that is not divided by the width, or, for outputs alone, the mean-field parametrization."
    )
    labels: ClassVar = {
        "ff": "mean $f_a^2$",
        "kernel": "$K_2(a,a)$",
        "ffff": "square of mean $f_a^2$",
        "kernel_connected": "variance of $K_2$",
        "hessian": "$f_aH_a[g_b,g_b]$",
        "K4": "$K_4(a,a,b,b)$",
        "K3_f": r"$K_3(a,a,b)\,f_b$",
        "K3_K3": "$K_3^2$",
        "K4_connected": "variance of $K_4$",
        "K5_K5": "$K_5^2$",
        "K6": "$K_6(a,a,b,b,c,c)$",
        "K6_connected": "variance of $K_6$",
    }
    case_type: ClassVar = CorrelationsCase
    growth: ClassVar = {}

    def measure(self, backend: Backend, case: CorrelationsCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        found: dict[str, list[np.ndarray]] = {}
        for seeds in _equal_blocks(backend, case.seeds, COPIES * 8 * net.parameter_count):
            theta = net.initialize(root, seeds)
            kernels = at_rate(case, net, backend.hierarchy(net, theta, data.x, case.order))
            found.setdefault("f", []).append(backend.forward(net, theta, data.x)[..., 0])
            for r, kernel in kernels.items():
                found.setdefault(f"K{r}", []).append(kernel)
        return {name: np.concatenate(blocks) for name, blocks in found.items()}

    def calls(self, case: CorrelationsCase, width: int) -> tuple[Call, ...]:
        net = case.network(width)
        networks: dict[str, Any] = {"net": net, "seeds": case.seeds}
        points = case.train_size
        return (
            Draw(**networks, in_blocks=True),
            Hierarchy(**networks, points=points, order=case.order),
            Forward(**networks, points=points),
        )

    def summarize(self, case: CorrelationsCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        summary = _of_kernels(arrays["f"], arrays["K2"])
        if case.order >= 4:
            summary |= _of_fourth_order(arrays["f"], arrays["K3"], arrays["K4"])
        if case.order >= 6:
            summary["K5_K5"] = (arrays["K5"] ** 2).mean(axis=(1, 2, 3, 4, 5))
            summary["K6"] = np.einsum("saabbcc->s", arrays["K6"]) / case.train_size**3
        return summary | {name: _variance(arrays[kernel]) for name, kernel in CONNECTED.items() if kernel in arrays}


def _variance(kernel: np.ndarray) -> np.ndarray:
    """Each network's term of the variance over networks, mean over entries, (S,)."""
    seeds = len(kernel)
    terms: np.ndarray = ((kernel - kernel.mean(axis=0)) ** 2).mean(axis=tuple(range(1, kernel.ndim)))
    return terms * seeds / (seeds - 1)


def _of_kernels(f: np.ndarray, K2: np.ndarray) -> dict[str, np.ndarray]:
    ff = (f**2).mean(axis=1)
    return {"ff": ff, "kernel": np.einsum("saa->s", K2) / f.shape[1], "ffff": ff**2}


def _of_fourth_order(f: np.ndarray, K3: np.ndarray, K4: np.ndarray) -> dict[str, np.ndarray]:
    """With `K3_abc = H_a(g_b, g_c) + H_b(g_a, g_c)`, H_a the Hessian of f_a: `H_a(g_b, g_b) = K3_abb - K3_bba / 2`."""
    pairs = f.shape[1] ** 2
    return {
        "hessian": (np.einsum("sabb,sa->s", K3, f) - np.einsum("sbba,sa->s", K3, f) / 2) / pairs,
        "K4": np.einsum("saabb->s", K4) / pairs,
        "K3_f": np.einsum("saab,sb->s", K3, f) / pairs,
        "K3_K3": (K3**2).mean(axis=(1, 2, 3)),
    }


def _equal_blocks(backend: Backend, seeds: int, bytes_per_seed: int) -> Iterator[range]:
    """Blocks under the backend's budget, of one size where `seeds` is a power of two, since every size compiles anew."""
    size = seeds
    fitting = next(backend.seed_blocks(seeds, bytes_per_seed)).stop
    while size > fitting:
        size = -(-size // 2)
    for start in range(0, seeds, size):
        yield range(start, min(start + size, seeds))


CLAIM = Correlations()
