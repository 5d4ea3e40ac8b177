"""Transformed test images: what the transformations do, planted outputs, what is refused."""

from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.distribution_shift import HARDLY, PREDICTORS, transformed
from ntkbench.data.source import on_sphere
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import SHIFT, apart_from_kernels, case_of

CLAIM = get(SHIFT)


def picture() -> np.ndarray:
    """A vertical bar in column 1 and a point, on a 5 x 5 image."""
    image = np.zeros((5, 5))
    image[1:4, 1] = 2.0
    image[1, 3] = 1.0
    return image


def test_a_shift_moves_by_pixels_and_by_parts_of_them() -> None:
    image = picture()
    expected = np.zeros((5, 5))
    expected[:, 1:] = image[:, :-1]
    np.testing.assert_allclose(transformed(image.reshape(1, 25), "shift", 1.0).reshape(5, 5), expected, atol=1e-12)
    half = transformed(image.reshape(1, 25), "shift", 0.5).reshape(5, 5)
    np.testing.assert_allclose(half, (image + expected) / 2, atol=1e-12)


def test_a_quarter_turn_turns_every_image_by_itself() -> None:
    images = np.stack([picture(), picture().T]).reshape(2, 25)
    turned = transformed(images, "rotation", 90.0).reshape(2, 5, 5)
    assert any(np.allclose(turned[0], np.rot90(picture(), k), atol=1e-9) for k in (1, -1))
    assert any(np.allclose(turned[1], np.rot90(picture().T, k), atol=1e-9) for k in (1, -1))


def test_dimming_takes_a_share_and_nothing_changes_nothing() -> None:
    image = picture().reshape(1, 25)
    np.testing.assert_allclose(transformed(image, "dimming", 0.3), 0.7 * image)
    for kind in ("shift", "rotation", "dimming"):
        np.testing.assert_allclose(transformed(image, kind, 0.0), image, atol=1e-12)


