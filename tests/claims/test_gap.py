"""Networks against NTK regression: planted outputs give the quantities, and the measurement does what it says."""

from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend
from ntkbench.claims import get
from tests.claims.tiny import GAP, case_of

CLAIM = get(GAP)


def summary_of(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(GAP, **fields)
    return CLAIM.summarize(case, CLAIM.measure(backend, case, CLAIM.prepare(case, 5), width, 5), width)


def test_the_kernel_predictor_meets_a_very_wide_network(backend: Backend) -> None:
    narrow, wide = (summary_of(backend, width, antisymmetric=True)["distance"] for width in (64, 4096))
    assert wide.max() < 0.05
    assert (wide < 0.3 * narrow).all()


def test_a_mean_field_network_stays_away_from_the_kernel_predictor(backend: Backend) -> None:
    rich = {"control": "mean_field", "feature_strength": 4.0}
    regular, control = (summary_of(backend, 2048, antisymmetric=True, **fields)["distance"] for fields in ({}, rich))
    assert (control > 3 * regular).all()


def test_without_f0_the_predictor_misses_a_plain_wide_network(backend: Backend) -> None:
    summary = summary_of(backend, 4096)
    assert (summary["distance_without_f0"] > 5 * summary["distance"]).all()


def test_permuted_labels_are_the_control_s_training_labels_and_no_others() -> None:
    regular, control, mean_field = (CLAIM.prepare(case_of(GAP, control=c), 5) for c in (None, "permuted_labels", "mean_field"))
    plain = data.load("digits", train_size=16, test_size=32, input_dim=64, root=5, splits=2)
    for name in ("x", "y", "x_test", "y_test"):
        for case_data in (regular, mean_field):
            np.testing.assert_array_equal(getattr(case_data, name), getattr(plain, name))
        if name != "y":
            np.testing.assert_array_equal(getattr(control, name), getattr(plain, name))
    for permuted, labels in zip(control.y, plain.y, strict=True):
        assert (permuted != labels).any(axis=-1).sum() > 8
        assert sorted(permuted.tolist()) == sorted(labels.tolist())


def planted() -> dict[str, np.ndarray]:
    """Two seeds, two times of which the first must not be looked at, four test points, two outputs."""
    draw = np.random.default_rng(4)
    arrays = {name: draw.standard_normal((2, 2, 4, 2)) for name in ("f_test", "kernel_test", "kernel_test_without_f0")}
    arrays["kernel_test_movement"] = 3 * draw.standard_normal((2, 2, 4, 2))
    arrays["ridgeless_test"] = draw.standard_normal((2, 4, 2))
    arrays["y_test"] = np.eye(2)[draw.integers(2, size=(2, 4))] - 0.5
    return arrays | {"critical_step": np.array([4.0, 5.0])}


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean([v**2 for v in values.ravel()])))


def test_quantities_are_those_of_the_last_time() -> None:
    arrays = planted()
    summary = CLAIM.summarize(case_of(GAP), arrays, 8)
    for s in range(2):
        f, kernel, moved, from_zero = (
            arrays[name][s, 1] for name in ("f_test", "kernel_test", "kernel_test_movement", "kernel_test_without_f0")
        )
        y = arrays["y_test"][s]
        share = {
            name: sum(int(np.argmax(a) == np.argmax(b)) for a, b in zip(out, y, strict=True)) / 4
            for name, out in (("f", f), ("kernel", kernel), ("ridgeless", arrays["ridgeless_test"][s]))
        }
        expected = {
            "distance": rms(f - kernel) / rms(moved),
            "distance_without_f0": rms(f - from_zero) / rms(from_zero),
            "accuracy": share["f"],
            "accuracy_kernel": share["kernel"],
            "accuracy_difference": share["f"] - share["kernel"],
            "accuracy_difference_ridgeless": share["f"] - share["ridgeless"],
            "mse_difference": (((f - y) ** 2).sum() - ((kernel - y) ** 2).sum()) / 4,
            "critical_step": arrays["critical_step"][s],
        }
        assert set(expected) == set(summary)
        for name, value in expected.items():
            assert summary[name][s] == pytest.approx(value, rel=1e-12), name


def test_the_distance_is_relative_to_the_movement_of_the_kernel_s_prediction() -> None:
    arrays = planted()
    before = CLAIM.summarize(case_of(GAP), arrays, 8)["distance"]
    after = CLAIM.summarize(case_of(GAP), arrays | {"kernel_test_movement": 10 * arrays["kernel_test_movement"]}, 8)["distance"]
    np.testing.assert_allclose(before, 10 * after)


def test_one_output_is_a_hit_where_the_sign_is_right_and_divergence_is_nan() -> None:
    arrays = {name: values[..., :1] if values.ndim > 1 else values for name, values in planted().items()}
    arrays["f_test"][:, 1] = 2 * arrays["y_test"]
    arrays["f_test"][1, 1, 0] *= -1
    np.testing.assert_array_equal(CLAIM.summarize(case_of(GAP), arrays, 8)["accuracy"], [1.0, 0.75])
    arrays["f_test"][0, 1, 2] = np.nan
    for name in ("accuracy", "accuracy_difference"):
        np.testing.assert_array_equal(np.isnan(CLAIM.summarize(case_of(GAP), arrays, 8)[name]), [True, False])


def test_a_step_that_is_not_below_every_critical_one_is_a_violation() -> None:
    summaries = {8: {"critical_step": np.array([9.0, 9.0])}, 16: {"critical_step": np.array([9.0, 4.0])}}
    assert CLAIM.violations(case_of(GAP, step=3.9, times=(3.9,)), summaries) == []
    for step in (4.0, 5.0):
        (problem,) = CLAIM.violations(case_of(GAP, step=step, times=(step,)), summaries)
        assert "not below the critical learning rate 4 " in problem


def test_gradient_descent_diverges_just_above_the_critical_step_and_not_just_below(backend: Backend) -> None:
    case = case_of(GAP)
    data_ = CLAIM.prepare(case, 5)
    critical = CLAIM.measure(backend, case, data_, 8, 5)["critical_step"]
    assert critical.shape == (2,)
    for x, y, largest in zip(data_.x, data_.y, critical, strict=True):
        features = np.linalg.cholesky(backend.limiting_kernels(case.network(8), x)[1])
        for factor, diverges in ((0.98, False), (1.02, True)):
            weights = np.zeros_like(y)
            for _ in range(2000):
                weights -= factor * largest * features.T @ (features @ weights - y) / len(x)
            assert (np.linalg.norm(features @ weights - y) > 1e6 * np.linalg.norm(y)) == diverges
