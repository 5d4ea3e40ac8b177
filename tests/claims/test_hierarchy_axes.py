"""Claims about the truncation's errors along time, depth and feature strength."""

from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.hierarchy.horizon import TOLERANCE, _bounded, crossing
from ntkbench.claims.truncated import log_slope, rms, shuffled
from tests.claims.tiny import DEPTH, FEATURE_STRENGTH, HORIZON, RECIPE, SMALL_TIMES, case_of


def measured(claim_id: str, backend: Backend, width: int, root: int = 3, **fields: Any) -> dict[str, np.ndarray]:
    claim, case = get(claim_id), case_of(claim_id, **fields)
    return claim.summarize(case, claim.measure(backend, case, claim.prepare(case, root), width, root), width)


def planted(powers: dict[int, float], times: tuple[float, ...], size: float = 1e-3) -> dict[str, np.ndarray]:
    """Errors of two networks and three points that are `size t^power`."""
    grown = {p: size * np.array(times) ** power for p, power in powers.items()}
    return {f"error_p{p}": np.tile(path[None, :, None], (2, 1, 3)) for p, path in grown.items()}


def test_slopes_and_root_mean_squares() -> None:
    places = (1.0, 2.0, 8.0)
    np.testing.assert_allclose(log_slope(np.stack([np.array(places) ** 3, np.array(places) ** -0.5]), places), [3.0, -0.5])
    assert np.isnan(log_slope(np.array([[1.0, 0.0, 1.0]]), places)).all()
    np.testing.assert_allclose(rms(np.full((2, 3, 4, 5), -2.0)), np.full((2, 3), 2.0))


def test_shuffling_keeps_the_entries_and_depends_on_seed_and_width() -> None:
    kernel = np.arange(54.0).reshape(2, 3, 3, 3)
    mixed = shuffled(kernel, 1, 8)
    np.testing.assert_array_equal(np.sort(mixed.reshape(2, -1)), kernel.reshape(2, -1))
    assert (mixed != kernel).any()
    assert (mixed[1] - mixed[0] != 27).any()
    assert (shuffled(kernel, 1, 16) != mixed).any()


def test_powers_of_time_are_those_of_the_first_or_the_last_times() -> None:
    times = (0.1, 0.2, 0.4, 10.0)
    for regime, expected in (("small", 2.0), ("late", None)):
        case = case_of(SMALL_TIMES, regime=regime, times=times, step=0.1)
        summary = get(SMALL_TIMES).summarize(
            case, planted(dict.fromkeys(case.orders, 2.0), times) | {"f": np.ones((2, 4, 3))}, 8
        )
        np.testing.assert_allclose(summary["power_p2"], 2.0)
        np.testing.assert_allclose(summary["excess_p5"], -3.0)
        assert expected is None or get(SMALL_TIMES).violations(case, {8: summary}) == []
    bent = planted(dict.fromkeys((2, 3, 4, 5), 2.0), times)
    bent["error_p2"][:, 3] = bent["error_p2"][:, 2]
    late = get(SMALL_TIMES).summarize(case, bent | {"f": np.ones((2, 4, 3))}, 8)
    assert (late["power_p2"] < 1.5).all()


def test_errors_that_drown_in_rounding_are_a_violation() -> None:
    case = case_of(SMALL_TIMES)
    arrays = planted(dict.fromkeys(case.orders, 2.0), case.times, size=1e-14) | {"f": np.ones((2, 3, 3))}
    (problem,) = get(SMALL_TIMES).violations(case, {8: get(SMALL_TIMES).summarize(case, arrays, 8)})
    assert "at width 8 an error is" in problem


def test_the_error_grows_as_the_power_of_the_order_and_a_shuffled_top_costs_one(backend: Backend) -> None:
    for control, lost in ((None, 0), ("shuffled_top", 1)):
        summary = measured(SMALL_TIMES, backend, 16, control=control, seeds=8, top=4)
        for p in (2, 3, 4):
            assert np.median(summary[f"power_p{p}"]) == pytest.approx(p - lost, abs=0.3)


def test_the_error_saturates_unless_it_is_early(backend: Backend) -> None:
    late = {"regime": "late", "times": (16.0, 64.0, 128.0), "step": 0.25, "antisymmetric": True, "top": 4, "seeds": 4}
    assert np.median(measured(SMALL_TIMES, backend, 16, **late)["excess_p2"]) < -1
    assert np.median(measured(SMALL_TIMES, backend, 16, control="early", **late)["excess_p2"]) > -1


