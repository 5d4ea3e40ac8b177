"""The kernel along training: planted outputs give the quantities, and the measurement does what it says."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.after_kernel import _both
from ntkbench.claims.generalization import STOPS
from ntkbench.seeding import rng
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import AFTER_KERNEL, case_of

CLAIM = get(AFTER_KERNEL)
IMAGE: dict[str, Any] = {"image": (8, 8, 1), "readout": "global_average"}


def measured(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(AFTER_KERNEL, **fields)
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 5), width, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"times": (1.0, 2.0, 20.0)}, r"times need one between 15% and 45% of the last, got \[1.0, 2.0, 20.0\]"),
        ({"times": (20.0,)}, r"times need one between 15% and 45% of the last, got \[20.0\]"),
        ({"validation_size": 24}, "validation_size must be at least 1 and below test_size 24"),
        ({"dataset": "sphere"}, "'sphere' is synthetic.*choose one of digits"),
        ({"strength": 0.0}, "feature_strength must be"),
        ({"feature_strength": 2.0}, "only a mean_field control uses"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(AFTER_KERNEL, **fields)


def test_a_strength_makes_networks_mean_field_dense_and_convolutional() -> None:
    for shape in ({}, IMAGE):
        lazy, rich = (case_of(AFTER_KERNEL, strength=g, **shape).architecture(8, output_dim=3) for g in (None, 2.0))
        assert (lazy.parametrization, lazy.feature_strength, lazy.output_dim) == ("ntk", 1.0, 3)
        assert (rich.parametrization, rich.feature_strength, rich.output_dim) == ("mean_field", 2.0, 3)


def test_the_early_record_is_the_one_nearest_to_thirty_percent_of_training() -> None:
    for times, early in (((1.0, 3.0, 9.0), 1), ((1.0, 2.0, 4.0, 8.0), 1), ((5.0, 20.0), 0)):
        assert case_of(AFTER_KERNEL, step=0.5, times=times).early == early


HELD_OUT, VALIDATION = 60, 10


def planted(network: int, kernels: Sequence[int], permuted: int) -> dict[str, np.ndarray]:
    """Two seeds, two records; so many of the fifty test points are right, and the last candidate is the validation's choice."""
    y = np.where(np.random.default_rng(3).integers(2, size=(2, HELD_OUT, 1)) > 0, 1.0, -1.0)

    def candidates(right: int, count: int) -> np.ndarray:
        signs = np.ones((HELD_OUT, 1))
        signs[VALIDATION + right :] = -1
        worse = np.repeat(-3 * y[:, None], count - 1, axis=1)
        return np.concatenate([worse, (0.9 * signs * y)[:, None]], axis=1)

    return {
        "f": np.array([[[1.0], [2.0]], [[-1.0], [1.0]]]),
        "y": np.ones((2, 2, 1)),
        "f_test": candidates(network, 2),
        "kernel_test": np.stack([candidates(right, len(STOPS)) for right in kernels], axis=1),
        "permuted_test": candidates(permuted, len(STOPS)),
        "change": np.array([[0.5, 1.0], [0.6, 1.2]]),
        "velocity": np.array([[0.8, 0.1], [0.3, 0.6]]),
        "alignment": np.array([[0.1, 0.2, 0.3], [0.1, 0.3, 0.4]]),
        "y_test": y,
    }


def summary_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    case = case_of(AFTER_KERNEL, test_size=HELD_OUT, validation_size=VALIDATION, times=(5.0, 20.0))
    return CLAIM.summarize(case, arrays, 8)


