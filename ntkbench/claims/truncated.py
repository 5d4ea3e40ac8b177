"""What the claims about the truncated hierarchy share: cases, errors of the outputs and of the kernel, slopes along an axis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.base import Arrays, Case, TrainingCase
from ntkbench.claims.calls import Call, Draw, Forward, Hierarchy, IntegrateHierarchy, Train
from ntkbench.networks import SMOOTH_ACTIVATIONS, Network, Parameters
from ntkbench.seeding import rng

ORDERS = (2, 3, 4)
"""Orders of truncation of networks along an axis."""
GROWTH_ALONG = {"K2_start": 1e2, "K2_end": 1e4, "f": 1e4} | {f"error_p{p}": 1e7 for p in ORDERS}
"""Of `by_network`: factors on the cross-check's base tolerance."""
LEFT_BY_STEP = 0.05
SHARE_OF_SEEDS = 0.9
"""For this share of the seeds the change under a doubled step is at most that fraction of the error in question."""


def check_smooth(activation: str, kernels: str = "K3 and K4") -> None:
    """ValueError for an activation whose hierarchy does not exist."""
    if activation not in SMOOTH_ACTIVATIONS:
        raise ValueError(
            f"activation {activation!r} has no {kernels} (its second derivative is a delta function); "
            f"choose one of {', '.join(SMOOTH_ACTIVATIONS)}"
        )


@dataclass(frozen=True, kw_only=True)
class SmoothCase(TrainingCase):
    """A case of networks whose hierarchy exists: a smooth activation and one output."""

    one_output: ClassVar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smooth(self.activation)


@dataclass(frozen=True, kw_only=True)
class TwiceTheStepCase(SmoothCase):
    """A case that also runs at twice the step: every recorded time must be an even number of steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for t in self.times:
            if round(t / self.step) % 2:
                raise ValueError(f"time {t} is an odd number of steps of {self.step}; halve the step or move the time")


def left(change: np.ndarray, error: np.ndarray) -> float:
    """The change over the error that `SHARE_OF_SEEDS` of the seeds stay below; NaN where a ratio is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.quantile(change / error, SHARE_OF_SEEDS))


def coarse_step(width: int, step_change: np.ndarray, error: np.ndarray, changed: str, of: str) -> list[str]:
    """The violation of a step whose doubling changes what is recorded, (S,), by too much of the error in question, (S,)."""
    ratio = left(step_change, error)
    if ratio <= LEFT_BY_STEP:
        return []
    return [
        f"at width {width} doubling the time step changes {changed} by {ratio:.2g} of {of}: take a smaller step, or, where "
        "that is rounding, a longer time or smaller widths"
    ]


def unresolved(width: int, order: int, error: np.ndarray, step_change: np.ndarray, tolerance: np.ndarray | None) -> list[str]:
    """What keeps predictions without tensors from telling the error of an order, as `Claim.violations` says it.

    Args:
        error: (S,), what truncation at the order leaves; not finite where a prediction has blown up.
        step_change: (S,), change of the network's outputs under a doubled step.
        tolerance: (S,), of the predictions, in units of the outputs; None for order 2, which has a closed form.
    """
    if lost := int((~np.isfinite(error)).sum()):
        return [
            f"at width {width} order {order} has blown up for {lost} of {len(error)} seeds, outside of its horizon; "
            "take earlier times or larger widths"
        ]
    step = left(step_change, error)
    basis = 0.0 if tolerance is None else left(tolerance, error)
    problems = []
    if not step <= LEFT_BY_STEP:
        problems.append(f"at width {width} doubling the time step changes f by {step:.2g} of the truncation error")
    if not basis <= LEFT_BY_STEP:
        problems.append(f"at width {width} the predictions' tolerance is {basis:.2g} of the truncation error")
    return problems


@dataclass(frozen=True)
class Errors:
    """What truncation at each order leaves, `network minus hierarchy`.

    Attributes:
        start: (S, n, n), the NTK at t = 0.
        f: (S, T, n), outputs of the trained networks.
        outputs: order -> (S, T, n), error of the outputs.
        kernel: order -> (S, T, n, n), error of the NTK.
    """

    start: np.ndarray
    f: np.ndarray
    outputs: dict[int, np.ndarray]
    kernel: dict[int, np.ndarray]


Spoil = Callable[[int, np.ndarray], np.ndarray]
"""From an order and its kernel at t = 0, (S,) + (n,) * order, to the kernel that is frozen in its place."""


Run = tuple[Flow, Sequence[int]]
"""How network and hierarchy are integrated, and the orders of truncation."""