def test_the_test_images_alone_are_transformed_before_they_are_centred() -> None:
    case = case_of(SHIFT, transformation="dimming", amounts=(0.0, 0.25))
    found = CLAIM.prepare(case, 5)
    plain = data.load("digits", train_size=12, test_size=16, input_dim=64, root=5, splits=2)
    for name in ("x", "y", "y_test"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    assert found.x_test.shape == (2, 16 + 10, 64)
    np.testing.assert_array_equal(found.x_test[:, :16], plain.x_test)
    features = data.images._digits_images()[0]
    order = data.images.rng(5, "data", "digits", "split", 1).permutation(1797)
    mean = features[order[:12]].mean(axis=0)
    expected = on_sphere(0.75 * features[order[-10:]] - mean, "digits")
    np.testing.assert_allclose(found.x_test[1, 16:], expected, rtol=1e-12)


def test_the_control_s_images_are_hardly_transformed() -> None:
    regular, control = (CLAIM.prepare(case_of(SHIFT, control=kind), 5).x_test for kind in (None, "hardly"))
    plain = control[:, 6:16]
    far, near = (np.linalg.norm(x[:, 16:] - plain) for x in (regular, control))
    assert 0 < near < 2 * HARDLY * far


def planted(hits: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Two seeds, six validation and ten test points, two amounts; the second candidate fits the validation points."""
    y = np.where(np.arange(16) % 2, 1.0, -1.0)[:, None] * np.ones((2, 1, 1))
    truth = np.concatenate([y, y[:, 6:]], axis=1)
    arrays = {"y_test": y, "critical_step": np.array([4.0, 3.0])}
    for name in PREDICTORS:
        outputs = -np.tile(truth[:, None], (1, 2, 1, 1))
        outputs[:, 1, :6] *= -1
        for k, number in enumerate(hits[name]):
            outputs[:, 1, 6 + 10 * k : 6 + 10 * k + number] *= -1
        arrays[name] = outputs
    return arrays


def test_quantities_compare_the_chosen_candidate_with_itself_on_untransformed_images() -> None:
    case = case_of(SHIFT, dataset="digits_parity")
    hits = {"network": (9, 5), "kernel": (8, 6), "initial": (7, 2), "after": (9, 8)}
    summary = CLAIM.summarize(case, planted(hits), 8)
    for name, (before, after) in hits.items():
        np.testing.assert_allclose(summary[f"accuracy_{name}_path"], [[before / 10, after / 10]] * 2)
        np.testing.assert_allclose(summary[f"lost_difference_{name}_path"], [[0, (before - after) / 10]] * 2, atol=1e-12)
        np.testing.assert_allclose(summary[f"lost_{name}"], (before - after) / 10)
    np.testing.assert_allclose(summary["invariance_difference"], 0.4)
    np.testing.assert_allclose(summary["degradation_difference"], 0.2)


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda e: e.name)
@pytest.mark.parametrize(("effect", "holds"), [(0.05, True), (0.0, False)])
def test_every_expectation_can_be_supported_and_contradicted(expectation: Any, effect: float, holds: bool) -> None:
    values = effect + 0.002 * np.random.default_rng(1).standard_normal(12)
    found = judge(expectation, {8: {expectation.quantity: values}}, np.random.default_rng(2))
    assert (found.p_support < 0.01, found.p_contradict < 0.01) == (holds, not holds)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amounts": (1.0, 2.0)}, r"begin with 0 and increase, got \[1.0, 2.0\]"),
        ({"amounts": (0.0,)}, "two or more"),
        ({"transformation": "dimming"}, "below 1, where images are black, got 1.0"),
        ({"dataset": "fashion_mnist_full", "input_dim": 196}, "'fashion_mnist_full' is not transformed: choose one of digits"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(SHIFT, **fields)


def test_a_step_that_is_not_below_the_critical_one_is_a_violation() -> None:
    summaries = {8: {"critical_step": np.array([2.0, 1.5])}}
    assert CLAIM.violations(case_of(SHIFT, step=1.0, times=(1.0,)), summaries) == []
    (problem,) = CLAIM.violations(case_of(SHIFT, step=1.5, times=(1.5,)), summaries)
    assert "1.5 is not below the critical learning rate 1.5 at width" in problem


def test_without_training_to_speak_of_the_kernel_after_is_the_initial_one(backend: Backend) -> None:
    case = case_of(SHIFT, step=1e-6, times=(1e-6,))
    arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 5), 16, 5)
    np.testing.assert_allclose(arrays["after"], arrays["initial"], atol=1e-4 * np.abs(arrays["initial"]).max())
    assert arrays["kernel"].shape == arrays["network"].shape == (2, 1, 26, 10)


def test_a_very_wide_network_is_each_kernel_s_descent_to_the_same_times(backend: Backend) -> None:
    for narrow, wide in apart_from_kernels(SHIFT, ("kernel", "initial", "after"), backend):
        assert wide < 0.05
        assert wide < 0.5 * narrow


def test_the_critical_step_is_the_least_of_all_kernels_that_are_used(backend: Backend) -> None:
    case = case_of(SHIFT)
    drawn = CLAIM.prepare(case, 5)
    found = CLAIM.measure(backend, case, drawn, 8, 5)["critical_step"]
    net = case.network(8, output_dim=10)
    theta = net.initialize(5, range(2))
    trained = backend.train(net, theta, drawn.x, drawn.y, **case.flow(), observe=("theta",))
    kernels = [np.stack([backend.limiting_kernels(net, x)[1] for x in drawn.x])]
    kernels += [backend.ntk(net, at, drawn.x, outputs="trace") / 10 for at in (theta, trained.parameters()[-1])]
    critical = [2 / np.linalg.norm(kernel / 12, ord=2, axis=(1, 2)) for kernel in kernels]
    np.testing.assert_allclose(found, np.min(critical, axis=0), rtol=1e-9)
