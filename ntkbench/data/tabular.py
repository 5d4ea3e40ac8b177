"""Tabular data: small sets of the UCI repository, from the package and from scikit-learn.

Features are standardized with mean and deviation of the training points alone. The rows keep their own lengths, as in Arora
et al. (2020), who take the standardized sets of Fernandez-Delgado et al. (2014) as they are: on the average over the training
points `|x|^2 = d`, so that first-layer preactivations have the weights' variance, and how far a point is from the mean stays
known. The limiting NTK of ReLU without biases needs no more, since `K(a x, b x') = a b K(x, x')` for positive a, b: a common
scale of all features is a factor of the kernel. (Arora et al. standardize with all points, test points included; that is not
done here.)

The source `uci` is the collection for claims that know points on a sphere only: split s is of the s-th set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ntkbench import names
from ntkbench.data import files
from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Source, on_sphere
from ntkbench.seeding import rng

PARTS = 5
"""Parts of a set that are held out in turn."""


@dataclass(frozen=True)
class Size:
    """Points, features and classes of a set, known without reading it."""

    points: int
    input_dim: int
    classes: int


SETS: Mapping[str, Size] = {
    "bands": Size(365, 19, 2),
    "breast": Size(277, 15, 2),
    "breast_cancer": Size(569, 30, 2),
    "contraceptive": Size(1473, 12, 3),
    "ecoli": Size(336, 7, 5),
    "german": Size(1000, 59, 2),
    "glass": Size(214, 9, 6),
    "haberman": Size(306, 3, 2),
    "housevotes": Size(232, 16, 2),
    "ionosphere": Size(351, 33, 2),
    "iris": Size(150, 4, 3),
    "mammographic": Size(830, 12, 2),
    "movement_libras": Size(360, 90, 15),
    "new_thyroid": Size(215, 5, 2),
    "segment": Size(2310, 19, 7),
    "sonar": Size(208, 60, 2),
    "spambase": Size(4597, 57, 2),
    "splice": Size(3190, 287, 3),
    "tae": Size(151, 54, 3),
    "vehicle": Size(846, 18, 4),
    "vowel": Size(990, 10, 11),
    "wine": Size(178, 13, 3),
    "wisconsin": Size(683, 9, 2),
    "yeast": Size(1484, 8, 2),
}
"""By name; `iris`, `wine` and `breast_cancer` are scikit-learn's, the others the package's (`files/PROVENANCE.md`)."""

SCIKIT_LEARN = ("breast_cancer", "iris", "wine")


@cache
def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, d), float64 and as published, and classes (N,), whole numbers from 0.

    Raises:
        ValueError: for an unknown name.
        DataUnavailable: if the package's file is missing or damaged.
    """
    names.check("tabular set", name, SETS)
    if name not in SCIKIT_LEARN:
        arrays = _shipped()
        return arrays[f"x_{name}"].astype(float), arrays[f"y_{name}"].astype(int)
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return np.asarray(bunch.data, dtype=float), np.asarray(bunch.target, dtype=int)


@cache
def _shipped() -> dict[str, np.ndarray]:
    return files.uci_tabular()


def standardized(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`x` (N, d) with mean 0 and deviation 1 over its rows `train`; a feature that is constant there is only centred."""
    deviation = x[train].std(axis=0)
    scaled: np.ndarray = (x - x[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return scaled


def drawn(name: str, most: int, root: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a set, ordered so that every part, position i being of part `i % PARTS`, has its classes alike.

    Returns:
        Features (n, d), as published, and classes (n,).
    """
    x, labels = read(name)
    chosen = rng(root, "data", "tabular", name).permutation(len(x))[:most]
    # Dealing out the points class by class gives every part its share of each.
    dealt = chosen[np.argsort(labels[chosen], kind="stable")]
    return x[dealt], labels[dealt]


def _draw(root: int, split: int, train_size: int, test_size: int, input_dim: int) -> Dataset:
    """Training points from the front of a random permutation, test points from its back, as for images."""
    name = list(SETS)[split % len(SETS)]
    x, labels = read(name)
    order = rng(root, "data", "uci", "split", split).permutation(len(x))
    train, test = order[:train_size], order[len(x) - test_size :]
    padded = np.zeros((len(x), input_dim))
    padded[:, : x.shape[1]] = standardized(x, train)
    y = np.where(labels == np.bincount(labels).argmax(), 1.0, -1.0)[:, None]
    return Dataset(on_sphere(padded[train], name), y[train], on_sphere(padded[test], name), y[test])


SOURCES = (
    Source(
        name="uci",
        input_dim=max(size.input_dim for size in SETS.values()),
        size=min(size.points for size in SETS.values()),
        output_dim=1,
        description="Twenty-four tabular sets, standardized: the largest class (+1) or not (-1); split s is of the s-th set.",
        licence="CC BY 4.0, creators and donors in ntkbench/data/files/LICENSE-uci.md (UCI Machine Learning Repository)",
        draw=_draw,
        smallest_train_size=2,
    ),
)
