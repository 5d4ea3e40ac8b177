"""The NTK of another task: planted outputs give the quantities, the measurement does what it says, what is refused."""

from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.transfer import PREDICTORS, SCRATCH
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import TRANSFER, apart_from_kernels, case_of

CLAIM = get(TRANSFER)


def planted(hits: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Two seeds, two sizes, two candidates of which the second fits the four validation points; ten test points."""
    y = np.where(np.arange(14) % 2, 1.0, -1.0)[:, None] * np.ones((2, 1, 1))
    arrays = {"y_test": y, "critical_step": np.array([4.0, 3.0])}
    for name in PREDICTORS:
        outputs = -np.tile(y[:, None, None], (1, 2, 2, 1, 1))
        for size, number in enumerate(hits[name]):
            outputs[:, size, 1, :4] *= -1
            outputs[:, size, 1, 4 : 4 + number] *= -1
        arrays[name] = outputs
    arrays["initial_kernel"] = np.tile(np.eye(8), (2, 1, 1))
    arrays["source_kernel"] = np.stack([2 * np.eye(8), np.eye(8)])
    arrays["y_source"] = np.ones((2, 6, 1))
    arrays["f_source"] = np.full((2, 6, 1), 0.5)
    return arrays


def test_quantities_are_paired_differences_and_their_mean_over_sizes() -> None:
    case = case_of(TRANSFER, test_size=14, validation_size=4)
    hits = {"source": (8, 9), "initial": (7, 9), "kernel": (6, 8), "network": (9, 10)}
    summary = CLAIM.summarize(case, planted(hits), 8)
    for name in PREDICTORS:
        np.testing.assert_allclose(summary[f"accuracy_{name}_path"], [np.array(hits[name]) / 10] * 2)
    for name, values in {"initial": (0.1, 0.0), "kernel": (0.2, 0.1), "network": (-0.1, -0.1)}.items():
        np.testing.assert_allclose(summary[f"accuracy_difference_{name}_path"], [values] * 2, atol=1e-12)
        np.testing.assert_allclose(summary[f"accuracy_difference_{name}"], np.mean(values), atol=1e-12)
    np.testing.assert_allclose(summary["change"], [1.0, 0.0])
    np.testing.assert_allclose(summary["source_error"], 0.25)


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda e: e.name)
@pytest.mark.parametrize(("effect", "holds"), [(0.05, True), (0.0, False), (-0.05, False)])
def test_every_expectation_can_be_supported_and_contradicted(expectation: Any, effect: float, holds: bool) -> None:
    values = effect + 0.002 * np.random.default_rng(1).standard_normal(12)
    found = judge(expectation, {8: {expectation.quantity: values}}, np.random.default_rng(2))
    assert (found.p_support < 0.01, found.p_contradict < 0.01) == (holds, not holds)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smaller": (8,)}, r"smaller must increase from at least 2 to below 8, got \[8\]"),
        ({"smaller": ()}, "smaller must increase"),
        ({"source_dataset": "digits_parity"}, "'digits_parity' is no pair of classes: choose one of digits_3_8"),
        ({"source_dataset": "digits_3_8"}, "'digits_3_8' has class 3 of 'digits_3_8': take others"),
        ({"source_dataset": "fashion_mnist_sandal_sneaker"}, "has other images than dataset 'digits_3_8'"),
        ({"source_size": 400}, "exceeds the 361 points of dataset 'digits_4_9'"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(TRANSFER, **fields)


def test_a_step_that_is_not_below_the_critical_one_is_a_violation() -> None:
    summaries = {8: {"critical_step": np.array([2.0, 1.5])}}
    assert CLAIM.violations(case_of(TRANSFER, step=1.0, times=(1.0,)), summaries) == []
    (problem,) = CLAIM.violations(case_of(TRANSFER, step=1.5, times=(1.5,)), summaries)
    assert "1.5 is not below the critical learning rate 1.5 at width" in problem


def test_after_no_training_to_speak_of_the_source_kernel_is_the_initial_one(backend: Backend) -> None:
    case = case_of(TRANSFER, step=1e-6, times=(1e-6,))
    arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 5), 16, 5)
    np.testing.assert_allclose(arrays["source"], arrays["initial"], atol=1e-4 * np.abs(arrays["initial"]).max())
    assert CLAIM.summarize(case, arrays, 16)["change"].max() < 1e-5


def test_the_source_kernel_is_that_of_the_end_of_source_training(backend: Backend) -> None:
    case = case_of(TRANSFER)
    drawn = CLAIM.prepare(case, 5)
    found = CLAIM.measure(backend, case, drawn, 16, 5)
    task = data.load("digits_4_9", train_size=12, input_dim=64, root=5, splits=2)
    net, end = case.network(16), case.times[-1]
    ended = backend.train(
        net, net.initialize(5, range(2)), task.x, task.y, times=(end,), step=case.step, integrator="euler", observe=("theta",)
    )
    (theta,) = ended.parameters()
    kernel, held_out = backend.ntk(net, theta, drawn.x), backend.ntk(net, theta, drawn.x_test, drawn.x)
    np.testing.assert_allclose(found["source_kernel"], kernel, rtol=1e-9)
    residual, outputs = -drawn.y, np.zeros_like(drawn.y_test)
    for _ in range(round(end / case.step)):
        outputs = outputs - case.step / case.train_size * held_out @ residual
        residual = residual - case.step / case.train_size * kernel @ residual
    np.testing.assert_allclose(found["source"][:, -1, -1], outputs, rtol=1e-6, atol=1e-9)


def test_only_the_source_s_labels_are_permuted_in_the_control(backend: Backend) -> None:
    regular, control = (
        CLAIM.measure(backend, case, CLAIM.prepare(case, 5), 16, 5)
        for case in (case_of(TRANSFER), case_of(TRANSFER, control="permuted_source"))
    )
    for name in ("initial", "kernel", "network", "y_test"):
        np.testing.assert_array_equal(regular[name], control[name])
    assert (regular["source"] != control["source"]).any()
    plain = data.load("digits_4_9", train_size=12, input_dim=64, root=5, splits=2).y
    np.testing.assert_array_equal(regular["y_source"], plain)
    assert (control["y_source"] != plain).any()
    np.testing.assert_array_equal(np.sort(control["y_source"], axis=1), np.sort(plain, axis=1))


def test_a_kernel_that_knows_the_target_task_is_the_better_one() -> None:
    """The claim's scalars are signed so that a helpful source kernel counts as positive against everything from scratch."""
    hits = {"source": (10, 10), "initial": (5, 5), "kernel": (5, 5), "network": (5, 5)}
    summary = CLAIM.summarize(case_of(TRANSFER, test_size=14, validation_size=4), planted(hits), 8)
    assert all((summary[f"accuracy_difference_{name}"] == 0.5).all() for name in SCRATCH)


def test_a_very_wide_network_is_each_kernel_s_descent_to_the_same_times(backend: Backend) -> None:
    for narrow, wide in apart_from_kernels(TRANSFER, ("source", "initial", "kernel"), backend):
        assert wide < 0.05
        assert wide < 0.5 * narrow


def test_the_critical_step_is_the_least_of_all_kernels_and_sizes(backend: Backend) -> None:
    case = case_of(TRANSFER)
    drawn = CLAIM.prepare(case, 5)
    found = CLAIM.measure(backend, case, drawn, 8, 5)
    net = case.network(8)
    limits = np.stack([backend.limiting_kernels(net, x)[1] for x in drawn.x])
    task = data.load("digits_4_9", train_size=12, input_dim=64, root=5, splits=2)
    kernels = [np.stack([backend.limiting_kernels(net, x)[1] for x in task.x])]
    for kernel in (limits, found["initial_kernel"], found["source_kernel"]):
        kernels += [kernel[:, :4, :4], kernel]
    critical = [2 * kernel.shape[-1] / np.linalg.norm(kernel, ord=2, axis=(1, 2)) for kernel in kernels]
    np.testing.assert_allclose(found["critical_step"], np.min(critical, axis=0), rtol=1e-9)
