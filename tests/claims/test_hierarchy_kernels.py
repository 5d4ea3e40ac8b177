"""The kernels of the hierarchy themselves: how they evolve, how large they are, where they tend to."""

from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.base import Case
from ntkbench.claims.hierarchy import limits, linear_networks, sizes
from ntkbench.claims.truncated import rms
from tests import oracles
from tests.claims.tiny import EVOLUTION, LIMITS, LINEAR, SIZES, case_of


def summary_of(backend: Backend, claim_id: str, case: Case, width: int, root: int = 3) -> dict[str, np.ndarray]:
    claim = get(claim_id)
    return claim.summarize(case, claim.measure(backend, case, claim.prepare(case, root), width, root), width)


# Evolution


def planted_evolution(case: Any, error: float) -> dict[str, np.ndarray]:
    """Slopes of entries 2 at seen and 4 at unseen points; what drives them errs at one entry of each, at the last time."""
    arrays = {}
    for r in range(1, case.order):
        slope = np.full((2, 2) + (5,) * r, 2.0)
        slope[..., 3:] = 4.0
        driven = slope.copy()
        driven[1, 1, *(0,) * r] += error
        driven[1, 1, *(4,) * r] -= 10 * error
        arrays |= {f"slope_{r}": slope, f"driven_{r}": driven, f"slope_coarse_{r}": slope * (1 + 3e-6)}
    return arrays


def test_the_defect_is_relative_to_the_slope_and_apart_at_unseen_points() -> None:
    case, claim = case_of(EVOLUTION), get(EVOLUTION)
    summary = claim.summarize(case, planted_evolution(case, 1e-3), 8)
    for r in range(1, 5):
        np.testing.assert_allclose(summary[f"defect_{r}"], [0, 1e-3 / 2], rtol=1e-9)
        np.testing.assert_allclose(summary[f"unseen_{r}"], [0, 1e-2 / 4], rtol=1e-9)
    np.testing.assert_allclose(summary["stencil_error"], [2e-7, 2e-7], rtol=1e-6)
    assert claim.violations(case, {8: summary}) == []
    worse = summary | {"stencil_error": np.array([1e-9, 6e-7])}
    assert "at width 16 the derivative in time errs by 6e-07" in claim.violations(case, {8: summary, 16: worse})[0]


def test_kernels_evolve_by_the_next_one_and_not_by_a_frozen_one(backend: Backend) -> None:
    fields: dict[str, Any] = {"step": 1 / 128, "activation": "softplus", "depth": 2, "train_size": 2, "test_size": 1}
    for control in (None, "frozen"):
        summary = summary_of(backend, EVOLUTION, case_of(EVOLUTION, control=control, **fields), 16)
        assert summary["stencil_error"].max() < 1e-7
        for r in range(1, 5):
            for name in ("defect", "unseen"):
                values = summary[f"{name}_{r}"]
                assert (values < 1e-6).all() if control is None else (values > 1e-4).all(), (name, r, control)


def test_stencils_of_neighbouring_times_share_what_is_recorded() -> None:
    case = case_of(EVOLUTION, step=0.125, times=(0.5, 0.75))
    assert case.recorded == (0, 2, 3, 4, 5, 6, 7, 8, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"times": (0.375, 1.0)}, "times must begin 4 steps after 0"),
        ({"test_size": 0}, "test_size must be at least 1"),
        ({"integrator": "euler"}, "integrator 'euler': the claim is about gradient flow, choose 'rk4' or 'dop853'"),
        ({"activation": "relu"}, "'relu' has no K3"),
    ],
)
def test_evolution_that_cannot_be_measured_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(EVOLUTION, **fields)


# Sizes


def test_the_size_along_the_flow_is_the_largest() -> None:
    case = case_of(SIZES, order=4)
    arrays = {f"sizes_{r}": np.array([[1.0, 3.0, 2.0], [4.0, 1.0, 1.0]]) * r for r in (2, 3, 4)}
    summary = get(SIZES).summarize(case, arrays, 8)
    np.testing.assert_array_equal(summary["size_3"], [3.0, 12.0])
    np.testing.assert_array_equal(summary["size_3_flow"], [9.0, 12.0])
    assert set(summary) == {f"size_{r}{flow}" for r in (2, 3, 4) for flow in ("", "_flow")}


