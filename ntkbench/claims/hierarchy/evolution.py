"""Kernels evolve by the infinite hierarchy, exactly (Huang & Yau 2020, Theorem 2.3).

`d K_r / dt = <grad K_r, d theta / dt> = -(1/n) sum_b K_{r+1}(.., b) (f_b - y_b)` is the chain rule along the flow, for kernels
at any points; b runs over the training points. The derivative is taken by five-point central differences,

    F'(t) = [8 (F(t + h) - F(t - h)) - (F(t + 2h) - F(t - 2h))] / 12 h + (h^4 / 30) F^(5)(t) + ..,

whose error, with rates of change up to R, is below (R h)^4 / 30 of the derivative; the stencil of 2h errs 16 times as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Hierarchy, Train
from ntkbench.claims.truncated import SmoothCase
from ntkbench.verdicts.expectations import Identity

Kernels = dict[int, np.ndarray]

TOP = 5
"""The highest kernel that a case may ask for; it drives the one below."""
TOLERANCE = 1e-6
"""Rates R of these networks are about 5 (their kernels' largest eigenvalue over n, times the factors of a product that K_r
is): at steps of 1/128 the stencil errs by (R h)^4 / 30 = 1e-7, and rounding by 1e-16 m / h, 1e-11 at most."""
WEIGHTS = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Offset in steps -> weight, over the step."""
REACH = 4
"""Steps to either side: that of the stencil at twice the spacing."""


