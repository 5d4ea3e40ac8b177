"""What the claims about held-out points share: splits of real data, kernel regression, errors, and the choice on validation.

Networks and kernels are chosen by one rule: of all candidates (times at which a network was recorded, numbers of steps of a
kernel's gradient descent) the one of least mean squared error on the validation points, for every seed. Stopping early takes
the place of a ridge (Lee et al. 2020). A kernel that is compared with a network stops at the times at which the network was
recorded (`stops`), else it would learn slow modes for which the network had no time. Kernels that are compared with each other
alone have `STOPS` at a learning rate of their own: a kernel's scale only changes the unit of its time, so that is chosen along.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, cast

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import ArchitectureCase, Case, TrainingCase
from ntkbench.integrators import steps_between
from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters

SMALLEST_EFFECT = 0.01
"""One point of test accuracy."""
STOPS = tuple(2**k for k in range(17))
"""Numbers of steps of a kernel's descent among which validation chooses, where no network sets them."""
KEPT_BYTES = 2**28
"""Of limiting kernels that are kept for the next width."""
FOREVER = 2**40
"""Steps after which descent in a kernel has ended: it is ridgeless regression."""


@dataclass(frozen=True, kw_only=True)
class SplitCase(ArchitectureCase):
    """Networks on real data, every seed with a split of its own.

    Attributes:
        validation_size: how many of the `test_size` held-out points, the first of them, are for the choice of candidates; the
            rest are for the result alone.
    """

    test_points: ClassVar = True

    validation_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.validation_size < self.test_size:
            raise ValueError(
                f"validation_size must be at least 1 and below test_size {self.test_size} (the rest are the test points), got "
                f"{self.validation_size}"
            )
        check_real(self.dataset)


@dataclass(frozen=True, kw_only=True)
class StrengthCase(SplitCase):
    """Networks in the NTK parametrization or, with a `strength`, in the mean-field one.

    Attributes:
        strength: feature strength of the mean-field parametrization; None for the NTK parametrization.
    """

    strength: float | None = None

    def network(self, width: int, **changes: Any) -> FullyConnected:
        """As `Case.network`; a `strength` makes it mean-field."""
        if self.strength is not None:
            changes = {"parametrization": "mean_field", "feature_strength": self.strength} | changes
        return super().network(width, **changes)


def check_real(dataset: str) -> None:
    """ValueError for a synthetic source; of an unknown one the configuration speaks."""
    source = data.SOURCES.get(dataset)
    if source is not None and source.size is None:
        real = ", ".join(name for name, known in data.SOURCES.items() if known.size is not None)
        raise ValueError(f"dataset {dataset!r} is synthetic, the claim is about real data: choose one of {real}")


def splits(case: Case, root: int, permute_labels: bool = False) -> data.Dataset:
    """A split for each seed."""
    return data.load(
        case.dataset,
        train_size=case.train_size,
        test_size=case.test_size,
        input_dim=case.input_dim,
        root=root,
        splits=case.seeds,
        permute_labels=permute_labels,
    )


