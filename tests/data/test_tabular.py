"""Tabular sets: what is promised of them, standardization by training points alone, parts that have their classes alike."""

import numpy as np
import pytest

from ntkbench.data import SOURCES, load, tabular
from ntkbench.data.tabular import PARTS, SETS


@pytest.mark.parametrize("name", SETS)
def test_sizes_promised_are_those_of_the_files(name: str) -> None:
    x, labels = tabular.read(name)
    size = SETS[name]
    assert x.shape == (size.points, size.input_dim)
    assert x.dtype == np.float64
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(np.unique(labels), np.arange(size.classes))
    assert np.bincount(labels).min() >= PARTS


def test_an_unknown_set_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="tabular set 'titanic' is unknown; choose one of bands, breast"):
        tabular.read("titanic")


def test_training_points_alone_standardize() -> None:
    draw = np.random.default_rng(0)
    x = 3 + 2 * draw.standard_normal((20, 4))
    x[:, 3] = 7.0
    train = np.arange(20) < 15
    found = tabular.standardized(x, train)
    np.testing.assert_allclose(found[train].mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(found[train].std(axis=0), [1, 1, 1, 0], rtol=1e-13)
    assert (found[:, 3] == 0).all()
    moved = np.where(train[:, None], x, x + 100)
    np.testing.assert_array_equal(tabular.standardized(moved, train)[train], found[train])
    np.testing.assert_allclose((found[train, :3] ** 2).sum(axis=1).mean(), 3)


@pytest.mark.parametrize("name", ["glass", "wine", "movement_libras"])
@pytest.mark.parametrize("most", [100, 10_000])
def test_every_part_has_its_share_of_each_class(name: str, most: int) -> None:
    x, labels = tabular.drawn(name, most, 3)
    whole, all_labels = tabular.read(name)
    assert len(x) == min(most, len(whole))
    counts = np.stack([np.bincount(labels[part::PARTS], minlength=SETS[name].classes) for part in range(PARTS)])
    assert np.ptp(counts, axis=0).max() <= 1
    if len(x) == len(whole):
        assert sorted(map(tuple, x)) == sorted(map(tuple, whole))
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(all_labels))
    np.testing.assert_array_equal(x, tabular.drawn(name, most, 3)[0])
    assert not np.array_equal(x, tabular.drawn(name, most, 4)[0])


def test_split_s_of_the_collection_is_of_the_s_th_set() -> None:
    size = SOURCES["uci"].input_dim
    assert size == 287
    found = load("uci", train_size=100, test_size=50, input_dim=size, root=1, splits=len(SETS))
    for s, (name, known) in enumerate(SETS.items()):
        assert (found.x[s, :, known.input_dim :] == 0).all(), name
        np.testing.assert_allclose(np.linalg.norm(found.x[s], axis=1), np.sqrt(size))
        largest = np.bincount(tabular.read(name)[1]).max() / known.points
        assert abs((found.y[s] > 0).mean() - largest) < 0.25, name