@dataclass(frozen=True, kw_only=True)
class EvolutionCase(SmoothCase):
    """`step` is the stencil's spacing too, and `times` are those at which derivatives are taken.

    Attributes:
        order: the highest kernel; evolution is judged of those below.
    """

    test_points: ClassVar = True
    trained_by: ClassVar = "gradient flow"

    order: Literal[4, 5] = 5
    control: Literal["frozen"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centres[0] < REACH:
            raise ValueError(f"times must begin {REACH} steps after 0, which the stencil reaches back, got {self.times[0]}")

    @property
    def centres(self) -> tuple[int, ...]:
        """The times in steps."""
        return tuple(round(t / self.step) for t in self.times)

    @property
    def recorded(self) -> tuple[int, ...]:
        """Steps at which the flow is recorded: every centre and what the stencils take around it."""
        offsets = {scale * k for k in WEIGHTS for scale in (1, 2)}
        return tuple(sorted({centre + k for centre in self.centres for k in offsets | {0}}))


class Evolution(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/evolution"
    title: ClassVar = "Kernels evolve by the next kernel"
    statement: ClassVar = (
        "Along gradient flow every kernel of the hierarchy moves by the next one contracted with the residual, "
        "dK_r/dt = -(1/n) K_{r+1} (f - y), outputs being K_1: an identity, at training points and at unseen ones, which the "
        "training points drive."
    )
    source: ClassVar = "huang2020dynamics, Theorem 2.3, equation (2.7), at unseen points equation (2.11)"
    reference_ids: ClassVar = ("HY-1", "HY-8")
    assumptions: ClassVar = (
        "Smooth activation, all layers trained by gradient flow on the square loss. Derivatives in time are five-point central "
        f"differences; what they change under twice the spacing bounds their error, which must stay below {TOLERANCE / 2:g}."
    )
    controls: ClassVar = {
        "frozen": "the driving kernel K_{r+1} is that of the initial parameters; residuals and derivatives stay as they are"
    }
    quantities: ClassVar = {
        **{
            f"defect_{r}": f"largest |dK_{r}/dt + (1/n) K_{r + 1} (f - y)| over the largest |dK_{r}/dt|, training points"
            for r in range(1, TOP)
        },
        **{f"unseen_{r}": f"the same for entries of K_{r} at one unseen point or more" for r in range(1, TOP)},
        "stencil_error": "a fifteenth of the change of dK_r/dt under twice the spacing, relative likewise, largest of all r",
    }
    expectations: ClassVar = tuple(
        Identity(
            name=f"{name}_{r}",
            statement=f"{'f' if r == 1 else f'K_{r}'} {where} evolves by K_{r + 1}.",
            source=f"huang2020dynamics, {place}",
            quantity=f"{name}_{r}",
            control="frozen",
            where={"order": (TOP,)} if r == TOP - 1 else {},
            tolerance=TOLERANCE,
        )
        for name, where, place in (
            ("defect", "at training points", "equation (2.7)"),
            ("unseen", "at unseen points", "equation (2.11)"),
        )
        for r in range(1, TOP)
    )
    limitations: ClassVar = (
        "Few points, since K_5 has n^5 entries; two times of each flow. The identity is exact at every width: that it holds "
        "says nothing of how fast truncations of it converge. The tolerance is what the stencil allows, not what the "
        "kernels do."
    )
    figure: ClassVar = (
        Panel(
            title="Training points",
            kind="rate",
            quantities=tuple(f"defect_{r}" for r in range(1, TOP)),
            ylabel=r"$\|\dot K_r + K_{r+1} (f - y)/n\|_\infty\,/\,\|\dot K_r\|_\infty$",
            where={},
        ),
        Panel(
            title="Unseen points",
            kind="rate",
            quantities=tuple(f"unseen_{r}" for r in range(1, TOP)),
            ylabel=r"$\|\dot K_r + K_{r+1} (f - y)/n\|_\infty\,/\,\|\dot K_r\|_\infty$",
            where={},
        ),
    )
    caption: ClassVar = (
        "How far the kernels are from evolving by the next one, relative to how fast they move, (a) on training points, "
        "(b) where one point or more is unseen: what is left is the error of the difference quotient in time. Grey: the "
        "control, driven by the initial kernels; it is wrong by the amount by which a kernel has changed."
    )
    labels: ClassVar = {f"{name}_{r}": f"$K_{r}$" for name in ("defect", "unseen") for r in range(1, TOP)}
    case_type: ClassVar = EvolutionCase
    # Differences of kernels at neighbouring times, divided by the step: rounding is larger by the width over the step.
    growth: ClassVar = {f"{name}_{r}": 1e3 for name in ("slope", "slope_coarse", "driven") for r in range(1, TOP)}

    def measure(self, backend: Backend, case: EvolutionCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net, n = case.network(width), case.train_size
        theta, rows = net.initialize(root, range(case.seeds)), np.concatenate([data.x, data.x_test])
        trained = backend.train(
            net,
            theta,
            data.x,
            data.y,
            times=[k * case.step for k in case.recorded],
            step=case.step,
            integrator=case.integrator,
            observe=("f", "f_test", "theta"),
            x_test=data.x_test,
        )
        f = np.concatenate([trained.observed("f"), trained.observed("f_test")], axis=2)[..., 0]
        outputs = dict(zip(case.recorded, np.moveaxis(f, 1, 0), strict=True))
        parameters = dict(zip(case.recorded, trained.parameters(), strict=True))

        def kernels(at: int, order: int) -> Kernels:
            return {1: outputs[at]} | backend.hierarchy(net, parameters[at], rows, order)

        initial = backend.hierarchy(net, theta, rows, case.order) if case.control == "frozen" else None
        found: list[Arrays] = []
        for centre in case.centres:
            around = {k: kernels(centre + k, case.order - 1) for k in (-4, -2, -1, 1, 2, 4)}
            driving = kernels(centre, case.order) if initial is None else initial
            residual = outputs[centre][:, :n] - data.y[:, 0]
            found.append(_slopes(around, case.step) | _driven(driving, residual))
        return {name: np.stack([arrays[name] for arrays in found], axis=1) for name in found[0]}

    def calls(self, case: EvolutionCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds}
        rows = case.train_size + case.test_size
        driving = 1 if case.control == "frozen" else len(case.times)
        return (
            Draw(**networks),
            Train(
                **networks,
                points=case.train_size,
                test_points=case.test_size,
                integrator=case.integrator,
                steps=case.recorded[-1],
                records=len(case.recorded),
                observe=("f", "f_test", "theta"),
            ),
            Hierarchy(count=6 * len(case.times), **networks, points=rows, order=case.order - 1),
            Hierarchy(count=driving, **networks, points=rows, order=case.order),
        )

    def summarize(self, case: EvolutionCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        summary, errors = {}, []
        for r in range(1, case.order):
            slope = arrays[f"slope_{r}"]
            seen = np.zeros(slope.shape[2:], dtype=bool)
            seen[(slice(case.train_size),) * r] = True
            for name, entries in (("defect", seen), ("unseen", ~seen)):
                summary[f"{name}_{r}"] = _relative(slope - arrays[f"driven_{r}"], slope, entries)
            errors.append(_relative(arrays[f"slope_coarse_{r}"] - slope, slope, np.ones_like(seen)) / 15)
        return summary | {"stencil_error": np.max(errors, axis=0)}

    def violations(self, case: EvolutionCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        worst = {width: float(summary["stencil_error"].max()) for width, summary in summaries.items()}
        return [
            f"at width {width} the derivative in time errs by {error:.2g} of itself: take a smaller step, or, where that is "
            "rounding, a larger one"
            for width, error in worst.items()
            if not error <= TOLERANCE / 2
        ]


def _slopes(around: Mapping[int, Kernels], step: float) -> Arrays:
    """Derivatives of all kernels from their values at offsets in steps, and the same at twice the spacing."""
    found = {}
    for name, scale in (("slope", 1), ("slope_coarse", 2)):
        for r in around[1]:
            found[f"{name}_{r}"] = sum(
                (weight / (scale * step) * around[scale * k][r] for k, weight in WEIGHTS.items()), np.zeros(())
            )
    return found


def _driven(kernels: Kernels, residual: np.ndarray) -> Arrays:
    """`-(1/n) K_{r+1} (f - y)`, the last slot at the n training points, residuals (S, n)."""
    n = residual.shape[1]
    return {
        f"driven_{r - 1}": -np.einsum("s...b,sb->s...", kernel[..., :n], residual) / n for r, kernel in kernels.items() if r > 1
    }


def _relative(difference: np.ndarray, slope: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Largest difference over the largest slope, among the entries of one time; the worst time: (S, T, n, ..) to (S,)."""
    largest, scale = (np.abs(array[:, :, entries]).max(axis=2) for array in (difference, slope))
    worst: np.ndarray = (largest / scale).max(axis=1)
    return worst


CLAIM = Evolution()
