"""The truncated hierarchy: planted errors give the quantities, and the measurement runs what it says."""

from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.networks import Residual
from tests.claims.tiny import HIERARCHY, case_of, wide_over_narrow

CLAIM = get(HIERARCHY)


def test_errors_are_those_of_the_last_time() -> None:
    case = case_of(HIERARCHY, top=4)
    arrays = {f"error_p{p}": np.stack([np.full((2, 3), 10.0**-p), np.full((2, 3), 10.0 ** (1 - p))], axis=1) for p in (2, 3, 4)}
    arrays |= {f"kernel_error_p{p}": np.full((2, 2, 3, 3), 2.0 * p) for p in (2, 3, 4)}
    changes = np.array([5e-6, 15e-6])[:, None]  # along time
    summary = CLAIM.summarize(case, arrays | {"error_coarse": arrays["error_p4"] + changes}, 8)
    np.testing.assert_allclose(summary["kernel_error_p3"], [6.0, 6.0])
    np.testing.assert_allclose(summary["step_change"], [15e-6, 15e-6])
    np.testing.assert_allclose(summary["error_p3"], [1e-2, 1e-2])
    np.testing.assert_allclose(summary["error_p3_path"], [[1e-3, 1e-2]] * 2)
    np.testing.assert_allclose(summary["gain_p3_early"], np.log([10.0, 10.0]))
    assert CLAIM.violations(case, {8: summary}) == []


def test_a_step_that_changes_the_smallest_error_in_more_than_a_tenth_of_the_seeds_is_a_violation() -> None:
    errors = {"error_p2": np.full(30, 1e-1), "error_p3": np.full(30, 1e-3), "error_p4": np.full(30, 1e-2)}
    change = np.full(30, 1e-5)
    for share, found in ((2, False), (4, True), (30, True)):
        worse = np.where(np.arange(30) < share, 1e-4, change)
        summaries = {4: errors | {"step_change": change}, 8: errors | {"step_change": worse}}
        problems = CLAIM.violations(case_of(HIERARCHY, top=4), summaries)
        assert len(problems) == found
        assert all("at width 8 doubling the time step changes f - f_4" in problem for problem in problems)
    undefined = errors | {"step_change": np.full(30, np.nan)}
    assert CLAIM.violations(case_of(HIERARCHY, top=4), {8: undefined})


def test_the_change_is_that_of_a_run_at_twice_the_step(backend: Backend) -> None:
    cases = [case_of(HIERARCHY, step=step, times=(1.0, 2.0), top=4) for step in (0.25, 0.5)]
    fine, coarse = (CLAIM.measure(backend, case, CLAIM.prepare(case, 3), 16, 3) for case in cases)
    change = (coarse["error_p4"] - fine["error_p4"])[:, -1]
    expected = np.sqrt((change**2).mean(axis=-1))
    np.testing.assert_allclose(CLAIM.summarize(cases[0], fine, 16)["step_change"], expected, rtol=1e-6)


def test_higher_orders_err_less_and_a_shuffled_top_loses_it(backend: Backend) -> None:
    medians, gains = {}, {}
    for control in (None, "shuffled_top"):
        case = case_of(HIERARCHY, control=control, seeds=8, top=4)
        summary = CLAIM.summarize(case, CLAIM.measure(backend, case, CLAIM.prepare(case, 3), 128, 3), 128)
        medians[control] = {p: np.median(summary[f"error_p{p}"]) for p in (2, 3, 4)}
        gains[control] = np.median(summary["gain_p3_early"])
    assert medians[None][4] < 0.1 * medians[None][2]
    assert medians["shuffled_top"][2] == medians[None][2]
    for p in (3, 4):
        assert medians["shuffled_top"][p] > 3 * medians[None][p]
    assert gains[None] > 1
    assert gains["shuffled_top"] < 0


def test_in_the_mean_field_parametrization_the_width_does_not_control_the_truncation(backend: Backend) -> None:
    ratios = {control: wide_over_narrow(HIERARCHY, "error_p2", backend, control) for control in (None, "mean_field")}
    assert ratios[None] < 0.2
    assert 0.5 < ratios["mean_field"] < 2


def test_a_sharper_softplus_is_computed_as_a_plain_one_on_larger_inputs(backend: Backend) -> None:
    """Outputs of `softplus(b z) / b` along its own flow, by a direct integration in numpy."""
    sharpness, width, times = 3.0, 8, (0.5, 1.0)
    case = case_of(HIERARCHY, activation="softplus", sharpness=sharpness, top=4, times=times, step=0.0625)
    arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 3), width, 3)
    plain = CLAIM.prepare(case_of(HIERARCHY), 3)
    theta = case.network(width).initialize(3, range(case.seeds))
    for seed in range(case.seeds):
        inner, outer = theta["W1"][seed, 0].copy(), theta["W2"][seed, 0, 0].copy()
        found = []
        for _ in range(2):
            for _ in range(2000):
                z = plain.x @ inner.T / np.sqrt(plain.x.shape[1])
                hidden = np.logaddexp(sharpness * z, 0) / sharpness
                residual = hidden @ outer / np.sqrt(width) - plain.y[:, 0]
                slope = 1 / (1 + np.exp(-sharpness * z))
                back = residual[:, None] * outer * slope / np.sqrt(width * plain.x.shape[1])
                outer -= 0.5 / 2000 * hidden.T @ residual / (np.sqrt(width) * len(residual))
                inner -= 0.5 / 2000 * back.T @ plain.x / len(residual)
            z = plain.x @ inner.T / np.sqrt(plain.x.shape[1])
            found.append(np.logaddexp(sharpness * z, 0) / sharpness @ outer / np.sqrt(width))
        np.testing.assert_allclose(arrays["f"][seed], found, atol=2e-3 * np.abs(found).max())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "relu"}, "has no K3 and K4"),
        ({"sharpness": 2.0}, "sharpness is of softplus with one hidden layer"),
        ({"sharpness": -1.0}, "sharpness must be positive"),
        ({"readout": "global_average"}, "readout 'global_average' is of convolutional networks"),
        ({"image": (2, 3, 1), "top": 4}, "has 6 numbers, input_dim is 4"),
        ({"image": (2, 2, 1), "top": 5}, "top is 5, only fully connected networks have the hierarchy"),
        ({"specification": "residual", "top": 5}, "top is 5, only fully connected networks have the hierarchy"),
        ({"specification": "residual", "top": 4, "image": (2, 2, 1)}, "specification 'residual' has no image"),
        ({"specification": "residul"}, "specification 'residul' is unknown; did you mean 'residual'?"),
        ({"times": (0.25, 1.0)}, "time 0.25 is an odd number of steps"),
    ],
)
def test_cases_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(HIERARCHY, **fields)


def test_a_case_may_ask_for_other_networks_of_its_sizes() -> None:
    case = case_of(HIERARCHY, specification="residual", top=4, depth=2, antisymmetric=True)
    expected = Residual(case.input_dim, 8, 2, case.activation, antisymmetric=True)
    assert case.architecture(8) == expected


def test_convolutional_networks_are_truncated_too(backend: Backend) -> None:
    case = case_of(HIERARCHY, image=(2, 2, 1), top=4, antisymmetric=True, seeds=4)
    summary = CLAIM.summarize(case, CLAIM.measure(backend, case, CLAIM.prepare(case, 3), 64, 3), 64)
    assert np.median(summary["error_p4"] / summary["error_p2"]) < 0.1
