"""Generalisation measures: their formulas, the labels they are asked of, and which ranks are correlated."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ntkbench import data
from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.measures import QUESTIONS, RANKS, RIDGE, SIGNS, of_kernel
from ntkbench.claims.ranks import spearman
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import MEASURES, case_of

CLAIM = get(MEASURES)


def test_rank_correlations_are_those_of_scipy_ties_and_axes_included() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 5, (3, 7, 2)).astype(float), draw.standard_normal((3, 7, 2))
    found = spearman(a, b, axis=1)
    for i in range(3):
        for j in range(2):
            assert found[i, j] == pytest.approx(stats.spearmanr(a[i, :, j], b[i, :, j]).statistic, rel=1e-12)
    assert (spearman(np.ones((2, 4)), draw.standard_normal((2, 4))) == 0).all()
    assert np.isnan(spearman(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))


def test_measures_are_their_formulas_whatever_the_scale_of_the_kernel(backend: Backend) -> None:
    draw = np.random.default_rng(1)
    n, labellings = 6, 2
    roots = draw.standard_normal((3, n, 2 * n))
    kernel, y = roots @ roots.swapaxes(1, 2), draw.choice([-1.0, 1.0], (3, n, labellings))
    found = of_kernel(backend, kernel, y)
    for s in range(3):
        k = kernel[s] / np.diag(kernel[s]).mean()
        for j in range(labellings):
            v = y[s, :, j]
            target = np.outer(v, v)
            expected = [
                np.sqrt(v @ np.linalg.inv(k) @ v / n),
                (k * target).sum() / np.sqrt((k**2).sum() * (target**2).sum()),
                np.trace(k @ np.linalg.inv(k + n * RIDGE * np.eye(n))),
            ]
            np.testing.assert_allclose(found[s, :, j], expected, rtol=1e-10)
    np.testing.assert_allclose(of_kernel(backend, 7 * kernel, y), found, rtol=1e-10)


def test_labels_divide_the_classes_in_half_and_noise_is_where_it_should_be() -> None:
    case = case_of(MEASURES, train_size=400, test_size=300, validation_size=100, tasks=4, noise=(0.0, 0.25, 0.5, 1.0))
    drawn = CLAIM.prepare(case, 5)
    digits = data.load("digits", train_size=400, test_size=300, input_dim=64, root=5, splits=2)
    classes = np.concatenate([digits.y, digits.y_test], axis=1).argmax(axis=-1)
    labels = np.concatenate([drawn.y, drawn.y_test], axis=1).reshape(2, 700, 4, 4)
    np.testing.assert_array_equal(drawn.x, digits.x)
    for s in range(2):
        halves = set()
        for t in range(4):
            of_class = [set(labels[s, classes[s] == c, t, 0]) for c in range(10)]
            assert all(len(values) == 1 for values in of_class)
            halves.add(tuple(values.pop() for values in of_class))
        assert len(halves) == 4
        assert all(sum(half) == 0 for half in halves)
    changed = labels != labels[..., :1]
    assert not changed[:, 500:].any(), "test labels are true"
    for k, share in enumerate((0.0, 0.25, 0.5, 1.0)):
        assert changed[:, :500, :, k].mean() == pytest.approx(share / 2, abs=0.04)
    assert not (changed[..., 1] & ~changed[..., 2]).any(), "noise is nested"
    other = CLAIM.prepare(case_of(MEASURES, train_size=400, test_size=300, validation_size=100, tasks=4, seeds=3), 5)
    np.testing.assert_array_equal(other.y[0, :, ::3], drawn.y[0, :, ::4])


def planted(case: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Measures and errors without relation; the second of two candidates has the least validation error."""
    draw = np.random.default_rng(seed)
    members, columns = len(case.members), case.tasks * len(case.noise)
    shapes = {
        "kernel_mse": (case.seeds, members, 2, 2, columns),
        "network_mse": (case.seeds, members, 2, 2, case.tasks),
        "noisy_network_mse": (case.seeds, 2, 2, columns),
    }
    arrays = {name: draw.random(shape) for name, shape in shapes.items()}
    for values in arrays.values():
        values[..., 0, 1, :] -= 1.0
    return arrays | {"measures": draw.random((case.seeds, members, 3, columns))}