def test_quantities_compare_what_validation_chose_on_the_test_points_alone() -> None:
    summary = summary_of(planted(45, (30, 40, 44), 35))
    expected = {
        "accuracy": 0.90,
        "accuracy_initial": 0.60,
        "accuracy_after": 0.88,
        "accuracy_permuted": 0.70,
        "gap_difference": 0.30,
        "gain": 0.28,
        "explained_difference": 0.30 - 0.02,
        "learned_difference": 0.18,
        "early_difference": 0.20 - 0.14,
        "matched_difference": 0.80 + 0.01 - 0.90,
        # A wrong point of validation or test costs (0.9 + 1)^2, a right one 0.1^2.
        "gain_in_mse": (14 / 50) * (1.9**2 - 0.1**2),
        "gain_path": [0.20, 0.28],
        "left_difference_path": [0.10, 0.02],
        "alignment_path": [[0.2, 0.3], [0.3, 0.4]],
        "change_path": [[0.5, 1.0], [0.6, 1.2]],
        "velocity_path": [[0.8, 0.1], [0.3, 0.6]],
        "velocity_fall": [np.log(8), -np.log(2)],
        "train_accuracy": [1.0, 0.5],
    }
    assert set(expected) == set(summary) == set(CLAIM.quantities)
    for name, value in expected.items():
        np.testing.assert_allclose(summary[name], np.broadcast_to(value, summary[name].shape), rtol=1e-12, err_msg=name)


def test_a_kernel_that_overtakes_the_network_explains_only_what_is_not_past_it() -> None:
    np.testing.assert_allclose(summary_of(planted(40, (36, 42, 43), 40))["explained_difference"], 0.08 - 0.06)


def verdict_of(name: str, network: int, kernels: Sequence[int]) -> tuple[bool, bool]:
    """Whether 24 splits that scatter by a point about what `planted` gives support an expectation, and contradict it."""
    (expectation,) = (one for one in CLAIM.expectations if one.name == name)
    scatter = np.random.default_rng(1).integers(-1, 2, size=(24, 4))
    splits = [planted(network + n, [k + d for k, d in zip(kernels, ds, strict=True)], 30) for n, *ds in scatter]
    arrays = {name: np.concatenate([split[name][:1] for split in splits]) for name in splits[0]}
    values = summary_of(arrays)[expectation.quantity]
    found = judge(expectation, {8: {expectation.quantity: values}}, rng(1, "test"))
    return found.p_support < 0.01, found.p_contradict < 0.01


SUPPORTED, CONTRADICTED = (True, False), (False, True)


@pytest.mark.parametrize(
    ("kernels", "verdict"),
    [
        ((30, 38, 42), SUPPORTED),
        ((30, 32, 42), CONTRADICTED),
        ((30, 30, 26), CONTRADICTED),
        ((30, 34, 26), CONTRADICTED),
        ((30, 36, 30), (False, False)),
    ],
)
def test_half_of_a_gain_has_come_early_only_where_there_is_a_gain(kernels: Sequence[int], verdict: tuple[bool, bool]) -> None:
    assert verdict_of("early", 45, kernels) == verdict


@pytest.mark.parametrize(
    ("initial", "early", "verdict"),
    [(30, 47, SUPPORTED), (30, 40, CONTRADICTED), (46, 45, CONTRADICTED), (48, 46, CONTRADICTED)],
)
def test_only_a_kernel_that_lagged_can_catch_up(initial: int, early: int, verdict: tuple[bool, bool]) -> None:
    assert verdict_of("matched", 45, (initial, early, 45)) == verdict


def test_of_two_differences_the_less_sure_one_is_judged_and_one_that_is_not_finite_before_all() -> None:
    sure, unsure, broken = np.array([1.0, 1.2]), np.array([1.0, 9.0]), np.array([1.0, np.nan])
    assert _both(sure, unsure) is unsure
    assert _both(-sure, unsure)[0] == -1.0
    assert _both(unsure, broken) is broken


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda expectation: expectation.name)
def test_every_expectation_can_be_supported_and_contradicted(expectation: Any) -> None:
    noise = 0.02 * np.random.default_rng(1).standard_normal(24)
    for shift, side in ((0.1, "p_support"), (-0.1, "p_contradict")):
        summaries = {m: {expectation.quantity: expectation.size + shift + noise} for m in (8, 16)}
        judgement = judge(expectation, summaries, rng(1, "test"))
        assert getattr(judgement, side) < 1e-3


def test_unfitted_training_points_are_a_violation_but_where_training_is_stopped() -> None:
    summaries = {8: {"train_accuracy": np.array([1.0, 1.0])}, 16: {"train_accuracy": np.array([1.0, 0.97])}}
    (problem,) = CLAIM.violations(case_of(AFTER_KERNEL), summaries)
    assert "at width 16 training ends with 98.5% of the training points fitted" in problem
    assert CLAIM.violations(case_of(AFTER_KERNEL), {8: summaries[8]}) == []
    assert CLAIM.violations(case_of(AFTER_KERNEL, control="stopped"), summaries) == []


