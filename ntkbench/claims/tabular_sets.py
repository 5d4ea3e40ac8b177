"""Tabular sets on the seed axis: every set is cut into the parts of `ntkbench.baselines`, and has a network for each of them.

Sets of one number of classes are one batch. Shorter ones are filled up: zeros for features, which leave every kernel and
network as it is once the others are scaled to the mean norm sqrt(d), and points at zero with targets of zero, where a network
without biases and with ReLU is zero whatever its weights, so that they add nothing to a gradient.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ntkbench import baselines
from ntkbench.baselines import coded, decoded
from ntkbench.claims.base import TrainingCase
from ntkbench.data import Dataset, tabular
from ntkbench.data.tabular import PARTS
from ntkbench.networks import FullyConnected

ABSENT = -1.0
"""The class of a point that only fills up."""


@dataclass(frozen=True, kw_only=True)
class TabularCase(TrainingCase):
    """ReLU networks without biases on tabular sets.

    Attributes:
        dataset, input_dim, train_size: the collection, for tables of sources; the data are those of `sets`.
        sets: names in `ntkbench.data.tabular`; the first `seeds` of them are used.
        points: how many of a set's points are drawn at most.
    """

    adjustable: ClassVar = TrainingCase.adjustable | {"points"}
    trained_by: ClassVar = "gradient descent"

    dataset: str = "uci"
    input_dim: int = tabular.SOURCES[0].input_dim or 1
    train_size: int = tabular.SOURCES[0].smallest_train_size
    activation: Literal["relu"] = "relu"
    sets: tuple[str, ...]
    points: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias_variance:
            raise ValueError(f"bias_variance is {self.bias_variance}: points at zero fill up the sets, take 0")
        if unknown := [name for name in self.sets if name not in tabular.SETS]:
            raise ValueError(f"sets {', '.join(unknown)} are unknown; choose of {', '.join(tabular.SETS)}")
        if len(set(self.sets)) < len(self.sets) or len(self.sets) < self.seeds:
            raise ValueError(
                f"sets must differ, and be at least as many as seeds {self.seeds} says, got {', '.join(self.sets)}"
            )
        if self.points < 8 * PARTS:
            raise ValueError(f"points must be at least {8 * PARTS}, eight for each part, got {self.points}")

    @property
    def batches(self) -> dict[int, list[int]]:
        """Number of classes -> the places of its sets on the seed axis."""
        found: dict[int, list[int]] = {}
        for place, name in enumerate(self.sets[: self.seeds]):
            found.setdefault(tabular.SETS[name].classes, []).append(place)
        return found

    def size(self, place: int) -> tabular.Size:
        """Of a set as it is used."""
        full = tabular.SETS[self.sets[place]]
        return tabular.Size(min(full.points, self.points), full.input_dim, full.classes)

    def batch_network(self, places: Iterable[int], width: int) -> FullyConnected:
        """The network of a batch, for as many features as its widest set has."""
        sizes = [self.size(place) for place in places]
        outputs = 1 if sizes[0].classes == 2 else sizes[0].classes
        return self.network(width, input_dim=max(size.input_dim for size in sizes), output_dim=outputs)


@dataclass(frozen=True)
class Batch:
    """Sets of one number of classes, filled up; B sets by `PARTS` parts along the first axis.

    Attributes:
        x, x_held: (B * PARTS, n, d) and (B * PARTS, h, d), training and held-out points.
        y, learnt: (B * PARTS, n, O), targets of the network and of the regression.
    """

    x: np.ndarray
    x_held: np.ndarray
    y: np.ndarray
    learnt: np.ndarray


def filled_up(case: TabularCase, data: Dataset, places: list[int]) -> Batch:
    """The batch of the sets at these places.

    Args:
        data: `x` (S, n, d), features as published; `y` (S, n, 1), the classes that the regression learns; the first column of
            `y_test` (S, n, ..), the true ones. After a set's points there are zeros and `ABSENT`.
    """
    sizes = [case.size(s) for s in places]
    points, d = max(size.points for size in sizes), max(size.input_dim for size in sizes)
    held = -(-points // PARTS)
    outputs = 1 if sizes[0].classes == 2 else sizes[0].classes
    x, x_held = np.zeros((len(places), PARTS, points - points // PARTS, d)), np.zeros((len(places), PARTS, held, d))
    y, learnt = (np.zeros((*x.shape[:3], outputs)) for _ in range(2))
    for b, (s, size) in enumerate(zip(places, sizes, strict=True)):
        own = np.s_[s, : size.points]
        parts = baselines.part_of(size.points)
        targets = coded(data.y_test[own][:, 0].astype(int)), coded(data.y[own][:, 0].astype(int))
        for part, z in enumerate(baselines.features(data.x[own][:, : size.input_dim])):
            scaled, train = np.sqrt(d / size.input_dim) * z, parts != part
            n, h = int(train.sum()), int((~train).sum())
            x[b, part, :n, : size.input_dim], x_held[b, part, :h, : size.input_dim] = scaled[train], scaled[~train]
            y[b, part, :n], learnt[b, part, :n] = targets[0][train], targets[1][train]
    flat = (array.reshape(-1, *array.shape[2:]) for array in (x, x_held, y, learnt))
    return Batch(*flat)


def chosen(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Held-out classes (n,) of a set by the candidate of `outputs` (PARTS, C, h, O) most accurate on part 0; `ABSENT` stays."""
    true = labels[labels != ABSENT].astype(int)
    classes, parts = int(true.max()) + 1, baselines.part_of(len(true))
    guesses = decoded(outputs[..., : 1 if classes == 2 else classes])
    candidates = [lambda part, c=c: guesses[part, c, : int((parts == part).sum())] for c in range(guesses.shape[1])]
    found = labels.copy()
    found[: len(true)] = baselines.held_out(candidates, true)
    return found
