"""Real images: scikit-learn's digits, Fashion-MNIST, MNIST and CIFAR-10."""

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np

from ntkbench.data import files
from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Draw, Source, on_sphere
from ntkbench.seeding import rng

Labelled = tuple[np.ndarray, np.ndarray]
"""Features (N, d), float64 or whole numbers of a byte, and targets (N, O), float64."""

Transform = Callable[[np.ndarray], np.ndarray]
"""(N, d) images to as many images."""

TSHIRT, PULLOVER, COAT, SANDAL, SHIRT, SNEAKER = 0, 2, 4, 5, 6, 7
PAIRS: Mapping[str, tuple[int, int]] = {
    "digits_3_8": (3, 8),
    "digits_4_9": (4, 9),
    "fashion_mnist_pullover_coat": (PULLOVER, COAT),
    "fashion_mnist_tshirt_shirt": (TSHIRT, SHIRT),
    "fashion_mnist_sandal_sneaker": (SANDAL, SNEAKER),
}
"""Sources of two classes of a larger one: the labels of +1 and of -1."""


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


def _two_classes(name: str) -> Labelled:
    x, labels = _digits_images() if name.startswith("digits") else _fashion_mnist_images()
    kept = np.isin(labels, PAIRS[name])
    return x[kept], np.where(labels[kept] == PAIRS[name][0], 1.0, -1.0)[:, None]


@cache
def _fashion_mnist_full() -> Labelled:
    images, labels = files.fashion_mnist_full()
    return _pooled(images), _one_hot(labels.astype(int))


def _draw(
    read: Callable[[], Labelled],
    name: str,
    root: int,
    split: int,
    train_size: int,
    test_size: int,
    input_dim: int,
    transform: Transform | None = None,
) -> Dataset:
    """Training points from the front of a random permutation, test points from its back; both less the training mean.

    `transform` acts on the test images as they are in the file.
    """
    x, y = read()
    order = rng(root, "data", name, "split", split).permutation(len(x))
    train, test = order[:train_size], order[len(x) - test_size :]
    mean = x[train].mean(axis=0)
    x_test = x[test] if transform is None else transform(x[test])
    return Dataset(on_sphere(x[train] - mean, name), y[train], on_sphere(x_test - mean, name), y[test])


def transformed_test_points(
    name: str, transform: Transform, *, train_size: int, test_size: int, root: int, splits: int
) -> np.ndarray:
    """The test points of `load`'s splits, each image transformed before the training mean is subtracted.

    Args:
        name: of a source of this module whose images are square and have one channel.
        transform: (N, d) images, values as in the file, to as many.

    Returns:
        (splits, test_size, d), every row of norm sqrt(d).

    Raises:
        ValueError: if it is no source of this module.
    """
    if name not in _READERS:
        raise ValueError(f"dataset {name!r} has no images to transform; choose one of {', '.join(_READERS)}")
    read = _READERS[name]
    return np.stack([_draw(read, name, root, s, train_size, test_size, 0, transform).x_test for s in range(splits)])


@cache
def _mnist() -> Labelled:
    images, labels = files.mnist()
    return _pooled(images), _one_hot(labels.astype(int))


@cache
def _cifar10() -> Labelled:
    """Rows are (height, width, channel); bytes, since all images in float64 would take 1.5 GB."""
    images, labels = files.cifar10()
    return images.reshape(len(images), -1), _one_hot(labels.astype(int))


_READERS: Mapping[str, Callable[[], Labelled]] = {
    "digits": _digits,
    "digits_parity": _digits_parity,
    "fashion_mnist": _fashion_mnist,
    "fashion_mnist_full": _fashion_mnist_full,
    "mnist": _mnist,
    "cifar10": _cifar10,
    **{name: partial(_two_classes, name) for name in PAIRS},
}


def _source(name: str, input_dim: int, size: int, output_dim: int, text: str, licence: str) -> Source:
    draw: Draw = partial(_draw, _READERS[name], name)
    return Source(name, input_dim, size, output_dim, text, licence, draw, smallest_train_size=2)


_FASHION = "The {} (+1) and {} (-1) among the 6,000 images of Fashion-MNIST, 14 x 14 pixels."
_UCI = "CC BY 4.0, E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998); bundled with scikit-learn"
_ZALANDO = "MIT, copyright 2017 Zalando SE"

SOURCES = (
    _source("digits", 64, 1797, 10, "Handwritten digits, 8 x 8 pixels, ten classes.", _UCI),
    _source("digits_parity", 64, 1797, 1, "Handwritten digits, 8 x 8 pixels: even (+1) or odd (-1).", _UCI),
    _source(
        "fashion_mnist",
        196,
        6000,
        10,
        "Fashion-MNIST's first 4,000 training and 2,000 test images, pooled to 14 x 14, ten classes.",
        _ZALANDO,
    ),
    _source("digits_3_8", 64, 357, 1, "Handwritten digits, 8 x 8 pixels: threes (+1) and eights (-1).", _UCI),
    _source("digits_4_9", 64, 361, 1, "Handwritten digits, 8 x 8 pixels: fours (+1) and nines (-1).", _UCI),
    _source("fashion_mnist_pullover_coat", 196, 1232, 1, _FASHION.format("pullovers", "coats"), _ZALANDO),
    _source("fashion_mnist_tshirt_shirt", 196, 1170, 1, _FASHION.format("T-shirts", "shirts"), _ZALANDO),
    _source("fashion_mnist_sandal_sneaker", 196, 1199, 1, _FASHION.format("sandals", "sneakers"), _ZALANDO),
    _source(
        "fashion_mnist_full",
        196,
        70000,
        10,
        "All 70,000 images of Fashion-MNIST, pooled to 14 x 14, ten classes; from a local folder or fetched once.",
        _ZALANDO,
    ),
    _source(
        "mnist",
        196,
        70000,
        10,
        "All 70,000 handwritten digits of MNIST, pooled to 14 x 14, ten classes; from a local folder or fetched once.",
        "CC BY-SA 3.0, Y. LeCun, C. Cortes and C. J. C. Burges; not shipped",
    ),
    _source(
        "cifar10",
        3072,
        60000,
        10,
        "All 60,000 images of CIFAR-10, 32 x 32 pixels in three channels, ten classes; from a local folder or fetched once.",
        "none stated by its author, A. Krizhevsky (2009); not shipped",
    ),
)
