"""What the claims about held-out points share: kernel regression, errors, and the choice on validation points.

Networks and kernels are chosen by one rule: of all candidates (times at which a network was recorded, numbers of steps of a
kernel's gradient descent) the one of least mean squared error on the validation points, for every seed. Stopping early takes
the place of a ridge (Lee et al. 2020). A kernel that is compared with a network stops at the times at which the network was
recorded (`stops`), else it would learn slow modes for which the network had no time. Kernels that are compared with each other
alone have `STOPS` at a learning rate of their own: a kernel's scale only changes the unit of its time, so that is chosen along.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, cast

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import TrainingCase
from ntkbench.claims.calls import Call, LimitingKernels, Ntk
from ntkbench.claims.cases import ValidationCase
from ntkbench.integrators import steps_between
from ntkbench.networks import Network, Parameters

SMALLEST_EFFECT = 0.01
"""One point of test accuracy."""
STOPS = tuple(2**k for k in range(17))
"""Numbers of steps of a kernel's descent among which validation chooses, where no network sets them."""
KEPT_BYTES = 2**28
"""Of limiting kernels that are kept for the next width."""
FOREVER = 2**40
"""Steps after which descent in a kernel has ended: it is ridgeless regression."""


def limiting_kernels(backend: Backend, net: Network, x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NNGP and limiting NTK of each seed's training points, (2, S, n, n), and of its held-out points with them, (2, S, h, n).

    The last results are kept, two at least, those of two readouts: they depend on the width for the standard parametrization
    alone, and with pooling they cost more than the networks do.
    """
    regardless = net if net.parametrization == "standard" else replace(cast(Any, net), width=1)
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


def limiting_calls(case: TrainingCase, net: Network, width: int, held_out: int) -> tuple[Call, ...]:
    """What `limiting_kernels` asks of a backend: all seeds' at the first width, whose results serve the others."""
    among = LimitingKernels(case.seeds, net=net, rows=case.train_size)
    return (among, replace(among, rows=held_out, columns=case.train_size)) if width == case.widths[0] else ()


def empirical_calls(case: TrainingCase, net: Network, held_out: int, count: int = 1, kept: bool = True) -> tuple[Call, ...]:
    """What `empirical_ntks` asks of a backend `count` times; `kept` as in `Ntk`, of kernels of held-out points."""
    among = Ntk(count, net=net, seeds=case.seeds, rows=case.train_size, outputs="trace")
    return among, replace(among, rows=held_out, columns=case.train_size, kept=kept)


def critical_step(kernels: np.ndarray) -> np.ndarray:
    """Learning rate from which on descent diverges with one of a seed's kernels (S, ..., n, n), 0 for no finite one: (S,)."""
    each = kernels.reshape(len(kernels), -1, *kernels.shape[-2:])
    finite = np.isfinite(each).all(axis=(1, 2, 3))
    largest = np.linalg.eigvalsh(np.where(finite[:, None, None, None], each, 0.0))[..., -1].max(axis=1)
    found: np.ndarray = 2 * kernels.shape[-1] / np.where(finite, largest, np.inf)
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


def validation_error(case: ValidationCase, candidates: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared error on the validation points, infinite where it is not finite: (S, C); arguments as of `chosen`."""
    v = case.validation_size
    with np.errstate(over="ignore", invalid="ignore"):
        error = mse(candidates[:, :, :v], y[:, :v])
    return np.where(np.isfinite(error), error, np.inf)


def chosen(case: ValidationCase, candidates: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The outputs on test points of the candidate of least mean squared error on the validation points, for every seed.

    Args:
        candidates: (S, C, h, O); one that is not finite is never chosen where another is.
        y: (S, h, O).

    Returns:
        (S, h - validation_size, O).
    """
    best = validation_error(case, candidates, y).argmin(axis=1)
    return candidates[np.arange(len(candidates)), best, case.validation_size :]


def chosen_scores(case: ValidationCase, candidates: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test accuracy and mean squared error of what is `chosen` at each place of an axis, each (S, G).

    Args:
        candidates: (S, G, C, h, O); y: (S, h, O).
    """
    outputs = np.stack([chosen(case, candidates[:, g], y) for g in range(candidates.shape[1])], axis=1)
    y_test = y[:, case.validation_size :]
    return accuracy(outputs, y_test), mse(outputs, y_test)


def lost_along(name: str, path: np.ndarray) -> dict[str, np.ndarray]:
    """Quantities of a test accuracy along an axis, (S, G): itself, what of it is lost to each place, and to the last one."""
    return {
        f"accuracy_{name}_path": path,
        f"lost_difference_{name}_path": path[:, :1] - path,
        f"lost_{name}": path[:, 0] - path[:, -1],
    }
