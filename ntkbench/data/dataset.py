"""What a data source yields."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets; those of a `Source` have norm sqrt(d), so that first-layer preactivations have the weights' variance.

    Attributes:
        x: (n, d) or, where each seed has its own split, (S, n, d).
        y: (n, O) or (S, n, O).
        x_test, y_test: the same for held-out points, possibly none of them.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
