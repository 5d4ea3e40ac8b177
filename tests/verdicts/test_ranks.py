"""Tests over data sets against their definitions, and the promise of `detectable` on made-up sets."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ntkbench.verdicts.ranks import POWER, detectable, friedman, ranks, wilcoxon


def test_wilcoxon_is_near_the_exact_distribution_of_signs() -> None:
    differences = np.array([0.3, -0.1, 0.7, 0.9, 0.25, -0.4, 0.6, 0.05, 0.8, 0.35])
    of_size = np.abs(differences).argsort().argsort() + 1
    observed = of_size[differences > 0].sum()
    sums = np.array(
        [sum(r for r, up in zip(of_size, signs, strict=True) if up) for signs in itertools.product((0, 1), repeat=10)]
    )
    exact = (np.abs(sums - sums.mean()) >= abs(observed - sums.mean())).mean()
    assert wilcoxon(differences) == pytest.approx(exact, abs=0.02)
    assert wilcoxon(-differences) == pytest.approx(wilcoxon(differences))


def test_the_highest_score_ranks_first_and_ties_share() -> None:
    scores = np.array([[0.9, 0.5], [0.7, 0.8], [0.7, 0.1]])
    np.testing.assert_array_equal(ranks(scores), [[1, 2], [2.5, 1], [2.5, 3]])


def test_no_difference_has_a_p_value_of_one() -> None:
    assert wilcoxon(np.zeros(5)) == 1.0
    assert friedman(np.full((3, 6), 2.0)) == 1.0


def test_friedman_sees_a_method_that_is_always_first_and_not_chance() -> None:
    draw = np.random.default_rng(0)
    chance = np.stack([draw.permutation(4) + 1.0 for _ in range(30)], axis=1)
    assert friedman(chance) > 0.01
    always = np.stack([np.concatenate([[1], 2 + draw.permutation(3)]) for _ in range(30)], axis=1)
    assert friedman(always) < 1e-6


@pytest.mark.parametrize("level", [0.025, 0.005])
@pytest.mark.parametrize("sets", [8, 20])
def test_what_is_detectable_is_found_with_the_promised_power(sets: int, level: float) -> None:
    draw = np.random.default_rng(1)
    found = []
    for _ in range(4000):
        noise = draw.standard_normal(sets)
        mean = detectable(np.array([-1.0, 1.0] * (sets // 2)) * np.sqrt((sets - 1) / sets), level)
        sample = mean + noise
        found.append(abs(sample.mean()) / (sample.std(ddof=1) / np.sqrt(sets)))
    power = (np.array(found) > stats.t.ppf(1 - level, sets - 1)).mean()
    assert power == pytest.approx(POWER, abs=0.04)
