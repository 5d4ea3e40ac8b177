"""Other classifiers: the choice on part 0 alone, kernels, codes, and that each method learns what can be learnt."""

from collections.abc import Callable

import numpy as np
import pytest

from ntkbench import baselines
from ntkbench.data import tabular
from ntkbench.data.tabular import PARTS


def planted(guesses: np.ndarray) -> list[baselines.Fit]:
    """Candidates (C, n) that predict what is planted."""
    return [lambda part, row=row: row[part::PARTS] for row in guesses]


def test_part_0_chooses_and_no_other_part() -> None:
    labels = np.array([0, 1, 2, 0, 1] * 4)
    wrong = labels + 1
    first = np.arange(20) % PARTS == 0
    good_on_first = np.where(first, labels, wrong)
    good_elsewhere = np.where(first, wrong, labels)
    for order in (slice(None), slice(None, None, -1)):
        candidates = np.stack([good_on_first, good_elsewhere])[order]
        np.testing.assert_array_equal(baselines.held_out(planted(candidates), labels), good_on_first)


def test_of_equals_the_first_is_chosen() -> None:
    labels = np.zeros(10, dtype=int)
    both = np.stack([np.arange(10) % PARTS == 3, np.arange(10) % PARTS == 4]).astype(int)
    np.testing.assert_array_equal(baselines.held_out(planted(both), labels), both[0])


def test_a_candidate_is_fitted_once_for_each_part() -> None:
    asked: list[int] = []

    def fit(part: int) -> np.ndarray:
        asked.append(part)
        return np.zeros(2, dtype=int)

    baselines.held_out([fit], np.zeros(10, dtype=int))
    assert asked == [0, 1, 2, 3, 4]


def test_features_know_nothing_of_the_part_that_is_held_out() -> None:
    x = np.random.default_rng(1).standard_normal((25, 3))
    moved = x.copy()
    moved[2::PARTS] += 50
    before, after = baselines.features(x), baselines.features(moved)
    kept = np.arange(25) % PARTS != 2
    np.testing.assert_array_equal(before[2][kept], after[2][kept])
    assert not np.allclose(before[1][kept], after[1][kept])


def test_gaussian_kernels_are_those_of_the_definition() -> None:
    x = np.random.default_rng(2).standard_normal((7, 4))
    for kernel, rate in zip(baselines.gaussian_kernels([x])[0], baselines.RATES, strict=True):
        slow = [[np.exp(-rate / 4 * ((a - b) ** 2).sum()) for b in x] for a in x]
        np.testing.assert_allclose(kernel, slow, rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_codes_are_decoded(classes: int) -> None:
    labels = np.arange(12) % classes
    targets = baselines.coded(labels)
    assert targets.shape == (12, 1 if classes == 2 else classes)
    np.testing.assert_array_equal(baselines.decoded(targets), labels)
    np.testing.assert_allclose(targets.sum(), 0, atol=1e-14)


def test_the_gaussian_process_knows_no_label_of_the_part_that_it_predicts() -> None:
    draw = np.random.default_rng(2)
    x, noise = draw.standard_normal((100, 2)), 0.3 * draw.standard_normal(100)
    labels = (np.sin(2 * x[:, 0]) + noise > 0).astype(int)
    parts = baselines.features(x)
    for part in range(PARTS):
        other = labels.copy()
        other[part::PARTS] = 1 - other[part::PARTS]
        found = [baselines.gaussian_process(parts, given)(part) for given in (labels, other)]
        np.testing.assert_array_equal(*found)
        assert np.ptp(found[0]) == 1


METHODS: dict[str, Callable[[list[np.ndarray], np.ndarray], list[baselines.Fit]]] = {
    "svm": lambda x, labels: baselines.support_vector_machines(baselines.gaussian_kernels(x), labels),
    "forest": lambda x, labels: baselines.forests(x, labels, 20, 1),
    "process": lambda x, labels: [baselines.gaussian_process(x, labels)],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_each_method_learns_what_can_be_learnt_and_nothing_else(method: str, name: str) -> None:
    x, labels = tabular.drawn(name, 100, 5)
    parts, judged = baselines.features(x), np.arange(100) % PARTS > 0
    taught = np.random.default_rng(0).permutation(labels)
    right, chance = (
        (baselines.held_out(METHODS[method](parts, learnt), labels) == labels)[judged].mean() for learnt in (labels, taught)
    )
    assert right > 0.85
    assert chance < 0.75
