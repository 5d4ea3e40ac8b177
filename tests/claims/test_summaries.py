"""Each claim turns planted observables into the quantities it names, and its measurement does what it says."""

import numpy as np
import pytest

from ntkbench.backends import load
from ntkbench.claims import get
from ntkbench.claims.convergence.initialization import _discriminant

COMMON = {"dataset": "sphere", "train_size": 3, "input_dim": 4, "depth": 1, "widths": (8, 16), "seeds": 2}
FLOW = {"step": 0.25, "times": (0.5, 1.0), "integrator": "rk4"}


@pytest.fixture(scope="module")
def backend():
    return load("torch", device="cpu", threads=1)


def case_of(claim_id, **fields):
    return get(claim_id).case_type(**(COMMON | fields))


def test_initialization_deviation_and_signed_bias():
    claim = get("convergence/initialization")
    case = case_of(claim.id, activation="relu", depth=2, statistic="bias")
    limit = np.array([[2.0, 1.0], [1.0, 2.0]])
    kernels = np.stack([limit + np.array([[0.0, -0.2], [-0.2, 0.0]]), limit + np.array([[0.5, 0.1], [0.1, 0.5]])])
    direction = np.array([[0.0, 1.0], [1.0, 0.0]]) / np.sqrt(2)
    summary = claim.summarize(case, {"K2": kernels, "K2_limit": limit, "direction": direction}, 8)
    np.testing.assert_allclose(summary["bias"], np.array([-0.4, 0.2]) / np.sqrt(20))
    np.testing.assert_allclose(summary["deviation"], np.sqrt([0.08, 0.52]) / np.sqrt(10))


def test_the_direction_of_the_bias_avoids_the_noise():
    noise = np.random.default_rng(0).standard_normal(4000)
    differences = np.zeros((4000, 2, 2))
    differences[:, 0, 0] = 5 * noise
    differences[:, 1, 1] = 0.1 + 0.1 * np.random.default_rng(1).standard_normal(4000)
    differences[:, 0, 1] = differences[:, 1, 0] = 0.1 * np.random.default_rng(2).standard_normal(4000)
    direction = _discriminant(differences)
    assert direction[1, 1] > 0.95
    assert np.isclose(np.linalg.norm(direction), 1)
    np.testing.assert_array_equal(direction, direction.T)


def test_initialization_refuses_a_bias_that_is_exactly_zero():
    with pytest.raises(ValueError, match="depth 1 has no bias"):
        case_of("convergence/initialization", activation="relu", statistic="bias")


def test_initialization_takes_seeds_in_proportion_to_width(backend):
    claim = get("convergence/initialization")
    case = case_of(claim.id, activation="tanh", depth=2, statistic="bias", seeds_per_width=3)
    assert case.seeds_at(16) == 48
    arrays = claim.measure(backend, case, claim.prepare(case, 1), 16, 1)
    assert arrays["K2"].shape == (48, 3, 3)


def test_correlated_weights_keep_the_kernel_away_from_its_limit(backend):
    claim = get("convergence/initialization")
    deviations = {}
    for control in (None, "correlated_weights"):
        case = case_of(claim.id, activation="tanh", depth=2, seeds=16, control=control)
        arrays = claim.measure(backend, case, claim.prepare(case, 1), 256, 1)
        deviations[control] = np.median(claim.summarize(case, arrays, 256)["deviation"])
    assert deviations["correlated_weights"] > 3 * deviations[None]


def test_gradient_flow_drift_is_relative_to_the_initial_kernel():
    claim = get("constancy/gradient_flow")
    case = case_of(claim.id, activation="tanh", **(FLOW | {"times": (1.0,)}), train_size=2)
    start = np.array([[3.0, 0.0], [0.0, 4.0]])
    kernels = np.stack([start, start + np.array([[0.0, 0.3], [0.3, 0.4]])])[None]
    arrays = {"K2": kernels, "f": np.zeros((1, 2, 2, 1)), "loss": np.array([[2.0, 0.5]])}
    with np.errstate(divide="ignore"):
        summary = claim.summarize(case, arrays, 8)
    np.testing.assert_allclose(summary["drift"], [np.sqrt(0.34) / 5])
    np.testing.assert_allclose(summary["loss_ratio"], [0.25])
    assert np.isinf(summary["drift_offdiagonal"]).all()


def test_gradient_flow_says_that_a_network_was_not_trained():
    claim = get("constancy/gradient_flow")
    case = case_of(claim.id, activation="tanh", **FLOW)
    assert claim.violations(case, {8: {"loss_ratio": np.array([0.2, 0.2])}}) == []
    for ratios in ([0.9, 0.8], [np.nan, 0.1]):
        assert "at width 8 the loss fell to" in claim.violations(case, {8: {"loss_ratio": np.array(ratios)}})[0]


