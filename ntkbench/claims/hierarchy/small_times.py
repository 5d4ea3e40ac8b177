"""The truncation error's powers of time: t^p at first, saturation at last (Huang & Yau 2020, Theorem 2.6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call
from ntkbench.claims.truncated import SmoothCase, calls, errors, log_slope, rms, shuffled
from ntkbench.verdicts.expectations import Equivalence, Paired

ORDERS = (2, 3, 4, 5)
EARLY = 8.0
"""The control divides all times by it."""
FITTED = 3
"""Recorded times that a power is fitted through: the first ones at small times, the last ones at late times."""
RESOLVED = 100.0
SHARE_OF_SEEDS = 0.9
"""For this share of the seeds every error is more than so many machine epsilons times the outputs' size."""
SOURCE = "huang2020dynamics, Theorem 2.6"
SMALL, LATE = {"regime": ("small",)}, {"regime": ("late",)}
PLAIN, DOUBLED = {"antisymmetric": (False,)}, {"antisymmetric": (True,)}


@dataclass(frozen=True, kw_only=True)
class SmallTimesCase(SmoothCase):
    """A case of small or of late times.

    Attributes:
        regime: `small`, where the residual has hardly changed at any recorded time, or `late`, where it has mostly decayed.
        top: the highest order of truncation.
    """

    adjustable: ClassVar = SmoothCase.adjustable | {"top"}

    regime: Literal["small", "late"]
    top: Literal[4, 5] = 5
    control: Literal["shuffled_top", "early"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.times) < FITTED:
            raise ValueError(f"times must be {FITTED} or more, got {list(self.times)}")

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders of truncation."""
        return tuple(p for p in ORDERS if p <= self.top)

    def flow(self, refine: float = 1.0, stretch: float = 1.0) -> Flow:
        """As `TrainingCase.flow`; the control `early` stops sooner."""
        return super().flow(refine, stretch / EARLY if self.control == "early" else stretch)


def _power(p: int, value: float, antisymmetric: bool) -> Equivalence:
    start = "an antisymmetric" if antisymmetric else "a plain"
    return Equivalence(
        name=f"power_p{p}_{'antisymmetric' if antisymmetric else 'plain'}",
        statement=f"From {start} initialization the error of order p = {p} grows as t^{value:g} at small times.",
        source=f"{SOURCE} (its power of t)" if not antisymmetric else f"{SOURCE}, where odd kernels vanish at t = 0",
        quantity=f"power_p{p}",
        control="shuffled_top",
        where=SMALL | (DOUBLED if antisymmetric else PLAIN),
        value=value,
        margin=0.15,
    )


def _saturation(p: int) -> Paired:
    return Paired(
        name=f"saturation_p{p}",
        statement=f"At late times the error of order p = {p} grows more slowly than its bound, by more than one power of t.",
        source=f"{SOURCE} (its bound grows for ever)",
        quantity=f"excess_p{p}",
        control="early",
        where=LATE,
        sign=-1,
        size=1.0,
        at="largest",
    )


class SmallTimes(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/small_times"
    title: ClassVar = "The truncation error grows as t^p and then saturates"
    statement: ClassVar = (
        "Truncated at order p the hierarchy errs by t^p at small times (from an antisymmetric initialization by t^(p+1) for "
        "even p, where odd kernels vanish), as the printed bound (1 + t) t^(p-1) min(t, n/lambda) does; once the residual has "
        "decayed the error saturates, while the bound grows on."
    )
    source: ClassVar = SOURCE
    reference_ids: ClassVar = ("HY-6",)
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, all layers trained by gradient flow on the square loss. Checked: for "
        f"{SHARE_OF_SEEDS:.0%} of the seeds every error is more than {RESOLVED:g} times the rounding of the outputs."
    )
    controls: ClassVar = {
        "shuffled_top": "the entries of the frozen top tensor K_p are permuted at random, which costs one power of t",
        "early": f"the late times divided by {EARLY:g}, when the residual has not decayed",
    }
    quantities: ClassVar = {
        **{f"power_p{p}": f"slope of log rms(f - f_p) in log t over {FITTED} recorded times, order {p}" for p in ORDERS},
        **{f"excess_p{p}": f"the same less p, the printed bound's power, order {p}" for p in ORDERS},
        **{f"error_p{p}_path": f"rms over training points of f - f_p at each recorded time, order {p}" for p in ORDERS},
    }
    expectations: ClassVar = (
        *(_power(p, p, antisymmetric=False) for p in ORDERS),
        *(_power(p, p + 1, antisymmetric=True) for p in (2, 4)),
        *(_saturation(p) for p in (2, 4)),
    )
    limitations: ClassVar = (
        "Few training points, few widths; powers are slopes between finite times, so that the next power of t is in them. "
        "When the error saturates depends on the data, by the smallest eigenvalues of the kernel. Times were settled on "
        "trials with other draws: at twice the times the next power takes the measured one out of its margin from p = 5 on, "
        "at half of them order 5 drowns in rounding."
    )
    figure: ClassVar = (
        Panel(
            title="At small times",
            kind="along",
            quantities=tuple(f"error_p{p}_path" for p in ORDERS),
            ylabel=r"rms$(f - f_p)$",
            where=SMALL | PLAIN,
        ),
        Panel(
            title="From small to late times",
            kind="along",
            quantities=("error_p2_path", "error_p4_path"),
            ylabel=r"rms$(f - f_p)$",
            where=LATE,
        ),
        Panel(
            title="Powers of t at small times",
            kind="level",
            quantities=tuple(f"power_p{p}" for p in ORDERS),
            ylabel="exponent of t",
            where=SMALL,
        ),
    )
    caption: ClassVar = (
        "Error of the truncated hierarchy along training, geometric mean over networks: (a) while the residual has hardly "
        "changed, (b) until it has decayed. (c) Fitted powers of t of every network, mean and interval, by width. Grey: "
        "shuffled top tensors."
    )
    labels: ClassVar = {f"error_p{p}": f"order {p}" for p in ORDERS} | {f"power_p{p}": f"order {p}" for p in ORDERS}
    case_type: ClassVar = SmallTimesCase
    growth: ClassVar = {"f": 1e2} | {f"error_p{p}": 1e7 for p in ORDERS}

    def measure(self, backend: Backend, case: SmallTimesCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))

        def spoil(_: int, kernel: np.ndarray) -> np.ndarray:
            return shuffled(kernel, root, width) if case.control == "shuffled_top" else kernel

        (found,) = errors(backend, net, theta, data.x, data.y[:, 0], [(case.flow(), case.orders)], spoil)
        return {"f": found.f} | {f"error_p{p}": error for p, error in found.outputs.items()}

    def calls(self, case: SmallTimesCase, width: int) -> tuple[Call, ...]:
        return calls(case.network(width), case.seeds, case.train_size, [(case.flow(), case.orders)])

    def summarize(self, case: SmallTimesCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        fitted = slice(FITTED) if case.regime == "small" else slice(-FITTED, None)
        paths = {p: rms(arrays[f"error_p{p}"]) for p in case.orders}
        powers = {p: log_slope(path[:, fitted], case.times[fitted]) for p, path in paths.items()}
        summary = {f"power_p{p}": power for p, power in powers.items()}
        summary |= {f"excess_p{p}": power - p for p, power in powers.items()}
        # In units of the outputs' rounding: what is smaller than that is no error of the truncation.
        smallest = np.min([path[:, fitted].min(axis=1) for path in paths.values()], axis=0)
        summary["resolution"] = smallest / (np.finfo(float).eps * np.abs(arrays["f"]).max(axis=(1, 2)))
        return summary | {f"error_p{p}_path": path for p, path in paths.items()}

    def along(self, case: SmallTimesCase) -> tuple[float, ...]:
        return tuple(case.flow()["times"])

    def violations(self, case: SmallTimesCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        least = {width: float(np.quantile(summary["resolution"], 1 - SHARE_OF_SEEDS)) for width, summary in summaries.items()}
        return [
            f"at width {width} an error is {found:.3g} times the rounding of the outputs only: take later times or smaller "
            "widths"
            for width, found in least.items()
            if not found > RESOLVED
        ]


CLAIM = SmallTimes()
