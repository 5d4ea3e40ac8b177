"""Wrong labels: which become wrong, what planted outputs give, what is refused."""

from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.label_noise import PREDICTORS, WEAKENED, corrupted
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import LABEL_NOISE, apart_from_kernels, case_of

CLAIM = get(LABEL_NOISE)


def one_hot(seeds: int, n: int, outputs: int) -> np.ndarray:
    labels = np.random.default_rng(3).integers(outputs, size=(seeds, n))
    return np.asarray(np.eye(outputs)[labels] - 1 / outputs)


@pytest.mark.parametrize("outputs", [1, 3, 10])
def test_the_share_of_wrong_labels_is_exact_and_nested(outputs: int) -> None:
    y = np.sign(one_hot(2, 40, 2)[..., :1]) if outputs == 1 else one_hot(2, 40, outputs)
    before = np.zeros((2, 40), dtype=bool)
    previous = y
    for share in (0.0, 0.1, 0.25, 0.4):
        noisy = corrupted(y, share, 5, "train")
        wrong = (noisy != y).any(axis=-1)
        assert (wrong.sum(axis=1) == round(40 * share)).all()
        assert (wrong | ~before).all()
        np.testing.assert_array_equal(noisy[before], previous[before])
        np.testing.assert_array_equal(np.sort(noisy, axis=-1), np.sort(y, axis=-1) if outputs > 1 else noisy)
        np.testing.assert_allclose(np.abs(noisy).sum(axis=-1), np.abs(y).sum(axis=-1))
        before, previous = wrong, noisy
    assert (before[0] != before[1]).any()


def test_every_other_class_is_as_likely() -> None:
    y = np.tile(np.eye(4)[0], (1, 6000, 1))
    found = corrupted(y, 1.0, 5, "train").mean(axis=(0, 1))
    np.testing.assert_allclose(found, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)


def test_noise_depends_on_root_part_and_seed_and_leaves_the_true_labels_alone() -> None:
    y = one_hot(1, 30, 10)
    kept = y.copy()
    found = [corrupted(y, 0.5, root, part) for root, part in ((5, "train"), (6, "train"), (5, "validation"))]
    for other in found[1:]:
        assert (other != found[0]).any()
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(corrupted(np.concatenate([y, y]), 0.5, 5, "train")[:1], found[0])


def test_the_control_weakens_the_same_labels_and_makes_none_wrong() -> None:
    y = one_hot(2, 30, 10)
    weak, wrong = (corrupted(y, 0.4, 5, "train", weakened) for weakened in (True, False))
    changed = (weak != y).any(axis=-1)
    np.testing.assert_array_equal(changed, (wrong != y).any(axis=-1))
    np.testing.assert_array_equal(weak.argmax(axis=-1), y.argmax(axis=-1))
    np.testing.assert_allclose(weak[changed], WEAKENED * y[changed])


def planted(accuracies: dict[str, tuple[tuple[int, int], ...]], seeds: int = 2) -> dict[str, np.ndarray]:
    """Ten test points after four of validation, two shares; predictors hit as many as said, stopped and at the end.

    The stopped candidate is the one that fits the validation labels, which are the wrong ones at the second share.
    """
    y_test = np.tile(np.where(np.arange(10) % 2, 1.0, -1.0)[:, None], (seeds, 1, 1))
    validation = np.ones((seeds, 2, 4, 1))
    validation[:, 1, :2] *= -1
    arrays = {"y_test": y_test, "y_validation": validation, "critical_step": np.full(seeds, 3.0)}
    for name in PREDICTORS:
        outputs = np.empty((seeds, 2, 2, 14, 1))
        for share, hits in enumerate(accuracies[name]):
            for candidate, number in enumerate(hits):
                signs = np.where(np.arange(10) < number, 1.0, -1.0)[:, None]
                outputs[:, share, candidate, 4:] = y_test * signs
                outputs[:, share, candidate, :4] = validation[:, share] * (1.0 if candidate == 0 else -0.5)
        arrays[name] = outputs
    arrays["y_train"] = np.ones((seeds, 2, 20, 1))
    arrays["network_train"] = np.ones((seeds, 2, 20, 1))
    arrays["network_train"][:, 1, :3] *= -1
    return arrays


HITS = {"network": ((10, 9), (8, 5)), "kernel": ((9, 9), (8, 8)), "after": ((10, 10), (6, 3))}


