"""The horizon of the hierarchy: higher orders help while t is small against sqrt(m) (Huang & Yau 2020, after Theorem 2.6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Forward, Train
from ntkbench.claims.tensor_free import foretold, predictions
from ntkbench.claims.truncated import LEFT_BY_STEP, SHARE_OF_SEEDS, SmoothCase, calls, errors, log_slope, rms, shuffled
from ntkbench.networks import Network, Parameters
from ntkbench.verdicts.expectations import Equivalence, Rate

ORDERS = (2, 3, 4, 5, 6)
GAIN = 10.0
"""Within the horizon order 4 errs so many times less than order 2."""
BEYOND = 10.0
"""Predictions further from the network than so many times the largest target are all alike: the hierarchy has blown up."""
EARLY_TIMES = 3
"""The first recorded times, through which the power of t is fitted."""
TOLERANCE = 3e-8
"""Of predictions without tensors, relative to the largest residual at t = 0."""
SOURCE = "huang2020dynamics, remark on Theorem 2.6"
DOUBLED = {"antisymmetric": (True,)}
WITH_TENSORS = {"tensor_free": (False,)}


@dataclass(frozen=True, kw_only=True)
class HorizonCase(SmoothCase):
    """Targets may be scaled up, so that the horizon is reached before the residual has decayed.

    Attributes:
        label_scale: factor on the targets.
        top: the highest order of truncation.
        tensor_free: whether kernels beyond the NTK are contracted with a basis of the residual's path and never formed, so that
            there may be many points.
    """

    adjustable: ClassVar = SmoothCase.adjustable | {"top"}

    label_scale: float = 1.0
    top: Literal[4, 5, 6] = 4
    tensor_free: bool = False
    control: Literal["mean_field", "shuffled_top"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.times) <= EARLY_TIMES:
            raise ValueError(f"times must be more than {EARLY_TIMES}, got {list(self.times)}")
        if not self.label_scale > 0:
            raise ValueError(f"label_scale must be positive, got {self.label_scale}")
        if self.tensor_free and self.top > 4:
            raise ValueError(f"without tensors the hierarchy ends at order 4, got top: {self.top}; leave out one of them")
        if self.tensor_free and self.control == "shuffled_top":
            raise ValueError("control shuffled_top permutes a tensor, and tensor_free forms none; leave out tensor_free")

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders of truncation."""
        return tuple(p for p in ORDERS if p <= self.top)