def test_a_crossing_is_interpolated_and_is_not_found_where_there_is_none() -> None:
    times = (1.0, 2.0, 4.0, 8.0)
    paths = np.array([[0.01, 0.04, 0.16, 0.64], [0.01, 0.01, 0.02, 0.03], [0.5, 0.5, 0.5, 0.5]])
    found = crossing(paths, times, 0.1)
    assert found[0] == pytest.approx(np.sqrt(10.0))
    assert np.isnan(found[1:]).all()


def test_the_horizon_moves_out_with_the_width_but_not_in_the_mean_field_parametrization(backend: Backend) -> None:
    flow = {
        "label_scale": 24.0,
        "times": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
        "step": 0.125,
        "top": 4,
        "seeds": 12,
        "train_size": 4,
    }
    for control, strength, low, high in ((None, 1.0, 2.0, 6.0), ("mean_field", 0.125, 0.5, 2.0)):
        fields = flow | {"input_dim": 8, "control": control, "feature_strength": strength}
        narrow, wide = (np.nanmedian(measured(HORIZON, backend, width, **fields)["horizon"]) for width in (32, 512))
        assert low < wide / narrow < high


def test_without_tensors_the_horizon_is_the_same(backend: Backend) -> None:
    fields = {"label_scale": 8.0, "times": (0.5, 1.0, 2.0, 4.0, 8.0), "step": 0.125, "integrator": "dop853"}
    fields |= {"top": 4, "seeds": 3, "train_size": 6, "input_dim": 6}
    tensors, free = (measured(HORIZON, backend, 32, tensor_free=tensor_free, **fields) for tensor_free in (False, True))
    assert np.isfinite(tensors["horizon"]).all()
    for name in ("horizon", "ratio", "ratio_power", "error_p4_path"):
        np.testing.assert_allclose(free[name], tensors[name], rtol=1e-3)
    assert (free["unresolved"] < 0.03).all()
    case = case_of(HORIZON, tensor_free=True, **fields)
    assert get(HORIZON).violations(case, {32: free}) == []
    coarse = measured(HORIZON, backend, 32, tensor_free=True, **fields | {"step": 0.5, "integrator": "euler"})
    (problem,) = get(HORIZON).violations(case, {32: coarse})
    assert "at width 32 training's step" in problem


