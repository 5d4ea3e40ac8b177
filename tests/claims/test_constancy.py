"""Drift of the NTK under gradient flow: planted kernels give the quantities, and the measurement begins at t = 0."""

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from tests.claims.tiny import CONSTANCY, case_of, wide_over_narrow

CLAIM = get(CONSTANCY)
FINE = {"loss_ratio": np.array([0.2, 0.2]), "step_rate": np.array([0.5, 0.9])}


def test_quantities_are_those_of_the_last_time_relative_to_the_start() -> None:
    case = case_of(CONSTANCY, train_size=2)
    starts = np.array([[[3.0, 1.0], [1.0, 3.0]], [[8.0, 0.5], [0.5, 8.0]]])
    early, late = np.array([[0.1, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.3], [0.3, 0.4]])
    kernels = np.stack([starts, starts + early, starts + late], axis=1)
    loss = np.array([[2.0, 1.0, 0.5], [4.0, 3.0, 0.4]])
    summary = CLAIM.summarize(case, {"K2": kernels, "f": np.zeros((2, 3, 2, 1)), "loss": loss}, 8)
    norms = np.sqrt([20.0, 128.5])
    np.testing.assert_allclose(summary["drift"], np.sqrt(0.34) / norms)
    np.testing.assert_allclose(summary["drift_path"], np.stack([0.1 / norms, np.sqrt(0.34) / norms], axis=1))
    np.testing.assert_allclose(summary["drift_offdiagonal"], [0.3, 0.6])
    np.testing.assert_allclose(summary["loss_ratio"], [0.25, 0.1])
    # The largest eigenvalues at t = 0 are 4 and 8.5; over two points, times the step 0.25.
    np.testing.assert_allclose(summary["step_rate"], [0.5, 8.5 / 8])


def test_a_network_that_was_not_trained_is_a_violation() -> None:
    case = case_of(CONSTANCY)
    assert CLAIM.violations(case, {8: FINE}) == []
    for ratios in ([0.9, 0.8], [np.nan, 0.1]):
        (problem,) = CLAIM.violations(case, {4: FINE, 8: FINE | {"loss_ratio": np.array(ratios)}})
        assert "at width 8 the loss fell to" in problem


def test_a_step_that_does_not_resolve_the_fastest_mode_is_a_violation() -> None:
    for rates in ([0.1, 1.2], [np.nan, 0.1]):
        (problem,) = CLAIM.violations(case_of(CONSTANCY), {4: FINE, 8: FINE | {"step_rate": np.array(rates)}})
        assert "at width 8 step times the fastest rate is" in problem


@pytest.mark.parametrize("control", [None, "mean_field"])
def test_the_trajectory_begins_with_the_network_as_drawn(backend: Backend, control: str | None) -> None:
    case = case_of(CONSTANCY, seeds=3, control=control)
    data = CLAIM.prepare(case, 2)
    arrays = CLAIM.measure(backend, case, data, 16, 2)
    assert {name: array.shape for name, array in arrays.items()} == {"K2": (3, 3, 3, 3), "f": (3, 3, 3, 1), "loss": (3, 3)}
    net = case.network(16)
    theta = net.initialize(2, range(3))
    f0 = backend.forward(net, theta, data.x)
    np.testing.assert_allclose(arrays["K2"][:, 0], backend.ntk(net, theta, data.x), rtol=1e-12)
    np.testing.assert_allclose(arrays["f"][:, 0], f0, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(arrays["loss"][:, 0], [np.sum((f - data.y) ** 2) / 6 for f in f0], rtol=1e-12)


def test_the_drift_is_that_between_the_kernels_before_and_after_training(backend: Backend) -> None:
    case = case_of(CONSTANCY, times=(0.25, 2.0))
    data = CLAIM.prepare(case, 2)
    summary = CLAIM.summarize(case, CLAIM.measure(backend, case, data, 16, 2), 16)
    net = case.network(16)
    theta = net.initialize(2, range(2))
    start = backend.ntk(net, theta, data.x)
    end = backend.train(net, theta, data.x, data.y, times=(2.0,), step=0.25, integrator="rk4", observe=("K2",)).observed("K2")
    expected = [np.linalg.norm(b[0] - a) / np.linalg.norm(a) for a, b in zip(start, end, strict=True)]
    np.testing.assert_allclose(summary["drift"], expected, rtol=1e-9)


def test_in_the_mean_field_parametrization_the_drift_does_not_fall(backend: Backend) -> None:
    ratios = {control: wide_over_narrow(CONSTANCY, "drift", backend, control) for control in (None, "mean_field")}
    assert ratios[None] < 0.2
    assert 0.5 < ratios["mean_field"] < 2
