"""Even kernels have deterministic limits (Huang & Yau 2020, Theorem 2.3).

`m^(r/2 - 1) K_r` of even order is an average over units: the law of large numbers gives it a limit, the central limit theorem
fluctuations of relative size m^(-1/2). No closed form of the limit is used: it is the mean over many networks of a reference
width M well above those of the sweep. Its error has a random part, the fluctuation at M over the root of the number of
networks, and a bias c / M. Both are bounded by the difference from the mean at M / 2, whose bias is twice as large.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Case, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Hierarchy
from ntkbench.claims.truncated import check_smooth
from ntkbench.verdicts.expectations import Rate

ORDERS = (2, 4)
CORRELATION = 0.5
"""Of the incoming weights of two units of one layer, in the control."""
LIMIT_ERROR = 0.2
"""Largest error of the limit, of a typical deviation: added in squares it moves no deviation by more than 2%."""


@dataclass(frozen=True, kw_only=True)
class LimitsCase(Case):
    """Adds the networks from which the limits are estimated.

    Attributes:
        reference_width, reference_seeds: theirs; half as wide ones check their bias.
    """

    adjustable: ClassVar = Case.adjustable | {"reference_width", "reference_seeds"}

    reference_width: int
    reference_seeds: int
    control: Literal["correlated_weights"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smooth(self.activation, "K4")
        if self.reference_width < 2 * self.widths[-1]:
            raise ValueError(
                f"reference_width {self.reference_width} must be at least twice the largest width, {self.widths[-1]}: at the "
                "widths of the sweep itself there is no limit to compare with"
            )
        if self.reference_seeds < 2:
            raise ValueError(f"reference_seeds must be at least 2, got {self.reference_seeds}")


class Limits(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/limits"
    title: ClassVar = "Even kernels have deterministic limits"
    statement: ClassVar = (
        "At initialization m^(r/2 - 1) K_r of even order converges to a deterministic tensor as the width m grows; the "
        "relative deviation of one network falls as m^(-1/2)."
    )
    source: ClassVar = "huang2020dynamics, Theorem 2.3"
    reference_ids: ClassVar = ("HY-2",)
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, independent Gaussian weights. The limit is the mean of many networks of a "
        f"reference width; at the largest width its error must be below {LIMIT_ERROR:.0%} of a typical deviation, judged by "
        "the mean at half the reference width."
    )
    controls: ClassVar = {
        "correlated_weights": (
            f"the incoming weights of the units of a hidden layer share a common part (correlation {CORRELATION}), so that a "
            "layer no longer averages over independent units; the limit is that of independent ones"
        )
    }
    quantities: ClassVar = {
        **{
            f"deviation_{r}": f"rms over entries of m^({r // 2 - 1}) K_{r} less its limit, over the rms of the limit"
            for r in ORDERS
        },
        **{
            f"limit_error_{r}": f"rms over entries of the change of K_{r}'s limit under half the reference width, over its rms"
            for r in ORDERS
        },
    }
    expectations: ClassVar = tuple(
        Rate(
            name=f"deviation_{r}",
            statement=f"{'K_2' if r == 2 else 'm K_4'} deviates from its deterministic limit by m^(-1/2).",
            source="huang2020dynamics, Theorem 2.3 (its bound, read as sharp: central limit theorem)",
            quantity=f"deviation_{r}",
            control="correlated_weights",
            exponent=-0.5,
            margin=0.1,
        )
        for r in ORDERS
    )
    limitations: ClassVar = (
        "Orders 2 and 4, at initialization; few points; one draw of the data per case. With one hidden layer a kernel is an "
        "average over independent units, and the rate is the central limit theorem itself. Order 4 is heavy-tailed (its "
        "entries scatter over units by several times their mean), so that at small widths it falls more slowly. Widths "
        "and the networks behind the limit were settled on trials with other draws, in which fewer left it too uncertain."
    )
    figure: ClassVar = (
        Panel(
            title="Distance from the deterministic limit",
            kind="rate",
            quantities=tuple(f"deviation_{r}" for r in ORDERS),
            ylabel=r"$\|m^{r/2-1} K_r - k_r\|\,/\,\|k_r\|$",
            where={},
            slope=-0.5,
        ),
    )
    caption: ClassVar = (
        "Relative deviation of one network's kernels of even order from their deterministic limit, against width. Grey: the "
        "control, networks whose units share a part of their weights and which converge to no such limit."
    )
    labels: ClassVar = {f"deviation_{r}": f"$K_{r}$" for r in ORDERS}
    case_type: ClassVar = LimitsCase
    growth: ClassVar[Mapping[str, float]] = {}

    def measure(self, backend: Backend, case: LimitsCase, data: data.Dataset, width: int, root: int) -> Arrays:
        correlation = CORRELATION if case.control == "correlated_weights" else 0.0
        kernels = _scaled_kernels(backend, case, width, range(case.seeds), data.x, root, correlation)
        arrays = {f"K{r}": kernel for r, kernel in kernels.items()}
        # Negative seeds: the reference must share no network with the sweep.
        seeds = range(-case.reference_seeds, 0)
        for name, reference in (("limit", case.reference_width), ("limit_half", case.reference_width // 2)):
            found = _scaled_kernels(backend, case, reference, seeds, data.x, root)
            arrays |= {f"{name}_{r}": kernel.mean(axis=0) for r, kernel in found.items()}
        return arrays

    def calls(self, case: LimitsCase, width: int) -> tuple[Call, ...]:
        asked: list[Call] = []
        sampled = ((width, case.seeds), *((m, case.reference_seeds) for m in (case.reference_width, case.reference_width // 2)))
        for m, seeds in sampled:
            networks: dict[str, Any] = {"net": case.network(m), "seeds": seeds}
            asked += [Draw(**networks, in_blocks=True), Hierarchy(**networks, points=case.train_size, order=max(ORDERS))]
        return tuple(asked)

    def summarize(self, case: LimitsCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        summary = {}
        for r in ORDERS:
            limit = arrays[f"limit_{r}"]
            size, entries = math.sqrt((limit**2).mean()), tuple(range(1, r + 1))
            summary[f"deviation_{r}"] = np.sqrt(((arrays[f"K{r}"] - limit) ** 2).mean(axis=entries)) / size
            error = math.sqrt(((arrays[f"limit_half_{r}"] - limit) ** 2).mean()) / size
            summary[f"limit_error_{r}"] = np.full(len(arrays[f"K{r}"]), error)
        return summary

    def violations(self, case: LimitsCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        width = max(summaries)
        shares = {
            r: float(summaries[width][f"limit_error_{r}"][0] / np.median(summaries[width][f"deviation_{r}"])) for r in ORDERS
        }
        return [
            f"at width {width} the limit of K_{r} is known to {share:.0%} of a typical deviation only: take a larger reference "
            "width or more of its seeds"
            for r, share in shares.items()
            if not share <= LIMIT_ERROR
        ]


def _scaled_kernels(
    backend: Backend, case: LimitsCase, width: int, seeds: range, x: np.ndarray, root: int, correlation: float = 0.0
) -> dict[int, np.ndarray]:
    """`m^(r/2 - 1) K_r` of networks that are drawn and measured in blocks: hundreds of wide ones do not fit into memory."""
    net = case.network(width)
    found: dict[int, list[np.ndarray]] = {r: [] for r in ORDERS}
    for block in backend.seed_blocks(len(seeds), bytes_per_seed=8 * net.parameter_count):
        kernels = backend.hierarchy(net, net.initialize(root, seeds[block], correlation), x, max(ORDERS))
        for r, kept in found.items():
            kept.append(width ** (r / 2 - 1) * kernels[r])
    return {r: np.concatenate(kept) for r, kept in found.items()}


CLAIM = Limits()