def test_what_tolerance_and_step_leave_counts_beside_the_horizon() -> None:
    """The ratio of errors is 0.01, 0.01, 1, 1: the horizon lies between the second and the third time."""
    case = case_of(HORIZON, tensor_free=True, top=4, label_scale=8.0)
    ones = np.ones((2, 4, 3))
    errors = {"error_p2": ones, "error_p3": ones, "error_p4": ones * np.array([0.01, 0.01, 1.0, 1.0])[:, None]}
    before = np.array([9.0, 1e-4, 0.0, 9.0])[:, None] * ones
    after = np.array([9.0, 0.0, 0.5, 9.0])[:, None] * ones
    left = 8 * TOLERANCE
    arrays = errors | {"f": 0 * ones, "f_finer": 0 * ones, "residual_start": 8.0 * np.ones((2, 3))}
    for finer, expected in ((0 * ones, left / 0.01), (before, (1e-4 + left) / 0.01), (after, 0.5 + left)):
        summary = get(HORIZON).summarize(case, arrays | {"f_finer": finer}, 8)
        np.testing.assert_allclose(summary["unresolved"], expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"top": 6}, "ends at order 4, got top: 6"), ({"top": 4, "control": "shuffled_top"}, "tensor_free forms none")],
)
def test_without_tensors_neither_higher_orders_nor_their_shuffling(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(HORIZON, tensor_free=True, **fields)


def test_what_has_blown_up_stays_at_the_limit_in_every_array() -> None:
    error = np.array([[[1.0, 2.0], [np.nan, 1.0], [0.5, 0.5]]])
    np.testing.assert_array_equal(_bounded(error, 5.0), [[[1.0, 2.0], [5.0, 5.0], [5.0, 5.0]]])


def test_the_recipe_is_judged_at_the_worst_time() -> None:
    case = case_of(RECIPE)
    width = 16
    precision = {p: (np.array(case.times) / width**0.5) ** p for p in (2, 3, 4)}
    arrays = {f"error_p{p}": np.tile((path * [0.1, 10.0])[None, :, None], (2, 1, 3)) for p, path in precision.items()}
    summary = get(RECIPE).summarize(case, arrays | {"y": np.full((3, 1), 2.0)}, width)
    for p in (2, 3, 4):
        np.testing.assert_allclose(summary[f"excess_p{p}"], np.log10(10 / 2))


def test_times_beyond_the_square_root_of_the_width_have_no_recipe() -> None:
    with pytest.raises(ValueError, match=r"not below sqrt\(8\)"):
        case_of(RECIPE, times=(0.5, 3.0))


@pytest.mark.parametrize("claim_id", [DEPTH, FEATURE_STRENGTH])
def test_powers_are_those_along_the_axis(claim_id: str) -> None:
    claim, case = get(claim_id), case_of(claim_id)
    places = np.array(claim.along(case))
    arrays = {f"error_p{p}": np.tile((1e-3 * places**p)[None, :, None], (2, 1, 3)) for p in (2, 3, 4)}
    start = np.ones((2, 3, 4, 4))
    summary = claim.summarize(case, arrays | {"K2_start": start, "K2_end": start + 1e-2 * places[:, None, None]}, 8)
    for p in (2, 3, 4):
        np.testing.assert_allclose(summary[f"error_p{p}_power"], p)
    np.testing.assert_allclose(summary["drift_power"], 1.0)


def test_depths_are_compared_after_equal_training(backend: Backend) -> None:
    """At every depth the time times the NTK's trace over n points is the case's; outputs of the frozen NTK tell the time."""
    claim, case = get(DEPTH), case_of(DEPTH, antisymmetric=True)
    drawn = claim.prepare(case, 3)
    arrays = claim.measure(backend, case, drawn, 16, 3)
    frozen = arrays["f"] - arrays["error_p2"]
    for k, net in enumerate(case.networks(512)):
        wide = backend.ntk(net, net.initialize(3, range(16)), drawn.x)
        trace = np.trace(wide, axis1=1, axis2=2).mean()
        scale = np.diag(backend.limiting_kernels(net, drawn.x)[1]).mean()
        assert trace / case.train_size == pytest.approx(scale, rel=0.1)
        rates, modes = np.linalg.eigh(arrays["K2_start"][:, k] / case.train_size)
        left = np.exp(-rates * case.times[-1] / scale)
        learned = drawn.y[:, 0] - np.einsum("sij,sj,skj,k->si", modes, left, modes, drawn.y[:, 0])
        np.testing.assert_allclose(frozen[:, k], learned, rtol=1e-3, atol=1e-3)
        # Without the division, or with a multiplication in its place, the time would be another.
        assert scale < 0.9


@pytest.mark.parametrize("depths", [(1, 2, 3), (2, 3, 6)])
def test_the_control_keeps_width_over_depth(depths: tuple[int, ...]) -> None:
    for control, widths in ((None, {24}), ("proportional_width", {24 * depth // depths[0] for depth in depths})):
        networks = list(case_of(DEPTH, depth=depths[0], depths=depths, control=control).networks(24))
        assert [net.depth for net in networks] == list(depths)
        assert {net.width for net in networks} == widths
        assert (len({net.width / net.depth for net in networks}) == 1) == (control is not None)


def test_deeper_networks_move_more_unless_they_are_wider_in_proportion(backend: Backend) -> None:
    powers = {
        control: np.median(measured(DEPTH, backend, 32, control=control, seeds=8, antisymmetric=True)["drift_power"])
        for control in (None, "proportional_width")
    }
    assert powers[None] > 0.6
    assert powers["proportional_width"] < powers[None] - 0.5


def test_feature_strength_controls_the_error_unless_the_targets_are_divided_by_it(backend: Backend) -> None:
    free = measured(FEATURE_STRENGTH, backend, 32, seeds=4)
    assert [float(np.median(free[f"error_p{p}_power"])) for p in (2, 4)] == pytest.approx([2.0, 4.0], abs=0.2)
    scaled = measured(FEATURE_STRENGTH, backend, 32, seeds=4, control="scaled_targets")
    assert np.median(scaled["error_p2_power"]) == pytest.approx(-1.0, abs=0.01)


@pytest.mark.parametrize(
    ("claim_id", "fields", "message"),
    [
        (DEPTH, {"depths": (1, 2)}, "depths must be three or more and increase"),
        (DEPTH, {"depths": (2, 3, 4)}, "depths begin with 2, depth is 1"),
        (FEATURE_STRENGTH, {"feature_strengths": (0.1, 0.1, 0.2)}, "positive and increase"),
        (FEATURE_STRENGTH, {"antisymmetric": False}, "make it antisymmetric"),
        (HORIZON, {"times": (0.25, 0.5, 1.0)}, "times must be more than 3"),
        (HORIZON, {"label_scale": 0.0}, "label_scale must be positive"),
        (SMALL_TIMES, {"times": (0.1, 0.2)}, "times must be 3 or more"),
    ],
)
def test_axes_that_make_no_sense_are_refused(claim_id: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(claim_id, **fields)