def test_truncation_errors_are_those_of_the_last_time():
    claim = get("hierarchy/truncation")
    case = case_of(claim.id, activation="tanh", **FLOW)
    arrays = {f"error_p{p}": np.stack([np.full((2, 3), 10.0**-p), np.full((2, 3), 10.0 ** (1 - p))], axis=1) for p in (2, 3, 4)}
    coarse = {"f_coarse": arrays["error_p4"] + 15e-6, "f_p4_coarse": np.zeros((2, 2, 3))}
    summary = claim.summarize(case, arrays | coarse, 8)
    np.testing.assert_allclose(summary["step_error"], [1e-6, 1e-6])
    np.testing.assert_allclose(summary["error_p3"], [1e-2, 1e-2])
    np.testing.assert_allclose(summary["error_p3_path"], [[1e-3, 1e-2]] * 2)
    np.testing.assert_allclose(summary["gain_p3_early"], np.log([10.0, 10.0]))
    assert claim.violations(case, {8: summary}) == []
    assert "at width 8 the time step's error" in claim.violations(case, {8: summary | {"step_error": np.full(2, 1e-4)}})[0]


def test_truncation_refuses_relu_and_odd_steps():
    with pytest.raises(ValueError, match="'relu' has no K3 and K4"):
        case_of("hierarchy/truncation", activation="relu", **FLOW)
    with pytest.raises(ValueError, match="odd number of steps"):
        case_of("hierarchy/truncation", activation="tanh", **(FLOW | {"times": (0.25,)}))


def test_higher_orders_err_less_and_a_shuffled_top_loses_it(backend):
    claim = get("hierarchy/truncation")
    medians, gains = {}, {}
    for control in (None, "shuffled_top"):
        case = case_of(claim.id, activation="tanh", control=control, seeds=8, **FLOW)
        summary = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), 128, 3), 128)
        medians[control] = {p: np.median(summary[f"error_p{p}"]) for p in (2, 3, 4)}
        gains[control] = np.median(summary["gain_p3_early"])
    assert medians[None][4] < 0.1 * medians[None][2]
    assert medians["shuffled_top"][2] == medians[None][2]
    for p in (3, 4):
        assert medians["shuffled_top"][p] > 3 * medians[None][p]
    assert gains[None] > 1
    assert gains["shuffled_top"] < 0


def gap_case(**fields):
    sizes = {"input_dim": 64, "test_size": 32, "train_size": 16}
    flow = {"step": 0.5, "times": (5.0, 20.0), "integrator": "euler"}
    return case_of("gap/kernel_regression", **({"activation": "erf", "dataset": "digits"} | sizes | flow | fields))


def test_the_kernel_predictor_meets_a_very_wide_network(backend):
    claim = get("gap/kernel_regression")
    distances = {}
    for width in (64, 4096):
        case = gap_case(antisymmetric=True)
        distances[width] = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 5), width, 5), width)[
            "distance"
        ]
    assert distances[4096].max() < 0.05
    assert (distances[4096] < 0.3 * distances[64]).all()


def test_without_f0_the_predictor_misses_a_plain_wide_network(backend):
    claim = get("gap/kernel_regression")
    case = gap_case()
    summary = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 5), 4096, 5), 4096)
    assert (summary["distance_without_f0"] > 5 * summary["distance"]).all()


def test_gap_accuracy_counts_hits_and_divergence_is_nan():
    claim = get("gap/kernel_regression")
    y = np.array([[[0.9, -0.1], [-0.1, 0.9]]])
    f = np.array([[[0.9, -0.1], [0.5, 0.4]]])
    arrays = {
        "f_test": f[:, None],
        "kernel_test": y[:, None],
        "kernel_test_movement": y[:, None],
        "kernel_test_without_f0": y[:, None],
    }
    arrays |= {"ridgeless_test": y, "y_test": y, "critical_step": np.array([4.0])}
    summary = claim.summarize(gap_case(), arrays, 8)
    assert summary["accuracy_difference"] == -0.5
    diverged = arrays | {"f_test": np.full_like(f[:, None], np.nan)}
    assert np.isnan(claim.summarize(gap_case(), diverged, 8)["accuracy_difference"])
    assert claim.violations(gap_case(), {8: summary}) == []
    assert "critical learning rate" in claim.violations(gap_case(step=5.0, times=(5.0,)), {8: summary})[0]


def test_gap_refuses_an_integrator_that_the_kernel_cannot_follow():
    with pytest.raises(ValueError, match="integrator 'rk4'"):
        gap_case(integrator="rk4")