class Horizon(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/horizon"
    title: ClassVar = "Higher orders help for times below sqrt(m)"
    statement: ClassVar = (
        "Truncating two orders later divides the error by a multiple of m/t^2, so that any precision can be had for t much "
        "smaller than sqrt(m); beyond a time that grows as sqrt(m) higher orders cease to help."
    )
    source: ClassVar = SOURCE
    reference_ids: ClassVar = ("HY-7",)
    assumptions: ClassVar = (
        "Smooth activation, NTK parametrization, all layers trained by gradient flow on the square loss. The targets are so "
        "large that the horizon comes before the residual has decayed, after which no order errs more than it did. Without "
        "tensors network and prediction are not integrated alike: the change under half of training's step and predictions' "
        f"tolerance ({TOLERANCE:g} of the largest residual) are together less than {LEFT_BY_STEP:.0%} of order 4's error at "
        f"the two times between which the horizon lies, for {SHARE_OF_SEEDS:.0%} of the seeds."
    )
    controls: ClassVar = {
        "mean_field": "the mean-field parametrization, in which the width does not move the horizon",
        "shuffled_top": "the entries of the frozen top tensor K_p are permuted at random, for p = 3 and higher",
    }
    quantities: ClassVar = {
        "horizon": f"time at which error_p4 over error_p2 first reaches 1/{GAIN:g}, interpolated in logarithms",
        "ratio": "error_p4 over error_p2 at the first recorded time",
        "ratio_power": f"slope of the logarithm of that ratio in log t over the first {EARLY_TIMES} recorded times",
        **{f"error_p{p}_path": f"rms over training points of f - f_p at each recorded time, order {p}" for p in ORDERS},
        "unresolved": (
            "largest share of error_p4 that halving training's step and the predictions' tolerance account for, at the last "
            "recorded time before the horizon and the first after it; 0 with tensors, where network and hierarchy take the "
            "same steps"
        ),
    }
    expectations: ClassVar = (
        Rate(
            name="horizon",
            statement=f"Order 4 errs {GAIN:g} times less than order 2 up to a time that grows as m^(1/2).",
            source=SOURCE,
            quantity="horizon",
            control="mean_field",
            where=DOUBLED,
            exponent=0.5,
            margin=0.1,
        ),
        Rate(
            name="ratio",
            statement="At a fixed time the ratio of the errors of orders 4 and 2 falls as 1/m.",
            source=SOURCE,
            quantity="ratio",
            control="mean_field",
            where=WITH_TENSORS,
            exponent=-1.0,
            margin=0.2,
        ),
        Equivalence(
            name="ratio_power",
            statement="At small times the ratio of the errors of orders 4 and 2 grows as t^2.",
            source=SOURCE,
            quantity="ratio_power",
            control="shuffled_top",
            where=WITH_TENSORS,
            value=2.0,
            margin=0.15,
        ),
    )
    limitations: ClassVar = (
        "Few training points, dozens where they are real images; the horizon is that of orders 2 and 4 and of one gain, in the "
        "times of the targets at hand: its exponent is tested, not its place. That higher orders cease to help is not "
        "measured, only that they help less than that. At widths where one network's K6 scatters by "
        "more than its mean the horizon is expected to move out faster than sqrt(m). Without tensors only the horizon is "
        "judged: errors at small times are below what the predictions resolve. The theorem bounds the targets; larger ones "
        "shorten the horizon in proportion. The factor on the targets, points, times and seeds were settled on trials with "
        "other draws; where a network's horizon lies outside of the recorded times there is no verdict."
    )
    figure: ClassVar = (
        Panel(
            title="Which order errs least",
            kind="map",
            quantities=tuple(f"error_p{p}_path" for p in ORDERS),
            ylabel="gradient-flow time t",
            where={"antisymmetric": (False,)},
        ),
        Panel(
            title="Real images",
            kind="map",
            quantities=("error_p2_path", "error_p4_path"),
            ylabel="gradient-flow time t",
            where={"tensor_free": (True,)},
        ),
        Panel(
            title="The horizon",
            kind="rate",
            quantities=("horizon",),
            ylabel="time of the horizon",
            where=DOUBLED,
            slope=0.5,
        ),
    )
    caption: ClassVar = (
        "(a) The order of truncation that errs least, geometric mean over networks, by width and time, from a plain "
        "initialization. (b) The same for real images and the hierarchy without tensors, orders 2 and 4 (3 and 2 are one "
        f"there, K3 being 0 at the start). (c) Time at which order 4 ceases to err {GAIN:g} times less than order 2. Grey: "
        "mean-field parametrization."
    )
    labels: ClassVar = {f"error_p{p}": f"order {p}" for p in ORDERS}
    case_type: ClassVar = HorizonCase
    growth: ClassVar = {"f": 1e4} | {f"error_p{p}": 1e7 for p in ORDERS}

    def measure(self, backend: Backend, case: HorizonCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        targets = case.label_scale * data.y[:, 0]

        def spoil(p: int, kernel: np.ndarray) -> np.ndarray:
            return shuffled(kernel, root, width) if case.control == "shuffled_top" and p > 2 else kernel

        with np.errstate(over="ignore", invalid="ignore"):
            if case.tensor_free:
                arrays, remaining = _without_tensors(backend, case, net, theta, data.x, targets)
            else:
                (found,) = errors(backend, net, theta, data.x, targets, [(case.flow(), case.orders)], spoil)
                arrays, remaining = {"f": found.f}, found.outputs
        limit = BEYOND * float(np.abs(targets).max())
        return arrays | {f"error_p{p}": _bounded(error, limit) for p, error in remaining.items()}

    def calls(self, case: HorizonCase, width: int) -> tuple[Call, ...]:
        if case.tensor_free:
            net, n = case.network(width), case.train_size
            networks: dict[str, Any] = {"net": net, "seeds": case.seeds, "points": n}
            return (
                Draw(net=net, seeds=case.seeds),
                *(Train.along(case.flow(refine), **networks) for refine in (1, 2)),
                Forward(**networks),
                *foretold(net, case.seeds, n, n, case.top),
            )
        return calls(case.network(width), case.seeds, case.train_size, [(case.flow(), case.orders)])

    def summarize(self, case: HorizonCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        paths = {p: rms(arrays[f"error_p{p}"]) for p in case.orders}
        ratio = paths[4] / paths[2]
        early = slice(EARLY_TIMES)
        summary = {
            "horizon": crossing(ratio, case.times, 1 / GAIN),
            "ratio": ratio[:, 0],
            "ratio_power": log_slope(ratio[:, early], case.times[early]),
        }
        unknown = np.zeros_like(ratio)
        if case.tensor_free:
            tolerance = TOLERANCE * np.abs(arrays["residual_start"]).max(axis=1)[:, None]
            unknown = (rms(arrays["f_finer"] - arrays["f"]) + tolerance) / paths[4]
        summary["unresolved"] = np.where(_beside_crossing(ratio, 1 / GAIN), unknown, 0).max(axis=1)
        return summary | {f"error_p{p}_path": path for p, path in paths.items()}

    def violations(self, case: HorizonCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        shares = {width: float(np.quantile(summary["unresolved"], SHARE_OF_SEEDS)) for width, summary in summaries.items()}
        return [
            f"at width {width} training's step and the predictions' tolerance leave up to {share:.2g} of order 4's error "
            "beside the horizon; take a smaller step or larger targets"
            for width, share in shares.items()
            if not share <= LEFT_BY_STEP
        ]

    def along(self, case: HorizonCase) -> tuple[float, ...]:
        return case.times


def _without_tensors(
    backend: Backend, case: HorizonCase, net: Network, theta: Parameters, x: np.ndarray, y: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[int, np.ndarray]]:
    """What is recorded of training, and the errors of the outputs by order, (S, T, n)."""

    def trained(refine: float = 1.0) -> np.ndarray:
        return backend.train(net, theta, x, y[:, None], **case.flow(refine), observe=("f",)).observed("f")[..., 0]

    f = trained()
    predicted = predictions(backend, net, theta, x, y, x, case.times, case.top, TOLERANCE)
    arrays = {"f": f, "f_finer": trained(refine=2), "residual_start": backend.forward(net, theta, x)[..., 0] - y}
    return arrays, {p: f - outputs for p, outputs in predicted.items()}


def _bounded(error: np.ndarray, limit: float) -> np.ndarray:
    """The error, (S, T, n), as `limit` from the first time on at which an entry is larger or not finite."""
    with np.errstate(invalid="ignore"):
        out = ~(np.abs(error) < limit).all(axis=-1)
    return np.where(np.maximum.accumulate(out, axis=1)[..., None], limit, error)


def crossing(paths: np.ndarray, times: tuple[float, ...], level: float) -> np.ndarray:
    """The first time at which each path, (S, T), reaches a level from below, log-log; NaN where it does not."""
    logs, u = np.log(paths / level), np.log(times)
    found = np.full(len(paths), np.nan)
    for s, path in enumerate(logs):
        above = np.flatnonzero(path >= 0)
        if len(above) and (k := above[0]) > 0:
            found[s] = np.exp(u[k - 1] - path[k - 1] * (u[k] - u[k - 1]) / (path[k] - path[k - 1]))
    return found


def _beside_crossing(paths: np.ndarray, level: float) -> np.ndarray:
    """Where the first place at or above a level is, and the place before it, as booleans (S, T)."""
    reached = np.maximum.accumulate(paths >= level, axis=1)
    found: np.ndarray = np.diff(reached, axis=1, prepend=False)
    found[:, :-1] |= found[:, 1:]
    return found


CLAIM = Horizon()
