"""What a data source is, and the scaling that all of them share."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ntkbench.data.dataset import Dataset

Draw = Callable[[int, int, int, int, int], Dataset]
"""(root, split, train_size, test_size, input_dim) -> one split, without a leading axis."""


@dataclass(frozen=True)
class Source:
    """A place that data come from.

    Attributes:
        name: as in a study's configuration.
        input_dim: of its points, None where it is free.
        size: points to draw from, None for any number.
        output_dim: columns of the targets.
        description: one sentence.
        licence: of the data, with its holder.
        draw: draws one split.
        smallest_train_size: 2 where the mean of the training points is subtracted, which would leave nothing of a single one.
    """

    name: str
    input_dim: int | None
    size: int | None
    output_dim: int
    description: str
    licence: str
    draw: Draw
    smallest_train_size: int = 1


def on_sphere(x: np.ndarray, name: str) -> np.ndarray:
    """Every row of `x`, (n, d), scaled to norm sqrt(d).

    Raises:
        ValueError: naming `name` and the row, if a row is zero and so has no direction.
    """
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if (norms == 0).any():
        row = int(np.flatnonzero(norms[:, 0] == 0)[0])
        raise ValueError(f"{name}: point {row} is zero (for images: equal to the training mean) and has no direction")
    scaled: np.ndarray = math.sqrt(x.shape[1]) * (x / norms)
    return scaled
