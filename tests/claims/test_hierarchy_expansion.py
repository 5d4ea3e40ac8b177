"""Correlations, the first order in 1/width, iterated integrals: planted arrays give the quantities, and controls break them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.hierarchy.correlations import COPIES
from ntkbench.claims.hierarchy.iterated_integrals import FEW, ORDERS, VECTORS
from ntkbench.seeding import rng
from tests.claims.tiny import CORRELATIONS, FIRST_ORDER, ITERATED, case_of, wide_over_narrow


def test_products_of_planted_kernels() -> None:
    claim, case = get(CORRELATIONS), case_of(CORRELATIONS, train_size=2, order=6)
    draw = rng(5, "planted")
    f = draw.standard_normal((3, 2))
    K2, K5, K6 = (draw.standard_normal((3,) + (2,) * r) for r in (2, 5, 6))
    hessian = draw.standard_normal((3, 2, 2, 2))  # of f_a along g_b and g_c
    hessian = hessian + hessian.swapaxes(2, 3)
    K3 = hessian + hessian.transpose(0, 2, 1, 3)
    K4 = draw.standard_normal((3, 2, 2, 2, 2))
    found = claim.summarize(case, {"f": f, "K2": K2, "K3": K3, "K4": K4, "K5": K5, "K6": K6}, 8)
    pairs = [(a, b) for a in range(2) for b in range(2)]
    assert_allclose(found["hessian"], sum(f[:, a] * hessian[:, a, b, b] for a, b in pairs) / 4)
    assert_allclose(found["K3_f"], sum(K3[:, a, a, b] * f[:, b] for a, b in pairs) / 4)
    assert_allclose(found["K4"], sum(K4[:, a, a, b, b] for a, b in pairs) / 4)
    assert_allclose(found["K6"], sum(K6[:, a, a, b, b, c, c] for a, b in pairs for c in range(2)) / 8)
    assert_allclose(found["ffff"], found["ff"] ** 2)
    assert_allclose(found["kernel"], (K2[:, 0, 0] + K2[:, 1, 1]) / 2)
    for name, kernel in (("kernel_connected", K2), ("K4_connected", K4), ("K6_connected", K6)):
        assert_allclose(found[name].mean(), kernel.var(axis=0, ddof=1).mean())
    assert_allclose(found["K3_K3"], (K3**2).mean(axis=(1, 2, 3)))
    assert_allclose(found["K5_K5"], (K5.reshape(3, -1) ** 2).mean(axis=1))


def correlations(backend: Backend, width: int, control: str | None) -> dict[str, float]:
    claim = get(CORRELATIONS)
    case = case_of(CORRELATIONS, train_size=4, order=4, seeds=400, control=control)
    summary = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), width, 3), width)
    return {name: float(np.abs(values.mean())) for name, values in summary.items()}


def test_correlations_count_clusters_and_controls_do_not(backend: Backend) -> None:
    ratios = {}
    for control in (None, "unit_rate", "mean_field"):
        narrow, wide = (correlations(backend, width, control) for width in (32, 256))
        ratios[control] = {name: wide[name] / narrow[name] for name in narrow}
    for name, power in {
        "ff": 0,
        "kernel": 0,
        "ffff": 0,
        "kernel_connected": -1,
        "K4": -1,
        "K3_f": -1,
        "K3_K3": -2,
        "K4_connected": -3,
    }.items():
        assert 0.5 < ratios[None][name] / 8.0**power < 2, name
        control = "mean_field" if name.startswith("ff") else "unit_rate"
        assert not 0.5 < ratios[control][name] / 8.0**power < 2, name


def test_blocks_of_seeds_change_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, case = get(CORRELATIONS), case_of(CORRELATIONS, order=2, seeds=7)
    data = claim.prepare(case, 3)
    whole = claim.measure(backend, case, data, 8, 3)
    monkeypatch.setattr(backend, "memory_bytes", 3 * COPIES * 8 * case.network(8).parameter_count)
    for name, values in claim.measure(backend, case, data, 8, 3).items():
        assert_allclose(values, whole[name], rtol=1e-12)


def test_errors_of_the_first_order_are_those_of_the_last_time() -> None:
    claim, case = get(FIRST_ORDER), case_of(FIRST_ORDER)
    along = np.array([1.0, 10.0])[:, None] * np.ones((2, 2, 3))
    arrays = {"f": 2e-9 * along, "f_coarse": 0 * along, "f_1": 3e-3 * along, "error_f0": 1e-4 * along, "error_f1": 1e-7 * along}
    summary = claim.summarize(case, arrays, 8)
    for name, value in {"error_f0": 1e-3, "error_f1": 1e-6, "correction": 3e-2, "step_change": 2e-8}.items():
        assert_allclose(summary[name], [value, value])
    assert_allclose(summary["error_f0_path"], [[1e-4, 1e-3]] * 2)
    assert claim.violations(case, {8: summary}) == []
    for change in (6e-8, np.nan):
        assert "at width 8 doubling" in claim.violations(case, {8: summary | {"step_change": np.full(2, change)}})[0]


def test_the_correction_takes_the_error_away_unless_it_is_another_networks(backend: Backend) -> None:
    claim, gain = get(FIRST_ORDER), {}
    for control in (None, "other_network"):
        case = case_of(FIRST_ORDER, control=control, seeds=8)
        summary = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), 128, 3), 128)
        gain[control] = np.median(summary["error_f0"] / summary["error_f1"])
    assert gain[None] > 10
    assert gain["other_network"] < 2


def test_in_the_mean_field_parametrization_the_width_does_not_control_the_correction(backend: Backend) -> None:
    ratios = {control: wide_over_narrow(FIRST_ORDER, "error_f0", backend, control) for control in (None, "mean_field")}
    assert ratios[None] < 0.2
    assert 0.5 < ratios["mean_field"] < 2


def test_deviations_of_planted_expansions() -> None:
    claim, case = get(ITERATED), case_of(ITERATED)
    arrays = {"residual0": np.array([[1.0, -2.0], [4.0, 0.0]]), "f_whole": np.zeros((2, 2, 2))}
    for p in ORDERS:
        arrays |= {f"f_p{p}": np.zeros((2, 2, 2)), f"K2_p{p}": np.ones((2, 2, 2, 2))}
        arrays |= {f"f_expanded_p{p}": np.zeros((2, 2, 2)), f"K2_expanded_p{p}": np.ones((2, 2, 2, 2))}
    arrays["f_expanded_p3"][0, 1, 0] = 1e-3
    arrays["K2_expanded_p4"][1, 0, 0, 1] = 1 - 1e-4
    arrays |= {f"f_factored_k{k}": np.full((2, 2, 2), 10.0**-k) for k in VECTORS}
    summary = claim.summarize(case, arrays, 8)
    assert_allclose(summary["deviation_p3"], [5e-4, 0])
    assert_allclose(summary["deviation_p4"], [0, 1e-4])
    assert_allclose(summary["factored"], [10.0**-FEW / 2, 10.0**-FEW / 4])
    assert_allclose(summary["factored_path"][0], [10.0**-k / 2 for k in VECTORS])


def test_the_hierarchy_is_the_expansion_along_its_own_path_and_in_the_right_order(backend: Backend) -> None:
    claim, found = get(ITERATED), {}
    for control in (None, "wrong_integrals"):
        case = case_of(ITERATED, control=control, question="identity", train_size=3, depth=2, activation="erf")
        found[control] = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), 16, 3), 16)
    for p in ORDERS:
        assert found[None][f"deviation_p{p}"].max() < 1e-13
        assert found["wrong_integrals"][f"deviation_p{p}"].min() > 1e-8


def test_few_vectors_of_the_path_do_and_random_ones_do_not(backend: Backend) -> None:
    claim, found = get(ITERATED), {}
    for control in (None, "random_basis"):
        case = case_of(ITERATED, control=control, question="factored")
        found[control] = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), 32, 3), 32)
    path = found[None]["factored_path"]
    assert path.shape == (2, len(VECTORS))
    assert (path[:, 0] > 100 * path[:, FEW - 1]).all()
    assert (found["random_basis"]["factored"] > 100 * found[None]["factored"]).all()


def test_a_complete_basis_changes_nothing(backend: Backend) -> None:
    claim, case = get(ITERATED), case_of(ITERATED, question="factored", train_size=max(VECTORS), control="random_basis")
    summary = claim.summarize(case, claim.measure(backend, case, claim.prepare(case, 3), 16, 3), 16)
    assert summary["factored_path"][:, -1].max() < 1e-13


@pytest.mark.parametrize(
    ("claim", "fields", "message"),
    [
        (CORRELATIONS, {"order": 3}, "order must be one of 2, 4, 6"),
        (CORRELATIONS, {"activation": "relu"}, "has no K3"),
        (FIRST_ORDER, {"times": (0.25, 1.0)}, "odd number of steps"),
        (ITERATED, {"train_size": 4}, "train_size must be at least 6"),
    ],
)
def test_cases_that_cannot_be(claim: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(claim, **fields)
