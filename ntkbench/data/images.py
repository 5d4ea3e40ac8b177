"""Real images: scikit-learn's digits and Fashion-MNIST."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from ntkbench.data import files
from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Draw, Source, on_sphere
from ntkbench.seeding import rng

Labelled = tuple[np.ndarray, np.ndarray]
"""Features (N, d) and targets (N, O), float64."""

PULLOVER, COAT = 2, 4


def _one_hot(labels: np.ndarray) -> np.ndarray:
    """Ten classes: 0.9 for the true one, -0.1 for the others (Arora et al. 2019); the targets of a point sum to zero."""
    targets: np.ndarray = np.eye(10)[labels] - 0.1
    return targets


@cache
def _digits_images() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.asarray(bunch.data, dtype=float), np.asarray(bunch.target, dtype=int)


def _digits() -> Labelled:
    x, labels = _digits_images()
    return x, _one_hot(labels)


def _digits_parity() -> Labelled:
    x, labels = _digits_images()
    return x, np.where(labels % 2 == 0, 1.0, -1.0)[:, None]


def _pooled(images: np.ndarray) -> np.ndarray:
    """(N, 28, 28) images, each block of 2 x 2 pixels averaged, flattened to (N, 196)."""
    pooled: np.ndarray = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return pooled.reshape(-1, 196)


@cache
def _fashion_mnist_images() -> tuple[np.ndarray, np.ndarray]:
    arrays = files.fashion_mnist_subset()
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    return _pooled(images), np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(int)


def _fashion_mnist() -> Labelled:
    x, labels = _fashion_mnist_images()
    return x, _one_hot(labels)


def _pullover_coat() -> Labelled:
    x, labels = _fashion_mnist_images()
    kept = np.isin(labels, (PULLOVER, COAT))
    return x[kept], np.where(labels[kept] == PULLOVER, 1.0, -1.0)[:, None]


@cache
def _fashion_mnist_full() -> Labelled:
    images, labels = files.fashion_mnist_full()
    return _pooled(images), _one_hot(labels.astype(int))


def _draw(
    read: Callable[[], Labelled], name: str, root: int, split: int, train_size: int, test_size: int, input_dim: int
) -> Dataset:
    """Training points from the front of a random permutation, test points from its back; both less the training mean."""
    x, y = read()
    order = rng(root, "data", name, "split", split).permutation(len(x))
    train, test = order[:train_size], order[len(x) - test_size :]
    mean = x[train].mean(axis=0)
    return Dataset(on_sphere(x[train] - mean, name), y[train], on_sphere(x[test] - mean, name), y[test])


def _source(
    read: Callable[[], Labelled], name: str, input_dim: int, size: int, output_dim: int, text: str, licence: str
) -> Source:
    draw: Draw = partial(_draw, read, name)
    return Source(name, input_dim, size, output_dim, text, licence, draw, smallest_train_size=2)


_UCI = "CC BY 4.0, E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998); bundled with scikit-learn"
_ZALANDO = "MIT, copyright 2017 Zalando SE"

SOURCES = (
    _source(_digits, "digits", 64, 1797, 10, "Handwritten digits, 8 x 8 pixels, ten classes.", _UCI),
    _source(_digits_parity, "digits_parity", 64, 1797, 1, "Handwritten digits, 8 x 8 pixels: even (+1) or odd (-1).", _UCI),
    _source(
        _fashion_mnist,
        "fashion_mnist",
        196,
        6000,
        10,
        "Fashion-MNIST's first 4,000 training and 2,000 test images, pooled to 14 x 14, ten classes.",
        _ZALANDO,
    ),
    _source(
        _pullover_coat,
        "fashion_mnist_pullover_coat",
        196,
        1232,
        1,
        "The pullovers (+1) and coats (-1) among these images.",
        _ZALANDO,
    ),
    _source(
        _fashion_mnist_full,
        "fashion_mnist_full",
        196,
        70000,
        10,
        "All 70,000 images of Fashion-MNIST, pooled to 14 x 14, ten classes; from a local folder or fetched once.",
        _ZALANDO,
    ),
)
