"""The NTK against other classifiers: batches that are filled up change nothing, planted predictions give the quantities."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap import kernel_methods
from ntkbench.claims.gap.kernel_methods import FITTED, METHODS, RIVALS
from ntkbench.claims.tabular_sets import ABSENT, chosen, filled_up
from ntkbench.data import Dataset, tabular
from ntkbench.data.tabular import PARTS
from ntkbench.seeding import rng
from ntkbench.verdicts.bootstrap import LEVEL
from ntkbench.verdicts.decide import decide
from ntkbench.verdicts.expectations import Equivalence, Paired
from ntkbench.verdicts.judge import judge
from ntkbench.verdicts.ranks import detectable
from tests.claims.tiny import case_of

ID = "gap/kernel_methods"
CLAIM = get(ID)


@pytest.fixture
def fitted_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine is fitted: what is tested needs none."""
    monkeypatch.setattr(kernel_methods, "_fitted", lambda case, x, labels, learnt, seed: np.stack([labels] * 4, axis=1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sets": ("iris", "titanic")}, "sets titanic are unknown; choose of bands"),
        ({"sets": ("iris", "iris")}, "sets must differ.*seeds 2 says, got iris, iris"),
        ({"sets": ("iris",)}, "at least as many as seeds 2"),
        ({"points": 39}, "points must be at least 40"),
        ({"bias_variance": 0.1}, "bias_variance is 0.1.*take 0"),
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        ({"depths": ()}, r"depths must be one or more, each at least 1, got \[\]"),
        ({"depths": (0, 1)}, "depths"),
        ({"trees": 0}, "trees must be at least 1, got 0"),
    ],
)
def test_bad_cases_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(ID, **fields)


def test_sets_of_one_number_of_classes_are_a_batch() -> None:
    case = case_of(ID, sets=("wine", "sonar", "iris", "glass", "haberman"), seeds=4, points=200)
    assert case.batches == {3: [0, 2], 2: [1], 6: [3]}
    nets = [case.batch_network(places, 8) for places in case.batches.values()]
    assert [(net.input_dim, net.output_dim) for net in nets] == [(13, 3), (60, 1), (9, 6)]


@pytest.mark.usefixtures("fitted_elsewhere")
def test_filling_up_changes_neither_network_nor_kernel(backend: Backend) -> None:
    """A set in a batch with a longer and wider one, against the same set alone."""
    case = case_of(ID, sets=("iris", "wine"), points=170, weight_variance=2.0, step=0.5, times=(4.0,))
    drawn = CLAIM.prepare(case, 3)
    batch = filled_up(case, drawn, [0, 1])
    net = case.batch_network([0, 1], 8)
    theta = net.initialize(3, range(2 * PARTS))
    both = backend.train(net, theta, batch.x, batch.y, **case.flow(), observe=("f_test",), x_test=batch.x_held)
    kernel = backend.limiting_kernels(net, batch.x_held[1], batch.x[1])[1]

    alone = case_of(ID, sets=("iris", "haberman"), points=170, weight_variance=2.0)
    own = filled_up(alone, Dataset(drawn.x[:1], drawn.y[:1], drawn.x_test[:1], drawn.y_test[:1]), [0])
    small = alone.batch_network([0], 8)
    narrow = {name: weights[:PARTS, ..., :4] if name == "W1" else weights[:PARTS] for name, weights in theta.items()}
    n, padded = own.x.shape[1], batch.x.shape[1]
    assert (n, padded) == (120, 136)
    stretched = {"times": [4.0 * n / padded], "step": 0.5 * n / padded, "integrator": "euler"}
    single = backend.train(small, narrow, own.x, own.y, **stretched, observe=("f_test",), x_test=own.x_held)
    found = both.observed("f_test")[:PARTS, :, : own.x_held.shape[1]]
    np.testing.assert_allclose(found, single.observed("f_test"), rtol=1e-10, atol=1e-12)
    assert (both.observed("f_test")[:PARTS, :, own.x_held.shape[1] :] == 0).all()
    expected = backend.limiting_kernels(small, own.x_held[1], own.x[1])[1]
    np.testing.assert_allclose(kernel[: own.x_held.shape[1], :n], expected, rtol=1e-11)