def test_the_size_is_the_root_mean_square_over_entries() -> None:
    kernel = np.array([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    np.testing.assert_allclose(rms(kernel, kept=1), [2.5, 1.0])


def test_kernels_shrink_in_pairs_and_not_at_a_unit_rate(backend: Backend) -> None:
    for control in (None, "unit_rate"):
        case = case_of(SIZES, seeds=64, control=control, train_size=2)
        narrow, wide = (summary_of(backend, SIZES, case, m) for m in (64, 1024))
        for r, exponent in sizes.TYPICAL.items():
            for name in (f"size_{r}", f"size_{r}_flow"):
                slope = np.log(wide[name] / narrow[name]).mean() / np.log(16)
                assert (abs(slope - exponent) < 0.35) == (control is None), (name, control, slope)


def test_odd_kernels_of_equal_copies_vanish_and_even_ones_do_not(backend: Backend) -> None:
    """The sign symmetry of the readout, exactly: `K_r` of the copies cancel in odd orders."""
    summary = summary_of(backend, SIZES, case_of(SIZES, antisymmetric=True, activation="softplus"), 16)
    for r in (3, 5):
        assert (summary[f"size_{r}"] < 1e-15).all()
        assert (summary[f"size_{r}_flow"] > 1e-6).all()
    for r in (2, 4, 6):
        assert (summary[f"size_{r}"] > 1e-6).all()


# Limits


def test_the_deviation_is_relative_to_the_limit() -> None:
    case = case_of(LIMITS)
    arrays = {f"limit_{r}": np.full((3,) * r, 2.0) for r in limits.ORDERS}
    arrays |= {f"limit_half_{r}": np.full((3,) * r, 2.1) for r in limits.ORDERS}
    arrays |= {f"K{r}": np.stack([np.full((3,) * r, 3.0), np.full((3,) * r, 1.6)]) for r in limits.ORDERS}
    summary = get(LIMITS).summarize(case, arrays, 8)
    for r in limits.ORDERS:
        np.testing.assert_allclose(summary[f"deviation_{r}"], [0.5, 0.2])
        np.testing.assert_allclose(summary[f"limit_error_{r}"], [0.05, 0.05])
    assert get(LIMITS).violations(case, {8: summary}) == []
    coarse = summary | {"limit_error_4": np.full(2, 0.1)}
    assert get(LIMITS).violations(case, {8: coarse, 16: summary}) == []
    assert "limit of K_4 is known to 29%" in get(LIMITS).violations(case, {8: summary, 16: coarse})[0]


def test_kernels_tend_to_the_limit_of_independent_units_and_correlated_ones_do_not(backend: Backend) -> None:
    fields: dict[str, Any] = {"seeds": 32, "reference_width": 2048, "reference_seeds": 128, "widths": (64, 1024)}
    for control in (None, "correlated_weights"):
        case = case_of(LIMITS, control=control, **fields)
        narrow, wide = (summary_of(backend, LIMITS, case, m) for m in case.widths)
        for r in limits.ORDERS:
            ratio = np.median(wide[f"deviation_{r}"]) / np.median(narrow[f"deviation_{r}"])
            assert 0.15 < ratio < 0.5 if control is None else ratio > 0.6, (r, control)


def test_the_limit_of_order_two_is_the_limiting_kernel(backend: Backend) -> None:
    case = case_of(LIMITS, reference_width=256, reference_seeds=1024, depth=2, widths=(8, 16))
    data = get(LIMITS).prepare(case, 3)
    found = get(LIMITS).measure(backend, case, data, 8, 3)["limit_2"]
    _, kernel = backend.limiting_kernels(case.network(8), data.x)
    np.testing.assert_allclose(found, kernel, rtol=0, atol=0.02 * np.abs(kernel).max())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference_width": 16}, "at least twice the largest width, 16"),
        ({"reference_seeds": 1}, "reference_seeds must be at least 2"),
        ({"activation": "relu"}, "'relu' has no K4"),
    ],
)
def test_limits_that_cannot_be_estimated_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(LIMITS, **fields)


# Linear networks


def test_two_orders_up_by_loops() -> None:
    draw = np.random.default_rng(0)
    gram, f, kernel = draw.standard_normal((3, 3)), draw.standard_normal((1, 1, 3)), draw.standard_normal((1, 1, 3, 3))
    gram = gram + gram.T
    claim = get(LINEAR)
    third, fourth = np.empty((1, 1, 3, 3, 3)), np.empty((1, 1, 3, 3, 3, 3))
    for a, b, c in np.ndindex(3, 3, 3):
        third[0, 0, a, b, c] = gram[a, c] * f[0, 0, b] + gram[b, c] * f[0, 0, a] + 2 * gram[a, b] * f[0, 0, c]
        own = kernel[0, 0]
        fourth[0, 0, a, b, c] = gram[a, c] * own[b] + gram[b, c] * own[a] + 2 * gram[a, b] * own[c]
    made = {"K1": f, "K2": kernel, "K3": third / 8, "K4": fourth / 8 * 1.5, "gram": gram}
    made |= {"K5": np.ones((1, 1) + (3,) * 5), "K6": np.ones((1, 1) + (3,) * 6)}
    summary = claim.summarize(case_of(LINEAR), made, 8)
    assert summary["defect_3"][0] < 1e-15
    np.testing.assert_allclose(summary["defect_4"], 1 / 3)


def test_the_recursion_of_linear_networks_is_exact_and_needs_their_parametrization(backend: Backend) -> None:
    for fields, holds in (({}, True), ({"weight_variance": 1.5}, True), ({"control": "mean_field"}, False)):
        summary = summary_of(backend, LINEAR, case_of(LINEAR, **fields), 16)
        for r in (3, 4, 5, 6):
            assert (summary[f"defect_{r}"] < 1e-12).all() if holds else (summary[f"defect_{r}"] > 0.1).all()


def test_the_recursion_of_a_linear_network_holds_in_the_oracle() -> None:
    case = case_of(LINEAR)
    net, x = case.network(3), get(LINEAR).prepare(case, 3).x
    vector = oracles.flatten(net.initialize(3, [0]), 0)
    kernels = {1: oracles.network(net, vector, x)[:, 0]} | oracles.hierarchy(net, vector, x, 4)
    for r in (3, 4):
        recursion = linear_networks._two_orders_up(kernels[r - 2][None, None], x @ x.T / 4)[0, 0] / 3
        np.testing.assert_allclose(recursion, kernels[r], rtol=0, atol=1e-13 * np.abs(kernels[r]).max())