def errors(
    backend: Backend,
    net: Network,
    theta: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    runs: Sequence[Run],
    spoil: Spoil | None = None,
) -> list[Errors]:
    """Errors of every run; the kernels at t = 0 are computed once.

    Args:
        x: (n, d); y: (n,).
        spoil: what a control does to the frozen top kernel.
    """
    kernels = backend.hierarchy(net, theta, x, max(p for _, orders in runs for p in orders))
    f0 = backend.forward(net, theta, x)[..., 0]
    found = []
    for flow, orders in runs:
        trained = backend.train(net, theta, x, y[:, None], **flow, observe=("f", "K2"))
        f, kernel = trained.observed("f")[..., 0], trained.observed("K2")
        remaining = Errors(kernels[2], f, {}, {})
        for p in orders:
            system = {r: kernels[r] for r in range(2, p + 1)}
            if spoil is not None:
                system[p] = spoil(p, kernels[p])
            predicted = backend.integrate_hierarchy(system, f0, y, **flow)
            remaining.outputs[p] = f - predicted.observed("f")[..., 0]
            remaining.kernel[p] = kernel - predicted.observed("K2")
        found.append(remaining)
    return found


def by_network(found: Iterable[Errors]) -> Arrays:
    """What `powers` reads, of networks along an axis, at the last recorded time: NTKs, outputs and errors, (S, axis, ...)."""
    columns: dict[str, list[np.ndarray]] = {}
    for one in found:
        # Order 2 keeps K2 as it was: its error is the drift.
        row = {"K2_start": one.start, "K2_end": one.start + one.kernel[2][:, -1], "f": one.f[:, -1]}
        row |= {f"error_p{p}": error[:, -1] for p, error in one.outputs.items()}
        for name, values in row.items():
            columns.setdefault(name, []).append(values)
    return {name: np.stack(values, axis=1) for name, values in columns.items()}


def powers(arrays: Arrays, places: Sequence[float]) -> dict[str, np.ndarray]:
    """Relative drift of the NTK and errors along an axis, (S, axis), and their slopes in its logarithm, (S,)."""
    moved = arrays["K2_end"] - arrays["K2_start"]
    paths = {"drift": rms(moved) / rms(arrays["K2_start"])} | {f"error_p{p}": rms(arrays[f"error_p{p}"]) for p in ORDERS}
    summary = {f"{name}_power": log_slope(path, places) for name, path in paths.items()}
    return summary | {f"{name}_path": path for name, path in paths.items()}


def calls(net: Network, seeds: int, points: int, runs: Sequence[Run]) -> tuple[Call, ...]:
    """What `errors` asks of the backend, and the drawing of its networks."""
    networks: dict[str, Any] = {"net": net, "seeds": seeds}
    asked: list[Call] = [
        Draw(**networks),
        Hierarchy(**networks, points=points, order=max(p for _, orders in runs for p in orders)),
        Forward(**networks, points=points),
    ]
    for flow, orders in runs:
        asked.append(Train.along(flow, **networks, points=points, observe=("f", "K2")))
        asked += [IntegrateHierarchy.along(flow, seeds=seeds, points=points, order=p) for p in orders]
    return tuple(asked)


def shuffled(kernel: np.ndarray, root: int, width: int) -> np.ndarray:
    """Each seed's tensor with its entries in a random order."""
    mixed = np.empty_like(kernel)
    for seed, tensor in enumerate(kernel):
        draw = rng(root, "shuffled_top", "order", tensor.ndim, "width", width, "seed", seed)
        mixed[seed] = draw.permutation(tensor.ravel()).reshape(tensor.shape)
    return mixed


def at_rate(case: Case, net: Network, kernels: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Kernels by order at the case's learning rate, which the control `unit_rate` does not divide by the width."""
    factor = 1 / net.mobility if case.control == "unit_rate" else 1.0
    return {r: kernel * factor ** (r - 1) for r, kernel in kernels.items()}


def rms(values: np.ndarray, kept: int = 2) -> np.ndarray:
    """Root mean square over all axes but the first `kept`, those of seeds and times."""
    found: np.ndarray = np.sqrt((values**2).mean(axis=tuple(range(kept, values.ndim))))
    return found


def log_slope(paths: np.ndarray, places: Sequence[float]) -> np.ndarray:
    """Least-squares slope of log(path) in log(place) for every seed, (S, T) to (S,); NaN where a path is not positive."""
    u = np.log(places) - np.log(places).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes: np.ndarray = np.where((paths > 0).all(axis=1), np.log(paths) @ u / (u @ u), np.nan)
    return slopes
