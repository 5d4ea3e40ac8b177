"""Predictions of unseen images: planted arrays give the quantities, predictions are the public ones, controls break them."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.hierarchy.real_data import ORDERS
from tests.claims.tiny import DIGITS, REAL_DATA, case_of


def measured(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    claim, case = get(REAL_DATA), case_of(REAL_DATA, **DIGITS, **fields)
    return claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), width, 3), width)


def test_quantities_of_planted_errors() -> None:
    claim, case = get(REAL_DATA), case_of(REAL_DATA, train_size=8, smaller=(2, 4))
    f = np.full((2, 3, 2, 3), 0.5)
    n = np.array(case.sizes)[None, :, None, None]
    late = np.array([0.0, 1.0])[None, None, :, None]  # only the last time counts
    arrays = {"f_test": f, "f_coarse": f[:, -1] + 1e-9, "f0_test": np.full((2, 3), -1.5), "y_test": np.ones(3)}
    arrays["residual_start"] = np.linspace(-2.0, 1.0, 8) * np.ones((2, 1))
    for p in ORDERS:
        arrays[f"error_p{p}"] = 10.0**-p * late * n**0.5 * np.ones_like(f)
        arrays[f"train_error_p{p}"] = np.full((2, 2, 8), 10.0**-p)
    found = claim.summarize(case, arrays, 8)
    assert claim.along(case) == (2.0, 4.0, 8.0)
    for p in ORDERS:
        error = 10.0**-p * np.sqrt(case.sizes)
        assert_allclose(found[f"error_p{p}_path"], [error, error])
        assert_allclose(found[f"error_p{p}"], [error[-1] / 2] * 2)
        assert_allclose(found[f"error_p{p}_power"], [0.5, 0.5])
        assert_allclose(found[f"train_error_p{p}"], [10.0**-p] * 2)
        assert_allclose(found[f"network_gap_p{p}"], [0.25 - (0.5 + error[-1]) ** 2] * 2)
    assert_allclose(found["gain"], [np.log(100)] * 2)
    assert_allclose(found["step_change"], [1e-9] * 2, rtol=1e-6)
    assert_allclose(found["tolerance"], [2 * case.tolerance_at(8)] * 2)


def test_order_four_sees_unseen_images_better_unless_images_are_shuffled(backend: Backend) -> None:
    regular, shuffled = (measured(backend, 128, seeds=4, control=control) for control in (None, "shuffled_images"))
    assert (regular["gain"] > np.log(3)).all()
    assert (shuffled["gain"] < np.log(3)).all()
    assert_allclose(regular["error_p3"], regular["error_p2"], rtol=1e-5)
    assert_allclose(shuffled["error_p2"], regular["error_p2"])
    assert (regular["train_error_p4"] < regular["train_error_p2"] / 3).all()


def test_the_frozen_kernel_errs_less_in_wide_networks_unless_they_are_mean_field(backend: Backend) -> None:
    ratio = {}
    for control in (None, "mean_field"):
        wide, narrow = (measured(backend, m, top=2, seeds=4, control=control)["error_p2"].mean() for m in (256, 32))
        ratio[control] = wide / narrow
    assert ratio[None] < 0.25
    assert ratio["mean_field"] > 0.5


def test_the_undivided_loss_drives_more_points_further(backend: Backend) -> None:
    regular, undivided = (measured(backend, 64, top=2, seeds=4, control=control) for control in (None, "undivided"))
    assert (undivided["error_p2_power"] > regular["error_p2_power"] + 0.25).all()
    assert "gain" not in regular


def test_what_is_not_resolved_is_named() -> None:
    claim, case = get(REAL_DATA), case_of(REAL_DATA)
    fine = {"error_p4_path": np.full((2, 2), 1e-4), "step_change": np.full(2, 1e-6), "tolerance": np.full(2, 3e-7)}
    assert claim.violations(case, {8: fine}) == []
    for broken, message in (
        ({"step_change": np.full(2, 1e-5)}, "at width 8 doubling the time step"),
        ({"error_p4_path": np.array([[1e-4, 2e-6], [1e-4, 2e-6]]), "step_change": np.zeros(2)}, "at width 8 the predictions'"),
        ({"error_p4_path": np.array([[1e-4, 1e-4], [1e-4, np.nan]])}, "order 4 has blown up for 1 of 2 seeds"),
    ):
        (problem,) = claim.violations(case, {8: fine | broken})
        assert message in problem


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smaller": ()}, "smaller must increase"),
        ({"smaller": (3,)}, "to below 3"),
        ({"smaller": (1,)}, "at least 2"),
        ({"test_size": 0}, "test_size must be at least 1"),
        ({"times": (0.25,)}, "odd number of steps"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(REAL_DATA, **fields)