def limiting_kernels(backend: Backend, net: Network, x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NNGP and limiting NTK of each seed's training points, (2, S, n, n), and of its held-out points with them, (2, S, h, n).

    The last results are kept, two at least, those of two readouts: they depend on the width for the standard parametrization
    alone, and with pooling they cost more than the networks do.
    """
    given = cast(FullyConnected | Convolutional, net)
    regardless = given if net.parametrization == "standard" else replace(given, width=1)
    key = (backend, regardless, *((points.shape, hashlib.sha256(points.tobytes()).digest()) for points in (x, x_test)))
    if key not in _limiting_kernels:
        among = [backend.limiting_kernels(net, one) for one in x]
        held_out = [backend.limiting_kernels(net, *pair) for pair in zip(x_test, x, strict=True)]
        found = np.stack(among, axis=1), np.stack(held_out, axis=1)
        for kernels in found:
            kernels.flags.writeable = False
        while len(_limiting_kernels) > 1 and sum(of.nbytes for pair in _limiting_kernels.values() for of in pair) > KEPT_BYTES:
            del _limiting_kernels[next(iter(_limiting_kernels))]
        _limiting_kernels[key] = found
    return _limiting_kernels[key]


_limiting_kernels: dict[Any, tuple[np.ndarray, np.ndarray]] = {}


def limiting_ntks(backend: Backend, net: Network, data: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Each seed's limiting NTK among its training points, (S, n, n), and of its held-out points with them, (S, h, n)."""
    among, held_out = limiting_kernels(backend, net, data.x, data.x_test)
    return among[1], held_out[1]


def empirical_ntks(backend: Backend, net: Network, theta: Parameters, data: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The empirical NTK, mean over outputs; shapes as `limiting_ntks`."""
    among = backend.ntk(net, theta, data.x, outputs="trace")
    held_out = backend.ntk(net, theta, data.x_test, data.x, outputs="trace")
    return among / net.output_dim, held_out / net.output_dim


def critical_step(kernel: np.ndarray) -> np.ndarray:
    """Learning rate from which on descent with a kernel (S, n, n) diverges, (S,)."""
    found: np.ndarray = 2 * kernel.shape[-1] / np.linalg.eigvalsh(kernel)[:, -1]
    return found


def beyond_critical(case: TrainingCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
    """The violation of a step that is not below the smallest `critical_step` of a width, for each width where it is none."""
    critical = {width: float(summary["critical_step"].min()) for width, summary in summaries.items()}
    return [
        f"step {case.step} is not below the critical learning rate {largest:.3g} at width {width}"
        for width, largest in critical.items()
        if not case.step < largest
    ]


def stops(case: TrainingCase) -> tuple[int, ...]:
    """Steps until each recorded time of a case: where a kernel stops that is to train as long as the case's network."""
    return tuple(accumulate(steps_between(case.times, case.step)))


def descent(
    backend: Backend,
    kernel: np.ndarray,
    kernel_held_out: np.ndarray,
    y: np.ndarray,
    step: float | None = None,
    counts: Sequence[int] = STOPS,
) -> np.ndarray:
    """Kernel regression by gradient descent from zero, stopped after each number of steps in `counts`, on held-out points.

    Args:
        kernel: (S, n, n); kernel_held_out: (S, h, n); y: (S, n, O).
        step: the learning rate, units of gradient-flow time; None for `learning_rate(kernel)`.

    Returns:
        (S, len(counts), h, O).
    """
    rate = learning_rate(kernel) if step is None else step
    return backend.kernel_descent(kernel, -y, step=rate, counts=counts, kernel_test=kernel_held_out)[1]


def learning_rate(kernel: np.ndarray) -> float:
    """Half of the critical one: n over the largest eigenvalue of all seeds' kernels (S, n, n)."""
    return float(kernel.shape[-1] / np.linalg.eigvalsh(kernel)[:, -1].max())


def mse(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over points of the squared error summed over outputs: (S, ..., h, O) and (S, h, O) to (S, ...)."""
    targets = y.reshape(len(y), *[1] * (outputs.ndim - 3), *y.shape[1:])
    found: np.ndarray = ((outputs - targets) ** 2).sum(axis=-1).mean(axis=-1)
    return found


def classes(outputs: np.ndarray) -> np.ndarray:
    """The class of each point: the largest output or, with one output, its sign; (..., O) to (...)."""
    found: np.ndarray = np.sign(outputs[..., 0]) if outputs.shape[-1] == 1 else outputs.argmax(axis=-1)
    return found


def accuracy(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of points of the label's class, NaN if outputs are not finite; shapes as `mse`."""
    targets = y.reshape(len(y), *[1] * (outputs.ndim - 3), *y.shape[1:])
    hits = classes(outputs) == classes(targets)
    return np.where(np.isfinite(outputs).all(axis=(-2, -1)), hits.mean(axis=-1), np.nan)


def validation_error(case: SplitCase, candidates: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared error on the validation points, infinite where it is not finite: (S, C); arguments as of `chosen`."""
    v = case.validation_size
    with np.errstate(over="ignore", invalid="ignore"):
        error = mse(candidates[:, :, :v], y[:, :v])
    return np.where(np.isfinite(error), error, np.inf)


def chosen(case: SplitCase, candidates: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The outputs on test points of the candidate of least mean squared error on the validation points, for every seed.

    Args:
        candidates: (S, C, h, O); one that is not finite is never chosen where another is.
        y: (S, h, O).

    Returns:
        (S, h - validation_size, O).
    """
    best = validation_error(case, candidates, y).argmin(axis=1)
    return candidates[np.arange(len(candidates)), best, case.validation_size :]
