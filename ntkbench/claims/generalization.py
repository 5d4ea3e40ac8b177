"""What the claims about held-out points share: splits of real data, kernel regression, errors, and the choice on validation.

Networks and kernels are chosen by one rule: of all candidates (times at which a network was recorded, numbers of steps of a
kernel's gradient descent) the one of least mean squared error on the validation points, for every seed. Stopping early takes
the place of a ridge (Lee et al. 2020), and since a kernel's scale only changes the unit of its time, that is chosen along.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import ArchitectureCase

STOPS = tuple(2**k for k in range(17))
"""Numbers of steps of a kernel's descent among which validation chooses."""


@dataclass(frozen=True, kw_only=True)
class SplitCase(ArchitectureCase):
    """Networks on real data, every seed with a split of its own.

    Attributes:
        validation_size: how many of the `test_size` held-out points are for the choice of candidates; the rest are for the
            result alone.
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


def check_real(dataset: str) -> None:
    """ValueError for a synthetic source; of an unknown one the configuration speaks."""
    source = data.SOURCES.get(dataset)
    if source is not None and source.size is None:
        real = ", ".join(name for name, known in data.SOURCES.items() if known.size is not None)
        raise ValueError(f"dataset {dataset!r} is synthetic, the claim is about real data: choose one of {real}")


def splits(case: SplitCase, root: int, permute_labels: bool = False) -> data.Dataset:
    """A split for each seed; of the held-out points the first `validation_size` are for validation."""
    return data.load(
        case.dataset,
        train_size=case.train_size,
        test_size=case.test_size,
        input_dim=case.input_dim,
        root=root,
        splits=case.seeds,
        permute_labels=permute_labels,
    )


def descent(backend: Backend, kernel: np.ndarray, kernel_held_out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kernel regression by gradient descent from zero, stopped after each of `STOPS` steps, on held-out points.

    The learning rate is n over the largest eigenvalue of all seeds' kernels, half of the critical one.

    Args:
        kernel: (S, n, n); kernel_held_out: (S, h, n); y: (S, n, O).

    Returns:
        (S, len(STOPS), h, O).
    """
    largest = float(np.linalg.eigvalsh(kernel)[:, -1].max())
    step = kernel.shape[-1] / largest
    return backend.kernel_descent(kernel, -y, step=step, counts=STOPS, kernel_test=kernel_held_out)[1]


def mse(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over points of the squared error summed over outputs: (S, ..., h, O) and (S, h, O) to (S, ...)."""
    targets = y.reshape(len(y), *[1] * (outputs.ndim - 3), *y.shape[1:])
    found: np.ndarray = ((outputs - targets) ** 2).sum(axis=-1).mean(axis=-1)
    return found


def accuracy(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of points whose largest output (or sign, with one output) is the label's, NaN if not finite; shapes as `mse`."""
    targets = y.reshape(len(y), *[1] * (outputs.ndim - 3), *y.shape[1:])
    if y.shape[-1] == 1:
        hits = (np.sign(outputs) == np.sign(targets))[..., 0]
    else:
        hits = outputs.argmax(axis=-1) == targets.argmax(axis=-1)
    return np.where(np.isfinite(outputs).all(axis=(-2, -1)), hits.mean(axis=-1), np.nan)


def chosen(case: SplitCase, candidates: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The outputs on test points of the candidate of least mean squared error on the validation points, for every seed.

    Args:
        candidates: (S, C, h, O); one that is not finite is never chosen where another is.
        y: (S, h, O).

    Returns:
        (S, h - validation_size, O).
    """
    v = case.validation_size
    with np.errstate(over="ignore", invalid="ignore"):
        error = mse(candidates[:, :, :v], y[:, :v])
    best = np.where(np.isfinite(error), error, np.inf).argmin(axis=1)
    return candidates[np.arange(len(candidates)), best, v:]