@pytest.mark.usefixtures("fitted_elsewhere")
def test_held_out_points_are_not_among_the_training_points() -> None:
    case = case_of(ID, points=40)
    drawn = CLAIM.prepare(case, 1)
    batch = filled_up(case, drawn, [0, 1])
    for run in range(2 * PARTS):
        train = {tuple(x) for x in batch.x[run] if x.any()}
        own = drawn.x[run // PARTS][run % PARTS :: PARTS]
        assert len(own) == 8
        repeated = {tuple(x) for x in own} & {
            tuple(x) for x in np.delete(drawn.x[run // PARTS], np.s_[run % PARTS :: PARTS], 0)
        }
        if not repeated:
            assert not train & {tuple(x) for x in batch.x_held[run]}


@pytest.mark.usefixtures("fitted_elsewhere")
def test_permuted_labels_are_taught_to_the_kernel_alone() -> None:
    regular, control = (CLAIM.prepare(case_of(ID, control=control), 2) for control in (None, "permuted_labels"))
    np.testing.assert_array_equal(regular.y[..., 0], regular.y_test[..., 0])
    np.testing.assert_array_equal(control.y_test[..., 0], regular.y_test[..., 0])
    for taught, true in zip(control.y[..., 0], regular.y[..., 0], strict=True):
        assert (taught != true).any()
        np.testing.assert_array_equal(np.sort(taught), np.sort(true))


def test_the_machine_with_permuted_labels_does_not_learn() -> None:
    accuracy = {}
    for control in (None, "permuted_labels"):
        labels = CLAIM.prepare(case_of(ID, control=control, sets=("iris", "wine"), points=100), 2).y_test
        judged = np.arange(100) % PARTS > 0
        accuracy[control] = (labels[:, judged, 1:] == labels[:, judged, :1]).mean(axis=(0, 1))
    assert (accuracy[None] > 0.85).all()
    assert accuracy["permuted_labels"][0] < 0.65
    np.testing.assert_array_equal(accuracy["permuted_labels"][1:3], accuracy[None][1:3])


def test_the_machine_s_kernels_are_the_backend_s(backend: Backend) -> None:
    case = case_of(ID, depths=(1, 3))
    x = np.random.default_rng(0).standard_normal((9, 4))
    linear, *rest = kernel_methods._ntk_kernels(case, x)
    np.testing.assert_allclose(linear, x @ x.T)
    for pair, depth in zip((rest[:2], rest[2:]), case.depths, strict=True):
        for found, expected in zip(pair, backend.limiting_kernels(case.network(8, input_dim=4, depth=depth), x), strict=True):
            np.testing.assert_allclose(found, 4 * expected, rtol=1e-12)


def test_the_most_accurate_candidate_on_part_0_is_followed() -> None:
    true = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, ABSENT])
    outputs = np.zeros((PARTS, 2, 3, 4))
    for part in range(PARTS):
        for k, label in enumerate(true[part:10:PARTS].astype(int)):
            outputs[part, 1, k, label] = 1.0
            outputs[part, 0, k, (label + 1) % 3] = 1.0
            outputs[part, :, k, 3] = 9.0
    np.testing.assert_array_equal(chosen(outputs, true), true)
    np.testing.assert_array_equal(chosen(outputs[:, :1], true)[:10], (true[:10] + 1) % 3)


def arrays_of(right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two classes, 20 points a set; `right` says of each method how many of the 16 judged points each set has right."""
    sets = len(right["forest"])
    labels = np.zeros((sets, 20, 1 + len(FITTED)))
    labels[:, ::2, :] = 1.0
    outputs = {name: np.zeros((sets, PARTS, 1, 4, 1)) for name in ("network_held", "kernel_held")}
    judged = np.flatnonzero(np.arange(20) % PARTS)
    for s in range(sets):
        for k, method in enumerate(FITTED):
            labels[s, judged[: 16 - right[method][s]], 1 + k] = 1 - labels[s, judged[: 16 - right[method][s]], 0]
        for name, method in (("network_held", "network"), ("kernel_held", "ntk_regression")):
            found = labels[s, :, 0].copy()
            found[judged[: 16 - right[method][s]]] = 1 - found[judged[: 16 - right[method][s]]]
            for part in range(PARTS):
                outputs[name][s, part, 0, :, 0] = 2 * found[part::PARTS] - 1
    return {**outputs, "labels": labels, "critical_step": np.full((sets, PARTS), 3.0)}


def test_planted_predictions_give_the_quantities() -> None:
    right = {method: np.array([10, 12]) for method in METHODS}
    right |= {"ntk_svm": np.array([16, 14]), "forest": np.array([12, 16]), "network": np.array([8, 12])}
    summary = CLAIM.summarize(case_of(ID), arrays_of(right), 8)
    for method in METHODS:
        np.testing.assert_allclose(summary[f"accuracy_of_{method}"], right[method] / 16)
    np.testing.assert_allclose(summary["accuracy_forest"], [4 / 16, -2 / 16])
    np.testing.assert_allclose(summary["rank_forest"], [1, -1])
    np.testing.assert_allclose(summary["rank_network"], [5, 2.5])
    np.testing.assert_allclose(summary["rank_gaussian_svm"], [3, 2.5])
    np.testing.assert_allclose(summary["accuracy_network_over_kernel"], [-2 / 16, 0])
    np.testing.assert_allclose(summary["critical_step"], 3.0)
    assert set(CLAIM.quantities) == set(summary)


def test_what_is_detectable_is_so_in_the_family_of_all_questions() -> None:
    right = dict.fromkeys(METHODS, np.array([10, 12, 13, 9, 11])) | {"ntk_svm": np.array([16, 12, 14, 11, 15])}
    case = case_of(ID, sets=("iris", "wine", "glass", "sonar", "ecoli"), seeds=5)
    summary = CLAIM.summarize(case, arrays_of(right), 8)
    study = {"a": (case, {8: summary})}
    family = decide(CLAIM, {"torch": study}, {"a": True}, partial(rng, 1))
    expected = detectable(summary["accuracy_forest"], LEVEL / len(family))
    np.testing.assert_allclose(summary["detectable_forest"], expected)
    assert expected > 1.2 * detectable(summary["accuracy_forest"], LEVEL)


@pytest.mark.parametrize("expectation", CLAIM.expectations, ids=lambda e: e.name)
def test_each_expectation_can_come_out_either_way(expectation: Paired | Equivalence) -> None:
    draw = np.random.default_rng(0)
    low, high = draw.integers(7, 10, 20), draw.integers(12, 15, 20)
    outcomes = []
    for ntk, rest in ((high, low), (low, high)):
        right = dict.fromkeys(RIVALS, rest) | {"ntk_svm": ntk}
        if isinstance(expectation, Equivalence):
            right |= {"network": low, "ntk_regression": low + (0 if ntk is high else 3)}
        summary = CLAIM.summarize(case_of(ID, sets=tuple(tabular.SETS), seeds=20), arrays_of(right), 8)
        if isinstance(expectation, Equivalence):
            summary[expectation.quantity] += 1e-4 * draw.standard_normal(20)
        elif "rank" in expectation.quantity:
            summary[expectation.quantity] += 1e-3 * draw.standard_normal(20)
        found = judge(expectation, {8: summary}, np.random.default_rng(1))
        outcomes.append((found.p_support < 0.01, found.p_contradict < 0.01))
    assert outcomes == [(True, False), (False, True)]


def test_a_step_above_the_critical_one_is_a_violation() -> None:
    summaries = {8: {"critical_step": np.array([3.0, 0.2])}}
    assert "0.25 is not below the critical learning rate 0.2" in CLAIM.violations(case_of(ID), summaries)[0]
    assert CLAIM.violations(case_of(ID, step=0.125), summaries) == []
