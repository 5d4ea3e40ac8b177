"""The hierarchy against trained networks on real data: planted outputs give quantities, the public prediction the errors."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.hierarchy import ORDERS
from ntkbench.hierarchy import predict_training
from ntkbench.seeding import rng
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import GAP_HIERARCHY, case_of

CLAIM = get(GAP_HIERARCHY)


def measured(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(GAP_HIERARCHY, **fields)
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 3), width, 3)


def planted() -> dict[str, np.ndarray]:
    """Two seeds, two times, four test points of which the network gets three right; only the last time is judged."""
    y = np.tile([1.0, 1.0, -1.0, -1.0], (2, 1))[..., None]
    f = np.array([0.5, 0.25, -0.5, 0.5])[None, None, :, None] * np.ones((2, 2, 1, 1))
    off = np.array([0.0, 1.0, 0.0, 0.0])[None, None, :, None] * np.array([5.0, 1.0])[None, :, None, None]
    errors = {f"error_p{p}": off * size * np.ones_like(f) for p, size in ((2, 0.4), (3, 0.2), (4, 0.1))}
    limit = f - errors["error_p2"] + np.array([0.0, 0.0, 0.8, 0.0])[None, None, :, None]
    start = {"f0_test": np.zeros((2, 4, 1)), "f_coarse": f[:, -1] + 1e-6, "limit_test": limit}
    start["residual_start"] = np.array([1.5, -2.0, 0.5])[None, :, None] * np.ones((2, 1, 1))
    return {"f_test": f, "y_test": y} | errors | start


def test_quantities_of_planted_outputs() -> None:
    case = case_of(GAP_HIERARCHY)
    found = CLAIM.summarize(case, planted(), 8)
    assert set(found) == set(CLAIM.quantities)
    assert_allclose(found["left_p3"], [0.5, 0.5])
    assert_allclose(found["left_p4_path"], np.full((2, 2), 0.25))
    assert_allclose(found["gain_p4"], [np.log(4)] * 2)
    loss = (0.5**2 + 0.75**2 + 0.5**2 + 1.5**2) / 4
    assert_allclose(found["loss"], [loss] * 2)
    # The frozen kernel puts the second point at 0.25 - 0.4, on the other side of zero.
    second = {p: (1 - (0.25 - size)) ** 2 / 4 for p, size in ((2, 0.4), (3, 0.2), (4, 0.1))}
    for p in ORDERS:
        assert_allclose(found[f"loss_difference_p{p}"], [0.75**2 / 4 - second[p]] * 2)
        assert_allclose(found[f"disagreement_p{p}"], [0.25 if p == 2 else 0.0] * 2)
        assert_allclose(found[f"accuracy_difference_p{p}"], [0.25 if p == 2 else 0.0] * 2)
    gaps = {p: abs(0.75**2 / 4 - second[p]) for p in ORDERS}
    assert_allclose(found["loss_gain_p4"], [np.log(gaps[2] / gaps[4])] * 2)
    assert_allclose(found["classes_difference_p4"], [0.25] * 2)
    moved = np.sqrt((0.5**2 + 0.15**2 + 0.3**2 + 0.5**2) / 4)
    assert_allclose(found["change"], [0.2 / moved] * 2)
    assert_allclose(found["fluctuation"], [0.4 / moved] * 2)
    assert_allclose(found["change_dominates"], [np.log(0.5)] * 2)
    assert_allclose(found["step_change"], [1e-6] * 2)
    assert_allclose(found["distance_p4"], [0.05] * 2)
    assert_allclose(found["tolerance"], [2 * case.tolerance] * 2)


def test_change_and_fluctuation_are_in_units_of_what_training_moves() -> None:
    """Not of the outputs themselves: to start elsewhere, and to end as much elsewhere, changes neither."""
    case = case_of(GAP_HIERARCHY)
    elsewhere = planted()
    for name in ("f_test", "f_coarse", "limit_test", "f0_test"):
        elsewhere[name] = elsewhere[name] + 3.0
    here, there = CLAIM.summarize(case, planted(), 8), CLAIM.summarize(case, elsewhere, 8)
    for name in ("change", "fluctuation", "change_over_fluctuation"):
        assert_allclose(there[name], here[name])


def test_an_earlier_time_is_judged_where_the_case_says_so() -> None:
    case = case_of(GAP_HIERARCHY, judged=case_of(GAP_HIERARCHY).times[0])
    arrays = planted()
    arrays["error_p4"][:, 0] *= 0.1
    assert_allclose(CLAIM.summarize(case, arrays, 8)["left_p4"], [0.025] * 2)


def test_errors_are_those_of_the_public_prediction(backend: Backend) -> None:
    case = case_of(GAP_HIERARCHY, seeds=2)
    data = CLAIM.prepare(case, 3)
    arrays = measured(backend, 16, seeds=2)
    net = case.architecture(16)
    theta = net.initialize(3, range(2))
    for order in ORDERS:
        predicted = predict_training(
            backend, net, theta, data.x, data.y[..., 0], order=order, times=case.times, x_test=data.x_test, estimate=False
        )
        assert predicted.f_test is not None
        assert_allclose(arrays["f_test"][..., 0] - arrays[f"error_p{order}"][..., 0], predicted.f_test, atol=1e-5)


def test_very_wide_networks_are_regression_with_the_limiting_kernel(backend: Backend) -> None:
    apart = {}
    for width in (32, 4096):
        arrays = measured(backend, width)
        apart[width] = np.abs(arrays["f_test"] - arrays["limit_test"]).max()
    assert apart[4096] < 0.2 * apart[32]


def test_ten_classes_are_predicted_together(backend: Backend) -> None:
    fields = {"dataset": "digits", "seeds": 2}
    arrays = measured(backend, 64, **fields)
    found = CLAIM.summarize(case_of(GAP_HIERARCHY, **fields), arrays, 64)
    assert arrays["error_p4"].shape == (2, 2, 12, 10)
    assert (found["gain_p4"] > np.log(2)).all()
    assert (found["left_p4"] < found["left_p3"]).all()


def test_order_four_sees_the_change_unless_images_are_shuffled(backend: Backend) -> None:
    gains = {}
    for control in (None, "shuffled_images"):
        fields = {"seeds": 4, "control": control}
        gains[control] = CLAIM.summarize(case_of(GAP_HIERARCHY, **fields), measured(backend, 64, **fields), 64)["gain_p4"]
    assert (gains[None] > np.log(2)).all()
    assert (gains["shuffled_images"] < gains[None] - 0.5).all()
    assert gains["shuffled_images"].mean() < np.log(2)


def test_the_kernels_of_another_network_lead_astray(backend: Backend) -> None:
    regular, other = (
        CLAIM.summarize(case_of(GAP_HIERARCHY, **fields), measured(backend, 64, **fields), 64)
        for fields in ({"seeds": 4, "control": control} for control in (None, "other_network"))
    )
    assert other["gain_p3"].mean() < regular["gain_p3"].mean() - 0.3
    assert other["gain_p3"].mean() < 0
    assert_allclose(other["change"], regular["change"])


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda e: e.name)
def test_each_expectation_can_be_supported_and_contradicted(expectation: Any) -> None:
    draw = np.random.default_rng(0)

    def tried(slope: float, level: float) -> Any:
        noise = {m: 0.01 * draw.standard_normal(40) for m in (64, 256, 1024)}
        if type(expectation).__name__ == "Rate":
            summaries = {m: {expectation.quantity: m**slope * np.exp(e)} for m, e in noise.items()}
        else:
            summaries = {m: {expectation.quantity: level + e} for m, e in noise.items()}
        return judge(expectation, summaries, partial(rng, 1)("test"))

    good, bad = {-1.0: (-1.0, 0.0), -0.5: (-0.5, 0.0)}.get(getattr(expectation, "exponent", None), (0.0, 0.3))
    level = getattr(expectation, "size", 0.0)
    assert tried(good, level + 0.5).p_support < 0.025
    assert tried(bad, level - 0.5).p_contradict < 0.025


def test_the_tolerance_falls_as_the_error_of_order_four() -> None:
    case = case_of(GAP_HIERARCHY, tolerance=1e-4, widths=(8, 32))
    assert [case.tolerance_at(width) for width in case.widths] == [1e-4, 1e-4 / 16]


def test_the_tolerance_is_in_units_of_the_outputs(backend: Backend) -> None:
    case = case_of(GAP_HIERARCHY, widths=(8, 32))
    drawn = CLAIM.prepare(case, 0)
    net = case.architecture(32, output_dim=1)
    f0 = backend.forward(net, net.initialize(0, range(case.seeds)), drawn.x)
    found = CLAIM.summarize(case, CLAIM.measure(backend, case, drawn, 32, 0), 32)["tolerance"]
    assert_allclose(found, [case.tolerance / 16 * max(abs(f - y)) for f, y in zip(f0[..., 0], drawn.y[..., 0], strict=True)])


def test_what_is_not_resolved_is_named() -> None:
    case = case_of(GAP_HIERARCHY)
    fine = {"distance_p4": np.full(2, 1e-3), "step_change": np.full(2, 1e-6), "tolerance": np.full(2, 2e-6)}
    assert CLAIM.violations(case, {8: fine}) == []
    assert CLAIM.violations(case, {8: fine | {"distance_p4": np.full(2, 1e-4), "step_change": np.zeros(2)}}) == []
    for broken, message in (
        ({"step_change": np.full(2, 1e-4)}, "at width 8 doubling the time step"),
        ({"distance_p4": np.full(2, 1e-6), "step_change": np.zeros(2)}, "at width 8 the predictions' tolerance"),
        ({"tolerance": np.full(2, 1e-4)}, "at width 8 the predictions' tolerance is 0.1 of the truncation error"),
        ({"distance_p4": np.array([1e-3, np.nan])}, "order 4 has blown up for 1 of 2 seeds"),
    ):
        (problem,) = CLAIM.violations(case, {8: fine | broken})
        assert message in problem


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"judged": 3.0}, r"judged 3.0 is none of the recorded times"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1, got 0.0"),
        ({"activation": "relu"}, "activation 'relu' has no K3 and K4"),
        ({"dataset": "sphere", "input_dim": 4}, "dataset 'sphere' is synthetic"),
        ({"test_size": 0}, "test_size must be at least 1, got 0"),
        ({"times": (1.0, 1.5)}, "time 1.5 is an odd number of steps"),
        ({"image": (4, 8, 1)}, "has 32 numbers, input_dim is 64"),
    ],
)
def test_bad_cases_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(GAP_HIERARCHY, **fields)