def test_change_velocity_and_alignment_are_those_of_the_kernels(backend: Backend) -> None:
    case = case_of(AFTER_KERNEL, dataset="digits", strength=1.0)
    data = CLAIM.prepare(case, 5)
    arrays = CLAIM.measure(backend, case, data, 8, 5)
    net = case.network(8, output_dim=10)
    theta = net.initialize(5, range(2))
    trained = backend.train(net, theta, data.x, data.y, **case.flow(), observe=("theta",)).parameters()
    kernel = partial(backend.ntk, net, outputs="full")
    full = [np.einsum("saboo->sab", kernel(at, data.x)) / 10 for at in (theta, *trained)]
    for s in range(2):
        first, middle, last = (k[s].ravel() / np.linalg.norm(k[s]) for k in full)
        gram = (data.y[s] @ data.y[s].T).ravel()
        t0, t1 = case.times
        expected = {
            "change": [np.linalg.norm(k[s] - full[0][s]) / np.linalg.norm(full[0][s]) for k in full[1:]],
            "velocity": [1 - first @ middle, (1 - middle @ last) * t1 / (t1 - t0)],
            "alignment": [k @ gram / np.linalg.norm(gram) for k in (first, middle, last)],
        }
        for name, values in expected.items():
            np.testing.assert_allclose(arrays[name][s], values, rtol=1e-9, atol=1e-12, err_msg=name)


def test_regression_with_the_last_stop_interpolates_from_zero(backend: Backend) -> None:
    case = case_of(AFTER_KERNEL, activation="erf", strength=1.0)
    data = CLAIM.prepare(case, 5)
    arrays = CLAIM.measure(backend, case, data, 16, 5)
    net = case.network(16)
    theta = net.initialize(5, range(2))
    K, K_test = backend.ntk(net, theta, data.x), backend.ntk(net, theta, data.x_test, data.x)
    expected = K_test @ np.linalg.solve(K, data.y)
    np.testing.assert_allclose(arrays["kernel_test"][:, 0, -1], expected, atol=1e-3 * np.abs(expected).max())


def test_nothing_changes_in_the_lazy_limit_and_much_with_feature_strength(backend: Backend) -> None:
    lazy, rich = (measured(backend, 32, strength=g, antisymmetric=True)["change"] for g in (1e-3, 4.0))
    assert lazy.max() < 1e-4
    assert rich[:, -1].min() > 0.1


def test_shuffled_images_leave_the_initial_kernel_and_the_spectrum(backend: Backend) -> None:
    regular, shuffled = (measured(backend, 8, control=control) for control in (None, "shuffled_images"))
    for name in ("f_test", "permuted_test", "y_test"):
        np.testing.assert_array_equal(regular[name], shuffled[name])
    np.testing.assert_array_equal(regular["kernel_test"][:, 0], shuffled["kernel_test"][:, 0])
    np.testing.assert_array_equal(regular["alignment"][:, 0], shuffled["alignment"][:, 0])
    assert np.abs(regular["kernel_test"][:, 1:] - shuffled["kernel_test"][:, 1:]).max() > 0.1


def test_permuted_labels_train_the_rival_kernel_from_the_same_start(backend: Backend) -> None:
    still = measured(backend, 8, strength=1e-4, antisymmetric=True)
    np.testing.assert_allclose(still["permuted_test"], still["kernel_test"][:, -1], atol=1e-4)
    moved = measured(backend, 8, strength=4.0, antisymmetric=True)
    assert np.abs(moved["permuted_test"] - moved["kernel_test"][:, -1]).max() > 0.01


def test_convolutional_networks_are_measured_as_well(backend: Backend) -> None:
    arrays = measured(backend, 4, **IMAGE)
    assert arrays["kernel_test"].shape == (2, 3, len(STOPS), 24, 1)
    assert CLAIM.calls(case_of(AFTER_KERNEL, **IMAGE), 4)
