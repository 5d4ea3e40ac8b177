"""Networks along feature strength against frozen kernels: planted outputs give the quantities, and what is known holds."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.laziness import LEAST_LAZY
from ntkbench.seeding import rng
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import case_of

LAZINESS = "gap/laziness"
CLAIM = get(LAZINESS)
STRENGTHS = (0.125, 0.25, 0.5, 2.0)


def measured(backend: Backend, width: int = 16, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(LAZINESS, feature_strengths=STRENGTHS, **fields)
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 5), width, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature_strengths": (0.1, 0.2)}, r"must be 3 or more, positive and increase, got \[0.1, 0.2\]"),
        ({"feature_strengths": (0.1, 0.1, 0.2)}, "must be 3 or more, positive and increase"),
        ({"feature_strengths": (0.0, 0.1, 0.2)}, "must be 3 or more, positive and increase"),
        ({"lazy": 2}, "lazy must be a number of strengths from 3 to 4, got 2"),
        ({"lazy": 5}, "lazy must be a number of strengths from 3 to 4, got 5"),
        ({"antisymmetric": False}, "plain initialization adds the fluctuation.*make it antisymmetric"),
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        ({"test_size": 0}, "test_size must be at least 1, got 0"),
        ({"dataset": "sphere"}, "'sphere' is synthetic.*choose one of digits"),
        ({"dataset": "digits"}, "'digits' has 10 outputs, the claim asks for one.*digits_parity"),
        ({"by": "width", "widths": (8, 24), "feature_strengths": (1.0, 2.0, 4.0)}, "width 8 .*take powers of 2"),
        ({"by": "width", "widths": (16, 32), "feature_strengths": (1.0, 2.0, 4.0), "control": "all_rich"}, "'all_rich' scales"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(LAZINESS, **({"feature_strengths": STRENGTHS} | fields))


def test_kernels_at_the_start_do_not_depend_on_the_strength(backend: Backend) -> None:
    arrays = measured(backend)
    for name in ("K2_start", "frozen_test"):
        first = arrays[name][:, :1]
        np.testing.assert_allclose(arrays[name], np.broadcast_to(first, arrays[name].shape), rtol=0, atol=1e-12 * first.max())


def test_a_strength_of_one_over_the_root_of_the_width_is_the_ntk_parametrization(backend: Backend) -> None:
    by_width = case_of(LAZINESS, by="width", widths=(16, 64), feature_strengths=(1.0, 2.0, 4.0))
    by_strength = case_of(LAZINESS, feature_strengths=(0.125, 0.5, 1.0))
    assert [net.width for net in by_width.networks(64)] == [64, 16, 4]
    drawn = CLAIM.prepare(by_width, 5)
    one, other = CLAIM.measure(backend, by_width, drawn, 64, 5), CLAIM.measure(backend, by_strength, drawn, 64, 5)
    for name in ("K2_start", "K2_end", "f_test", "frozen_test"):
        np.testing.assert_allclose(one[name][:, 0], other[name][:, 0], rtol=0, atol=1e-10 * np.abs(one[name][:, 0]).max())


@pytest.mark.parametrize(("control", "reference"), [("all_lazy", LEAST_LAZY - 1), ("all_rich", -1)])
def test_scaled_targets_make_every_strength_the_problem_of_one(backend: Backend, control: str, reference: int) -> None:
    regular, controlled = measured(backend), measured(backend, control=control)
    for name in ("K2_end", "f_test"):
        expected = np.broadcast_to(regular[name][:, [reference]], regular[name].shape)
        np.testing.assert_allclose(controlled[name], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_exchanged_kernels_are_another_network_s_on_the_same_points(backend: Backend) -> None:
    case = case_of(LAZINESS, feature_strengths=STRENGTHS)
    drawn = CLAIM.prepare(case, 5)
    regular, exchanged = measured(backend), measured(backend, control="exchanged_kernels")
    for name in ("K2_start", "K2_end", "f_test"):
        np.testing.assert_array_equal(regular[name], exchanged[name])
    net = next(iter(case.networks(16)))
    theta = net.initialize(5, [1])
    kernel, kernel_test = backend.ntk(net, theta, drawn.x[0]), backend.ntk(net, theta, drawn.x_test[0], drawn.x[0])
    counts = (round(case.times[-1] / case.step),)
    _, moved = backend.kernel_descent(kernel, -drawn.y[:1], step=case.step, counts=counts, kernel_test=kernel_test)
    np.testing.assert_allclose(exchanged["frozen_test"][0, 0], moved[0, 0], rtol=0, atol=1e-12 * np.abs(moved).max())


def test_the_change_grows_with_the_square_and_the_distance_with_the_change(backend: Backend) -> None:
    case = case_of(LAZINESS, feature_strengths=(0.02, 0.04, 0.08), seeds=3)
    summary = CLAIM.summarize(case, CLAIM.measure(backend, case, CLAIM.prepare(case, 5), 64, 5), 64)
    np.testing.assert_allclose(summary["change_power"], 2.0, atol=0.02)
    np.testing.assert_allclose(summary["response_power"], 1.0, atol=0.02)


def planted() -> dict[str, np.ndarray]:
    """Two seeds, four strengths, three training and four test points."""
    draw = np.random.default_rng(4)
    arrays = {name: draw.standard_normal((2, 4, 3, 3)) for name in ("K2_start", "K2_end")}
    arrays |= {name: draw.standard_normal((2, 4, 4, 1)) for name in ("f_test", "frozen_test")}
    arrays = {name: values + values.swapaxes(2, 3) if name.startswith("K2") else values for name, values in arrays.items()}
    return arrays | {"y_test": np.where(draw.standard_normal((2, 4, 1)) > 0, 1.0, -1.0)}


def test_quantities_are_those_of_each_strength() -> None:
    arrays, case = planted(), case_of(LAZINESS, feature_strengths=STRENGTHS, train_size=3)
    summary = CLAIM.summarize(case, arrays, 8)
    assert set(summary) == set(CLAIM.quantities)
    for s in range(2):
        y, change, distance = arrays["y_test"][s, :, 0], [], []
        for g in range(4):
            start, end = arrays["K2_start"][s, g], arrays["K2_end"][s, g]
            f, frozen = arrays["f_test"][s, g, :, 0], arrays["frozen_test"][s, g, :, 0]
            change.append(np.linalg.norm(end - start) / np.linalg.norm(start))
            distance.append(np.linalg.norm(f - frozen) / np.linalg.norm(frozen))
            expected = {
                "change": change[-1],
                "distance": distance[-1],
                "disagreement": sum(a * b < 0 for a, b in zip(f, frozen, strict=True)) / 4,
                "mse_difference": (sum((f - y) ** 2) - sum((frozen - y) ** 2)) / 4,
                "accuracy_difference": (sum(f * y > 0) - sum(frozen * y > 0)) / 4,
            }
            for name, value in expected.items():
                assert summary[f"{name}_path"][s, g] == pytest.approx(value, rel=1e-12), name
        assert summary["change_power"][s] == pytest.approx(np.polyfit(np.log(STRENGTHS[:3]), np.log(change[:3]), 1)[0])
        assert summary["response_power"][s] == pytest.approx(np.polyfit(np.log(change[:3]), np.log(distance[:3]), 1)[0])
        largest = max(np.linalg.eigvalsh(kernels)[-1] for name in ("K2_start", "K2_end") for kernels in arrays[name][s])
        assert summary["critical_step"][s] == pytest.approx(6 / largest)
    for name, place in (("disagreement", 2), ("mse_difference", -1), ("accuracy_difference", -1)):
        np.testing.assert_array_equal(summary[name], summary[f"{name}_path"][:, place])


def test_a_diverged_network_or_a_step_that_is_too_large_is_a_violation() -> None:
    case = case_of(LAZINESS, feature_strengths=STRENGTHS, train_size=3, step=0.25)
    arrays = planted()
    arrays["K2_end"] = 1.05 * arrays["K2_start"]
    assert CLAIM.violations(case, {8: CLAIM.summarize(case, arrays, 8)}) == []
    changed = CLAIM.summarize(case, arrays | {"K2_end": 1e3 * arrays["K2_end"]}, 8)
    step, change = CLAIM.violations(case, {8: changed})
    assert "step 0.25 is not below the critical learning rate" in step
    assert "at width 8 the kernel changes by 1e+03 at the end of the lazy range" in change
    (alone,) = CLAIM.violations(case_of(LAZINESS, control="all_rich", train_size=3, step=0.25), {8: changed})
    assert alone == step
    for name in ("f_test", "K2_end"):
        arrays[name][1, 3] = np.inf
    summary = CLAIM.summarize(case, arrays, 8)
    for name in ("mse_difference", "accuracy_difference"):
        np.testing.assert_array_equal(np.isfinite(summary[name]), [True, False])
    assert summary["critical_step"][1] == 0 < summary["critical_step"][0]
    (lost,) = CLAIM.violations(case, {8: summary})
    assert "at width 8 training diverged for 1 of 2 seeds: take a smaller step" in lost


def outcome(name: str, mean: float) -> str:
    """What comes of an expectation on a planted mean over seeds."""
    expectation = next(e for e in CLAIM.expectations if e.name == name)
    values = {m: mean + 0.002 * np.random.default_rng(m).standard_normal(24) for m in (32, 128)}
    found = judge(expectation, {m: {expectation.quantity: v} for m, v in values.items()}, partial(rng, 3)("judge", name))
    assert found.valid
    return "supported" if found.p_support < 0.01 else "contradicted" if found.p_contradict < 0.01 else "inconclusive"


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("change_power", (1.9, 2.1), (1.8, 0.0)),
        ("response_power", (0.9, 1.1), (0.5, 0.0)),
        ("lazy_agreement", (0.002, 0.005), (0.02, 0.5)),
        ("rich_mse_gap", (0.05, -0.05), (0.0, 0.005)),
        ("rich_accuracy_gap", (0.05, -0.05), (0.0, -0.005)),
    ],
)
def test_each_expectation_can_be_supported_and_contradicted(
    name: str, holds: tuple[float, ...], fails: tuple[float, ...]
) -> None:
    assert {outcome(name, mean) for mean in holds} == {"supported"}
    assert {outcome(name, mean) for mean in fails} == {"contradicted"}
