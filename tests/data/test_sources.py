"""Sources: scaling, targets, disjoint and nested splits, streams that do not depend on company, refusals."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.data import SOURCES, Dataset, check, load
from ntkbench.data import images as image_sources
from ntkbench.data.source import on_sphere

LOCAL = [name for name in SOURCES if name not in ("fashion_mnist_full", "mnist", "cifar10")]
IMAGES = [name for name in LOCAL if SOURCES[name].size is not None]
ROOT = 20190918


def dim(name: str) -> int:
    return SOURCES[name].input_dim or 7


def draw(name: str, train_size: int = 30, test_size: int = 11, **options: Any) -> Dataset:
    return load(name, train_size=train_size, test_size=test_size, input_dim=dim(name), root=ROOT, **options)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("splits", [None, 3])
def test_shapes_dtypes_and_norms(name: str, splits: int | None) -> None:
    found, lead = draw(name, splits=splits), () if splits is None else (splits,)
    assert found.x.shape == (*lead, 30, dim(name))
    assert found.x_test.shape == (*lead, 11, dim(name))
    assert found.y.shape == (*lead, 30, SOURCES[name].output_dim)
    assert found.y_test.shape == (*lead, 11, SOURCES[name].output_dim)
    for array in (found.x, found.y, found.x_test, found.y_test):
        assert array.dtype == np.float64
        assert np.isfinite(array).all()
    for x in (found.x, found.x_test):
        np.testing.assert_allclose(np.linalg.norm(x, axis=-1), math.sqrt(dim(name)), rtol=1e-14)


@pytest.mark.parametrize("name", LOCAL)
def test_no_test_points_is_an_empty_array(name: str) -> None:
    found = draw(name, test_size=0)
    assert found.x_test.shape == (0, dim(name))
    assert found.y_test.shape == (0, SOURCES[name].output_dim)


@pytest.mark.parametrize("name", LOCAL)
def test_a_split_does_not_depend_on_how_many_are_asked_for(name: str) -> None:
    few, many = draw(name, splits=1), draw(name, splits=4)
    for field in ("x", "y", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(few, field)[0], getattr(many, field)[0])
        np.testing.assert_array_equal(getattr(draw(name), field), getattr(many, field)[0])
        assert not np.array_equal(getattr(many, field)[0], getattr(many, field)[1])


@pytest.mark.parametrize("name", LOCAL)
def test_training_sets_are_nested(name: str) -> None:
    """Targets tell, since images are centred anew for each size; those of synthetic sources have a scale of their own each."""
    small, large = draw(name, train_size=10), draw(name, train_size=30)
    synthetic = SOURCES[name].size is None
    factor = large.y[0] / small.y[0] if synthetic else 1.0
    np.testing.assert_allclose(factor * small.y, large.y[:10], rtol=1e-13 if synthetic else 0)
    np.testing.assert_allclose(factor * small.y_test, large.y_test, rtol=1e-13 if synthetic else 0)
    if synthetic:
        np.testing.assert_array_equal(small.x, large.x[:10])


@pytest.mark.parametrize("name", LOCAL)
def test_roots_give_other_data(name: str) -> None:
    other = load(name, train_size=30, test_size=11, input_dim=dim(name), root=ROOT + 1)
    assert not np.array_equal(draw(name).x, other.x)


@pytest.mark.parametrize("name", ["sphere", "circle"])
def test_train_and_test_points_differ_in_synthetic_sources(name: str) -> None:
    found = draw(name, test_size=30)
    assert (found.x != found.x_test).all()


def identify(name: str, x: np.ndarray, mean: np.ndarray) -> list[int]:
    """Where in the whole source the (centred, scaled) rows of `x` come from, by the direction from the training mean."""
    everything = getattr(image_sources, {"digits": "_digits_images"}.get(name, "_fashion_mnist_images"))()[0] - mean
    directions = everything / np.linalg.norm(everything, axis=1, keepdims=True)
    cosines = x @ directions.T / math.sqrt(x.shape[1])
    assert (cosines.max(axis=1) > 1 - 1e-12).all()
    return [int(i) for i in cosines.argmax(axis=1)]


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_images_are_centred_by_the_training_mean_and_splits_are_disjoint(name: str) -> None:
    """The mean is reconstructed by drawing the same permutation, then each row must be an image of its own, label included."""
    train_size, test_size = 300, 200
    found = draw(name, train_size, test_size)
    features, labels = (image_sources._digits_images if name == "digits" else image_sources._fashion_mnist_images)()
    order = data.sources.rng(ROOT, "data", name, "split", 0).permutation(len(features))
    mean = features[order[:train_size]].mean(axis=0)
    train, test = identify(name, found.x, mean), identify(name, found.x_test, mean)
    assert len({*train, *test}) == train_size + test_size
    for rows, targets in ((train, found.y), (test, found.y_test)):
        np.testing.assert_array_equal(targets.argmax(axis=1), labels[rows])


def test_all_of_a_source_can_be_drawn() -> None:
    found = draw("fashion_mnist_pullover_coat", 1000, 232)
    assert found.x.shape == (1000, 196)
    assert found.x_test.shape == (232, 196)


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_one_hot_targets_sum_to_zero(name: str) -> None:
    y = draw(name, 200).y
    assert set(np.unique(y.round(12))) == {-0.1, 0.9}
    np.testing.assert_allclose(y.sum(axis=1), 0, atol=1e-15)
    assert set(y.argmax(axis=1)) == set(range(10))


@pytest.mark.parametrize(
    ("name", "positive", "size"),
    [
        ("digits_parity", 891, 1797),
        ("digits_3_8", 183, 357),
        ("digits_4_9", 181, 361),
        ("fashion_mnist_pullover_coat", 618, 1232),
        ("fashion_mnist_tshirt_shirt", 573, 1170),
        ("fashion_mnist_sandal_sneaker", 586, 1199),
    ],
)
def test_signs_count_their_classes(name: str, positive: int, size: int) -> None:
    """Counts of even digits, and of the first class of each pair, in the files."""
    found = draw(name, size - 100, 100)
    both = np.concatenate([found.y, found.y_test])
    assert set(np.unique(both)) == {-1.0, 1.0}
    assert (both > 0).sum() == positive


@pytest.mark.parametrize("name", IMAGES)
def test_sizes_promised_are_the_sizes_of_the_files(name: str) -> None:
    size = SOURCES[name].size
    assert size is not None
    assert draw(name, size - 3, 3).x.shape[0] == size - 3


@pytest.mark.parametrize("name", ["digits_4_9", "fashion_mnist_tshirt_shirt"])
def test_test_points_are_transformed_before_they_are_centred(name: str) -> None:
    sizes: dict[str, Any] = {"train_size": 30, "test_size": 11, "root": ROOT, "splits": 2}
    plain = load(name, input_dim=dim(name), **sizes).x_test
    np.testing.assert_array_equal(image_sources.transformed_test_points(name, lambda images: images, **sizes), plain)
    dark = image_sources.transformed_test_points(name, lambda images: 0 * images, **sizes)
    for s in range(2):
        order = data.sources.rng(ROOT, "data", name, "split", s).permutation(SOURCES[name].size)
        mean = image_sources._READERS[name]()[0][order[:30]].mean(axis=0)
        np.testing.assert_allclose(dark[s], np.tile(-mean / np.linalg.norm(mean) * math.sqrt(dim(name)), (11, 1)), rtol=1e-12)


def test_what_is_no_image_is_not_transformed() -> None:
    with pytest.raises(ValueError, match="dataset 'sphere' has no images to transform; choose one of digits"):
        image_sources.transformed_test_points("sphere", np.abs, train_size=4, test_size=2, root=0, splits=1)


def test_rows_of_cifar10_are_height_width_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(image_sources.files, "cifar10", lambda: (stored, np.arange(40, dtype=np.uint8) % 10))
    image_sources._cifar10.cache_clear()
    try:
        found = image_sources._draw(image_sources._cifar10, "cifar10", ROOT, 0, 30, 10, 3072)
    finally:
        image_sources._cifar10.cache_clear()
    order = data.sources.rng(ROOT, "data", "cifar10", "split", 0).permutation(40)
    centred = stored[order].astype(float) - stored[order[:30]].mean(axis=0)
    whole = np.concatenate([found.x, found.x_test]).reshape(40, 32, 32, 3)
    scale = np.sqrt(3072) / np.sqrt((centred**2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(whole, scale[:, None, None, None] * centred, rtol=1e-12)
    np.testing.assert_array_equal(found.y.argmax(axis=1), order[:30] % 10)


def test_pooling_averages_blocks_of_four() -> None:
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28)
    pooled = image_sources._pooled(images).reshape(2, 14, 14)
    for i, r, c in itertools.product(range(2), (0, 5, 13), (0, 7, 13)):
        assert pooled[i, r, c] == images[i, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean()


def test_sphere_is_uniform_and_its_teacher_smooth() -> None:
    found = load("sphere", train_size=20_000, input_dim=10, root=ROOT)
    np.testing.assert_allclose(found.x.T @ found.x / 20_000, np.eye(10), atol=0.06)
    np.testing.assert_allclose(found.x.mean(axis=0), 0, atol=0.04)
    linear = found.x @ np.linalg.lstsq(found.x, found.y, rcond=None)[0]
    assert linear.var() / found.y.var() == pytest.approx(1 / (1 + 9 / 12), rel=0.06)  # quadratic: variance (d - 1) / (d + 2)
    assert found.y.mean() == pytest.approx(0, abs=0.04)
    features = np.stack(
        [a * b for a, b in itertools.combinations_with_replacement(found.x.T, 2)] + [*found.x.T, np.ones(20_000)]
    )
    residual = np.linalg.lstsq(features[:, :500].T, found.y[:500], rcond=None)[0]
    np.testing.assert_allclose(features.T @ residual, found.y, atol=1e-9)


@pytest.mark.parametrize("name", ["sphere", "circle"])
@pytest.mark.parametrize("train_size", [1, 4, 30])
def test_synthetic_targets_are_of_unit_size_over_the_training_points(name: str, train_size: int) -> None:
    found, longer = (load(name, train_size=train_size, test_size=k, input_dim=dim(name), root=ROOT, splits=2) for k in (5, 50))
    np.testing.assert_allclose((found.y**2).mean(axis=1), 1)
    assert not np.allclose((longer.y_test**2).mean(axis=1), 1)
    np.testing.assert_array_equal(found.y, longer.y)


def test_splits_of_the_sphere_share_their_teacher_up_to_scale() -> None:
    """One quadratic polynomial fits all splits, each with a factor of its own."""
    found = load("sphere", train_size=60, input_dim=4, root=ROOT, splits=2)
    x, y = found.x.reshape(-1, 4), found.y.reshape(-1, 1)
    features = np.stack([a * b for a, b in itertools.combinations_with_replacement(x.T, 2)] + [*x.T, np.ones(120)], axis=1)
    solution = np.linalg.lstsq(features[:60], y[:60], rcond=None)[0]
    ratio = y[60:] / (features[60:] @ solution)
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-8)


def test_circle_has_the_product_of_its_coordinates() -> None:
    found = load("circle", train_size=20_000, input_dim=2, root=ROOT)
    product = found.x[:, 0] * found.x[:, 1]
    np.testing.assert_allclose(found.y[:, 0], product / np.sqrt((product**2).mean()), rtol=1e-13)
    angles = np.sort(np.arctan2(found.x[:, 1], found.x[:, 0]))
    assert np.abs(angles - np.linspace(-math.pi, math.pi, 20_000)).max() < 2 * math.pi * 2 / math.sqrt(20_000)


@pytest.mark.parametrize("name", LOCAL)
def test_permuted_labels_are_the_same_labels_on_other_points(name: str) -> None:
    true, shuffled = draw(name, 80, splits=2), draw(name, 80, splits=2, permute_labels=True)
    for field in ("x", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(true, field), getattr(shuffled, field))
    assert not np.array_equal(true.y, shuffled.y)
    for s in range(2):
        assert sorted(map(tuple, true.y[s])) == sorted(map(tuple, shuffled.y[s]))


def test_permuted_labels_tell_nothing_about_the_points() -> None:
    """Correlation of true and shuffled parity within five standard errors of zero."""
    true, shuffled = (draw("digits_parity", 1600, permute_labels=permuted).y for permuted in (False, True))
    assert abs(np.corrcoef(true[:, 0], shuffled[:, 0])[0, 1]) < 5 / math.sqrt(1600)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar", 10), "dataset 'cifar' is unknown; did you mean 'cifar10'"),
        (("sphere", 0, 0, 5), "train_size must be a whole number of at least 1"),
        (("digits", 1, 0, 64), "at least 2 for dataset 'digits'"),
        (("sphere", 2.0, 0, 5), "train_size"),
        (("sphere", True, 0, 5), "train_size"),
        (("sphere", 4, -1, 5), "test_size"),
        (("digits", 1700, 98, 64), "= 1798 exceeds the 1797 points of dataset 'digits'; lower"),
        (("fashion_mnist_full", 70_000, 1, 196), "exceeds the 70000"),
        (("digits", 10, 10, 63), "write input_dim: 64"),
        (("circle", 10, 10, 3), "write input_dim: 2"),
        (("sphere", 10, 10, 1), "input_dim must be at least 2"),
        (("sphere", 10, 10, 2.5), "input_dim must be a whole number"),
    ],
)
def test_impossible_requests_are_refused_by_name(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(*arguments)


def test_possible_requests_pass_without_reading_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a file was read")

    for read in ("fashion_mnist_full", "mnist", "cifar10", "uci_tabular"):
        monkeypatch.setattr(image_sources.files, read, refuse)
    monkeypatch.setattr(image_sources.files, "fashion_mnist_subset", refuse)
    for name, source in SOURCES.items():
        check(name, 10, 5, source.input_dim or 3)
        check(name, 10)


def test_load_checks() -> None:
    with pytest.raises(ValueError, match="input_dim"):
        load("digits", train_size=10, input_dim=5, root=0)
    with pytest.raises(ValueError, match="splits must be a whole number of at least 1"):
        load("sphere", train_size=10, input_dim=5, root=0, splits=0)


def test_a_point_without_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="digits: point 1 is zero"):
        on_sphere(np.array([[1.0, 0.0], [0.0, 0.0]]), "digits")


def test_every_source_says_what_it_is() -> None:
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.description.endswith(".")
        assert source.licence
