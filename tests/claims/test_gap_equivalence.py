"""Trained networks against kernel regression: planted outputs give the quantities, and each expectation can fail."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.equivalence import FOREVER
from ntkbench.seeding import rng
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import case_of

EQUIVALENCE = "gap/equivalence"
CLAIM = get(EQUIVALENCE)


def measured(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(EQUIVALENCE, **fields)
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 5), width, 5)


def summary_of(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    return CLAIM.summarize(case_of(EQUIVALENCE, **fields), measured(backend, width, **fields), width)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        ({"test_size": 0}, "test_size must be at least 1, got 0"),
        ({"dataset": "sphere"}, "'sphere' is synthetic.*choose one of digits"),
        ({"dataset": "digits"}, "'digits' has 10 outputs, the claim asks for one.*digits_parity"),
        ({"feature_strength": 2.0}, "feature_strength is 2.0, which only a mean_field control uses"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(EQUIVALENCE, **fields)


def test_a_wide_network_is_nearer_to_both_kernels_and_nearest_to_its_own(backend: Backend) -> None:
    narrow, wide = (summary_of(backend, width, antisymmetric=True, seeds=4) for width in (64, 2048))
    for name, least in (("distance", 3), ("distance_own", 16)):
        assert np.exp(np.log(narrow[name] / wide[name]).mean()) > least, name
    assert (wide["gain_own"] > np.log(2)).all()
    control = summary_of(backend, 2048, control="mean_field", feature_strength=4.0, antisymmetric=True, seeds=4)
    assert (control["distance_own"] > 10 * wide["distance_own"]).all()


def test_descent_forever_is_ridgeless_regression(backend: Backend) -> None:
    case = case_of(EQUIVALENCE)
    drawn = CLAIM.prepare(case, 5)
    arrays = CLAIM.measure(backend, case, drawn, 16, 5)
    for s, (x, x_test) in enumerate(zip(drawn.x, drawn.x_test, strict=True)):
        kernel, kernel_test = (backend.limiting_kernels(case.network(16), *points)[1] for points in ((x,), (x_test, x)))
        for name, residual in (("moved_limit", arrays["f0"][s] - arrays["y"][s]), ("moved_from_zero", -arrays["y"][s])):
            expected = -kernel_test @ np.linalg.solve(kernel, residual)
            np.testing.assert_allclose(arrays[name][s, 1], expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert FOREVER > 1e9


def planted() -> dict[str, np.ndarray]:
    """Three seeds, four test points, five training points; kernels' predictions at the last step and in the end."""
    draw = np.random.default_rng(4)
    arrays = {name: draw.standard_normal((3, 4, 1)) for name in ("f_test", "f0_test")}
    arrays |= {name: draw.standard_normal((3, 5, 1)) for name in ("f", "f0", "y")}
    arrays |= {name: draw.standard_normal((3, 2, 4, 1)) for name in ("moved_limit", "moved_from_zero", "moved_own")}
    return arrays | {"critical_step": np.array([4.0, 5.0, 6.0])}


def root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean([v**2 for v in values.ravel()])))


def test_quantities_are_distances_over_how_far_regression_moved() -> None:
    arrays = planted()
    summary = CLAIM.summarize(case_of(EQUIVALENCE, seeds=3), arrays, 8)
    assert set(summary) == set(CLAIM.quantities)
    for s in range(3):
        f, f0 = arrays["f_test"][s], arrays["f0_test"][s]
        expected = {}
        for name, k in (("limit", 0), ("own", 0), ("limit", 1), ("own", 1)):
            moved = arrays[f"moved_{name}"][s, k]
            label = "distance" + ("_own" if name == "own" else "") + ("_ridgeless" if k else "")
            expected[label] = root_mean_square(f - f0 - moved) / root_mean_square(moved)
        zero = arrays["moved_from_zero"][s, 0]
        expected["distance_without_f0"] = root_mean_square(f - zero) / root_mean_square(zero)
        expected["gain_own"] = np.log(expected["distance"] / expected["distance_own"])
        y = arrays["y"][s]
        expected["residual"] = root_mean_square(arrays["f"][s] - y) / root_mean_square(arrays["f0"][s] - y)
        expected["critical_step"] = arrays["critical_step"][s]
        for name, value in expected.items():
            assert summary[name][s] == pytest.approx(value, rel=1e-12), name


def outcome(name: str, exponent: float, offset: float = 0.0) -> str:
    """What comes of an expectation on a planted power of the width, or a planted mean at every width."""
    expectation = next(e for e in CLAIM.expectations if e.name == name)
    draw = np.random.default_rng(1)
    noise = {m: 0.02 * draw.standard_normal(24) for m in (64, 256, 1024)}
    values = {m: offset + e if "gain" in expectation.quantity else m**exponent * np.exp(e) for m, e in noise.items()}
    found = judge(expectation, {m: {expectation.quantity: v} for m, v in values.items()}, partial(rng, 3)("judge", name))
    assert found.valid
    return "supported" if found.p_support < 0.01 else "contradicted" if found.p_contradict < 0.01 else "inconclusive"


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("distance", -0.5, 0.0),
        ("distance_without_f0", -0.5, 0.0),
        ("distance_own_smooth", -1.0, -0.5),
        ("distance_own_relu", -0.5, -1.0),
        ("distance_own_bound", -1.0, -0.2),
    ],
)
def test_each_exponent_can_be_supported_and_contradicted(name: str, holds: float, fails: float) -> None:
    assert outcome(name, holds) == "supported"
    assert outcome(name, fails) == "contradicted"


def test_its_own_kernel_can_be_twice_as_near_or_not() -> None:
    assert outcome("own_kernel_nearer", 0.0, 1.0) == "supported"
    assert outcome("own_kernel_nearer", 0.0, 0.5) == "contradicted"


def test_a_network_that_is_not_trained_or_steps_too_far_is_a_violation() -> None:
    good = {"residual": np.array([0.05, 0.1]), "critical_step": np.array([9.0, 4.0])}
    case = case_of(EQUIVALENCE, step=3.9, times=(3.9,))
    assert CLAIM.violations(case, {8: good}) == []
    (left,) = CLAIM.violations(case, {8: good, 16: good | {"residual": np.array([0.2, 0.3])}})
    assert "at width 16 0.24 of the training residual is left, more than 0.1: take a later last time" in left
    (step,) = CLAIM.violations(case_of(EQUIVALENCE, step=4.0, times=(4.0,)), {8: good})
    assert "step 4.0 is not below the critical learning rate 4 at width 8" in step
    (lost,) = CLAIM.violations(case, {8: good | {"residual": np.array([np.nan, 0.1])}})
    assert "nan of the training residual is left" in lost