def test_correlations_are_along_one_axis_with_the_error_that_validation_chose() -> None:
    case = case_of(MEASURES, seeds=3, tasks=4)
    arrays = planted(case)
    summary = CLAIM.summarize(case, arrays, 8)
    grid = (4, len(case.noise))
    for s in range(3):
        measures = arrays["measures"][s].reshape(-1, 3, *grid)
        kernel = arrays["kernel_mse"][s, :, 1, 1].reshape(-1, *grid)
        network = arrays["network_mse"][s, :, 1, 1]
        noisy = arrays["noisy_network_mse"][s, 1, 1].reshape(grid)
        places = [(a, t) for a in range(len(kernel)) for t in range(4)]
        for k, name in enumerate(SIGNS):
            m = measures[:, k]
            expected = {
                f"{name}_noise": [(m[a, t], kernel[a, t]) for a, t in places],
                f"{name}_noise_network": [(m[0, t], noisy[t]) for t in range(4)],
                f"{name}_tasks": [(m[a, :, 0], kernel[a, :, 0]) for a in range(len(kernel))],
                f"{name}_tasks_network": [(m[a, :, 0], network[a]) for a in range(len(kernel))],
                f"{name}_architectures": [(m[:, t, 0], kernel[:, t, 0]) for t in range(4)],
                f"{name}_architectures_network": [(m[:, t, 0], network[:, t]) for t in range(4)],
            }
            for quantity, pairs in expected.items():
                if quantity in CLAIM.quantities:
                    mean = np.mean([stats.spearmanr(*pair).statistic for pair in pairs])
                    assert summary[quantity][s] == pytest.approx(mean, rel=1e-10), quantity
        assert summary["mse_kernel"][s] == pytest.approx(kernel[..., 0].mean())
        assert summary["mse_network"][s] == pytest.approx(network.mean())
    assert {f"{m}_{a}" for m, a in QUESTIONS} < set(summary)


def test_every_expectation_can_be_supported_and_contradicted() -> None:
    draw = np.random.default_rng(2)
    for expectation in CLAIM.expectations:
        for mean, supports in ((0.6, True), (0.0, False), (-0.6, False)):
            values = {8: {expectation.quantity: expectation.sign * mean + 0.1 * draw.standard_normal(16)}}
            found = judge(expectation, values, np.random.default_rng(3))
            assert (found.p_support < 0.001, found.p_contradict < 0.001) == (supports, not supports), expectation.name
        assert expectation.size == RANKS


def test_the_control_shuffles_the_measures_and_nothing_else(backend: Backend) -> None:
    regular, control = (case_of(MEASURES, train_size=10, control=c) for c in (None, "shuffled"))
    plain, shuffled = (CLAIM.measure(backend, case, CLAIM.prepare(case, 3), 8, 3) for case in (regular, control))
    for name, values in plain.items():
        assert np.array_equal(values, shuffled[name]) == (name != "measures"), name
    dimensions, dealt = (arrays["measures"][:, :, 2] for arrays in (plain, shuffled))
    np.testing.assert_array_equal(np.sort(dimensions, axis=1), np.sort(dealt, axis=1))


def test_a_wide_network_stops_at_the_error_of_its_kernel(backend: Backend) -> None:
    fields = {"train_size": 12, "test_size": 40, "validation_size": 20}
    case = case_of(MEASURES, times=tuple(float(2**k) for k in range(6)), **fields)
    summary = CLAIM.summarize(case, CLAIM.measure(backend, case, CLAIM.prepare(case, 4), 1024, 4), 1024)
    np.testing.assert_allclose(summary["mse_network"], summary["mse_kernel"], rtol=0.15)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        ({"antisymmetric": False}, "a plain f at t = 0, as large as the architecture says, stays in test errors"),
        ({"other_activations": ("relu", "erf")}, r"other_activations \['relu', 'erf'\] name one twice"),
        ({"other_activations": ()}, "three architectures at least: take a larger depth"),
        ({"other_activations": ("erf", "identity")}, "activation 'identity' has a singular kernel"),
        ({"other_activations": ("erf", "cosine")}, "activation 'cosine' is unknown"),
        ({"noise": (0.0, 1.0)}, r"noise must be three shares or more.*got \[0.0, 1.0\]"),
        ({"noise": (0.1, 0.5, 1.0)}, "noise must be three shares"),
        ({"noise": (0.0, 0.5, 1.5)}, "noise must be three shares"),
        ({"tasks": 2}, "tasks must be 3 to 126.*'digits', got 2"),
        ({"tasks": 127}, "tasks must be 3 to 126"),
        ({"dataset": "digits_parity"}, "tasks must be 3 to 0, the divisions into two halves of the 1 outputs"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(MEASURES, **fields)


def test_the_plan_counts_every_network_of_the_population() -> None:
    for image in (None, (8, 8, 1)):
        found = CLAIM.calls(case_of(MEASURES, seeds=5, image=image), 8)
        assert found is not None
        trained = [call.seeds for call in found if type(call).__name__ == "Train"]  # type: ignore[attr-defined]
        assert trained == [5 * 9, 5 * 3, 5 * 3]
