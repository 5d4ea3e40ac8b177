"""The data sources by name, and the one way to draw a data set from them."""

from collections.abc import Mapping

import numpy as np

from ntkbench import names
from ntkbench.data import images, synthetic, tabular
from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Source
from ntkbench.scalars import is_whole
from ntkbench.seeding import rng

SOURCES: Mapping[str, Source] = {source.name: source for source in (*synthetic.SOURCES, *images.SOURCES, *tabular.SOURCES)}
"""By name; nothing is read from disk until `load`."""


def check(name: str, train_size: int, test_size: int = 0, input_dim: int | None = None) -> None:
    """Whether `load` can draw this, found out without reading any file.

    Args:
        input_dim: None where only the sizes are in question.

    Raises:
        ValueError: naming the field, its value and the mend.
    """
    names.check("dataset", name, SOURCES)
    source = SOURCES[name]
    for field, value, least in (("train_size", train_size, source.smallest_train_size), ("test_size", test_size, 0)):
        if not is_whole(value) or value < least:
            raise ValueError(f"{field} must be a whole number of at least {least} for dataset {name!r}, got {value!r}")
    if source.size is not None and train_size + test_size > source.size:
        raise ValueError(
            f"train_size {train_size} + test_size {test_size} = {train_size + test_size} exceeds the {source.size} points of "
            f"dataset {name!r}; lower one of them"
        )
    if input_dim is None:
        return
    if not is_whole(input_dim):
        raise ValueError(f"input_dim must be a whole number, got {input_dim!r}")
    if source.input_dim is not None and input_dim != source.input_dim:
        raise ValueError(
            f"input_dim is {input_dim}, but dataset {name!r} has {source.input_dim}; write input_dim: {source.input_dim}"
        )
    if input_dim < 2:
        raise ValueError(f"input_dim must be at least 2 for dataset {name!r}, got {input_dim}")


def load(
    name: str,
    *,
    train_size: int,
    test_size: int = 0,
    input_dim: int,
    root: int,
    splits: int | None = None,
    permute_labels: bool = False,
) -> Dataset:
    """Draw a data set, or several independent splits of one.

    Split s depends on `root`, the source and s alone: asking for more splits or for more points leaves the points of the
    smaller request as they were, so that training sizes can be compared on nested sets with one test set. For finite sources
    a split is a random permutation of all points, training points from its front and test points from its back. (Images are
    centred with the mean of the training points, so there the values, not the choice, depend on `train_size`.)

    Args:
        splits: None for split 0 without a leading axis, S for splits 0 to S - 1 along a leading axis.
        permute_labels: shuffle the training labels among the training points of each split (the test labels stay true), so
            that inputs and labels keep their distributions but nothing can be learnt: a negative control.

    Returns:
        A `Dataset` in float64, every input of norm sqrt(input_dim).

    Raises:
        ValueError: as `check`; for `splits` below 1.
        DataUnavailable: if the files of the source cannot be had, or are damaged.
    """
    check(name, train_size, test_size, input_dim)
    if splits is not None and not (is_whole(splits) and splits >= 1):
        raise ValueError(f"splits must be a whole number of at least 1, got {splits!r}")
    if not isinstance(permute_labels, bool):
        raise ValueError(f"permute_labels must be True or False, got {permute_labels!r}")
    found = [_split(SOURCES[name], root, s, train_size, test_size, input_dim, permute_labels) for s in range(splits or 1)]
    if splits is None:
        return found[0]
    return Dataset(
        x=np.stack([part.x for part in found]),
        y=np.stack([part.y for part in found]),
        x_test=np.stack([part.x_test for part in found]),
        y_test=np.stack([part.y_test for part in found]),
    )


def _split(
    source: Source, root: int, split: int, train_size: int, test_size: int, input_dim: int, permute_labels: bool
) -> Dataset:
    part = source.draw(root, split, train_size, test_size, input_dim)
    if not permute_labels:
        return part
    order = rng(root, "data", source.name, "split", split, "permuted labels").permutation(train_size)
    return Dataset(part.x, part.y[order], part.x_test, part.y_test)