def test_quantities_are_those_of_the_candidate_that_fits_noisy_validation_labels() -> None:
    case = case_of(LABEL_NOISE, dataset="digits_parity", test_size=14, validation_size=4, shares=(0.0, 0.4))
    summary = CLAIM.summarize(case, planted(HITS), 8)
    np.testing.assert_allclose(summary["accuracy_network_path"], [[1.0, 0.8]] * 2)
    np.testing.assert_allclose(summary["accuracy_network_final_path"], [[0.9, 0.5]] * 2)
    np.testing.assert_allclose(summary["lost_difference_after_path"], [[0.0, 0.4]] * 2, atol=1e-15)
    for name, value in {
        "lost_network": 0.2,
        "lost_kernel": 0.1,
        "lost_after_final": 0.7,
        "protection_difference_network": 0.2,
        "protection_difference_kernel": 0.0,
        "degradation_difference": 0.1,
        "degradation_difference_final": 0.3,
        "degradation_difference_after": 0.3,
        "degradation_difference_after_final": 0.6,
        "misfit": 0.15,
        "critical_step": 3.0,
    }.items():
        np.testing.assert_allclose(summary[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda e: e.name)
@pytest.mark.parametrize(("effect", "holds"), [(0.05, True), (0.0, False)])
def test_every_expectation_can_be_supported_and_contradicted(expectation: Any, effect: float, holds: bool) -> None:
    values = effect + 0.002 * np.random.default_rng(1).standard_normal(12)
    found = judge(
        expectation, {8: {expectation.quantity: values}, 16: {expectation.quantity: values}}, np.random.default_rng(2)
    )
    assert (found.p_support < 0.01, found.p_contradict < 0.01) == (holds, not holds)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shares": (0.1, 0.2)}, r"begin with 0 and increase, got \[0.1, 0.2\]"),
        ({"shares": (0.0,)}, "two or more"),
        ({"shares": (0.0, 0.3, 0.2)}, "increase"),
        ({"shares": (0.0, 0.5), "dataset": "digits_parity"}, "below 0.5, where labels of 2 classes tell nothing, got 0.5"),
        ({"shares": (0.0, 0.95)}, "below 0.9, where labels of 10 classes"),
        ({"dataset": "sphere", "input_dim": 4}, "synthetic"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(LABEL_NOISE, **fields)


def test_a_step_too_large_and_a_network_that_has_not_fitted_are_violations() -> None:
    good = {"critical_step": np.array([2.0, 3.0]), "misfit": np.array([0.0, 0.08])}
    assert CLAIM.violations(case_of(LABEL_NOISE, step=1.5, times=(1.5,)), {8: good}) == []
    (step,) = CLAIM.violations(case_of(LABEL_NOISE, step=2.0, times=(2.0,)), {8: good})
    assert "2.0 is not below the critical learning rate 2 at width" in step
    (misfit,) = CLAIM.violations(case_of(LABEL_NOISE, step=1.0, times=(1.0,)), {8: good | {"misfit": np.array([0.0, 0.2])}})
    assert "width 8 networks get 10% of their training labels wrong" in misfit


def test_the_kernel_after_hardly_any_training_is_the_one_before_it_and_learns_the_labels_it_is_given(backend: Backend) -> None:
    case = case_of(LABEL_NOISE, step=1e-6, times=(1e-6,), antisymmetric=True)
    data = CLAIM.prepare(case, 5)
    arrays = CLAIM.measure(backend, case, data, 512, 5)
    net = case.network(512, output_dim=10)
    theta = net.initialize(5, range(2))
    kernel_test = backend.ntk(net, theta, data.x_test, data.x, outputs="trace") / 10
    for share in range(2):
        one_step = 1e-6 / 12 * kernel_test @ arrays["y_train"][:, share]
        np.testing.assert_allclose(arrays["after"][:, share, 0], one_step, atol=1e-4 * np.abs(one_step).max())
    assert (arrays["y_train"][:, 0] == data.y).all()
    assert (arrays["y_train"][:, 1] != data.y).any()
    assert (arrays["y_test"] == data.y_test[:, case.validation_size :]).all()


def test_a_very_wide_network_is_each_kernel_s_descent_to_the_same_times(backend: Backend) -> None:
    for narrow, wide in apart_from_kernels(LABEL_NOISE, ("kernel", "after"), backend):
        assert wide < 0.05
        assert wide < 0.3 * narrow


def test_the_critical_step_is_the_least_of_all_kernels_that_are_used(backend: Backend) -> None:
    case = case_of(LABEL_NOISE, antisymmetric=True)
    drawn = CLAIM.prepare(case, 5)
    found = CLAIM.measure(backend, case, drawn, 8, 5)
    net = case.network(8, output_dim=10)
    kernels = [np.stack([backend.limiting_kernels(net, x)[1] for x in drawn.x])]
    for share in range(2):
        labels = found["y_train"][:, share]
        trained = backend.train(net, net.initialize(5, range(2)), drawn.x, labels, **case.flow(), observe=("theta",))
        kernels.append(backend.ntk(net, trained.parameters()[-1], drawn.x, outputs="trace") / 10)
    critical = [2 / np.linalg.norm(kernel / 12, ord=2, axis=(1, 2)) for kernel in kernels]
    np.testing.assert_allclose(found["critical_step"], np.min(critical, axis=0), rtol=1e-9)
    assert (np.min(critical[1:], axis=0) < critical[0]).any()
