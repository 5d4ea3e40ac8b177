"""The condition number as a search's measure: its definition, its ranks, and where it is rounding."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.condition_number import DEALS, INITIALIZATIONS, UNITS
from ntkbench.config import load
from ntkbench.data import Dataset
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import CONDITION_NUMBER, case_of

CLAIM = get(CONDITION_NUMBER)
STUDIES = Path(__file__).resolve().parents[2] / "workflow" / "config"


def measured(backend: Backend, case: Any, data: Dataset | None = None) -> dict[str, np.ndarray]:
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 3) if data is None else data, 4, 3)


def test_it_is_that_of_the_sum_of_logits_over_three_initializations(backend: Backend) -> None:
    case = case_of(CONDITION_NUMBER, train_size=4)
    drawn = CLAIM.prepare(case, 3)
    found = measured(backend, case, drawn)["log_kappa"]
    for k, member in enumerate(case.drawn(3)):
        net = case.architecture_of(member, 4, 10)
        for s in range(case.seeds):
            conditions = []
            for i in range(INITIALIZATIONS):
                theta = net.initialize(3, [i * case.seeds + s])
                kernel = backend.ntk(net, theta, drawn.x[s], outputs="full")[0]
                summed = np.einsum("abop->ab", kernel)
                conditions.append(np.linalg.cond(summed))
            assert found[s, k] == pytest.approx(np.log(np.mean(conditions)), rel=1e-8), member


def test_every_architecture_takes_the_same_share_of_its_critical_step(backend: Backend) -> None:
    """Steps and times are in units of n over the largest eigenvalue, of all seeds, of the kernel of one logit (mean of ten)."""
    case = case_of(CONDITION_NUMBER)
    drawn = CLAIM.prepare(case, 3)
    outputs = measured(backend, case, drawn)["outputs"]
    for k, member in enumerate(case.drawn(3)):
        net = case.architecture_of(member, 4, 10)
        thetas = [net.initialize(3, range(i * case.seeds, (i + 1) * case.seeds)) for i in range(INITIALIZATIONS)]
        of_logits = [backend.ntk(net, theta, drawn.x, outputs="full") for theta in thetas]
        largest = max(np.linalg.eigvalsh(np.einsum("sabOO->sab", kernel) / 10).max() for kernel in of_logits)
        unit = case.train_size / largest
        trained = backend.train(
            net,
            thetas[0],
            drawn.x,
            drawn.y,
            times=tuple(unit * t for t in case.times),
            step=unit * case.step,
            integrator="euler",
            observe=("f_test",),
            x_test=drawn.x_test,
        )
        np.testing.assert_allclose(outputs[:, k], trained.observed("f_test"), rtol=1e-8, atol=1e-10)


def test_networks_are_he_s_and_of_both_families() -> None:
    case = case_of(CONDITION_NUMBER, depth=2, population=12, weight_variance=2.0)
    members = case.drawn(3)
    nets = [case.architecture_of(member, 4, 10) for member in members]
    assert [type(net).__name__ for net in nets] == ["FullyConnected"] * 6 + ["Convolutional"] * 6
    assert {getattr(net, "padding", None) for net in nets} == {None, "circular", "zero"}
    for net, member in zip(nets, members, strict=True):
        assert (net.depth, net.width) == (member.depth, 4 * member.units)
        assert (getattr(net, "readout", "dense"), getattr(net, "padding", None)) == (member.family, member.padding)
        first = net.layers[0]
        assert first.weight_std == pytest.approx(np.sqrt(2 / first.fan_in))
        assert (first.weight_multiplier, net.bias_variance, net.output_dim) == (1.0, 0.0, 10)


def test_populations_are_drawn_at_random_from_the_whole_space_without_repetition() -> None:
    case = case_of(CONDITION_NUMBER, depth=3, population=8)
    drawn = [case.drawn(root) for root in range(200)]
    assert drawn[0] == case.drawn(0)
    assert {len(set(members)) for members in drawn} == {8}
    paddings: dict[str, tuple[str | None, ...]] = {"dense": (None,)}
    space = {
        (f, depth, units, padding)
        for f, of in UNITS.items()
        for units in of
        for depth in (1, 2, 3)
        for padding in paddings.get(f, ("circular", "zero"))
    }
    counts = Counter(member for members in drawn for member in members)
    assert set(counts) == space
    for member, count in counts.items():
        share = 4 / (21 if member.family == "dense" else 24)
        assert abs(count / 200 - share) < 5 * np.sqrt(share * (1 - share) / 200), member


@pytest.mark.parametrize("study", ["default", "paper"])
def test_verdicts_speak_of_one_population_which_is_less_than_half_of_the_space(study: str) -> None:
    assert all("one population of architectures drawn at random" in one.statement for one in CLAIM.expectations)
    for case in load(STUDIES / f"{study}.yaml").cases[CONDITION_NUMBER].values():
        members = Counter(member.family == "dense" for root in range(200) for member in set(case.drawn(root)))
        space = {
            dense: {m for root in range(200) for m in case.drawn(root) if (m.family == "dense") == dense} for dense in members
        }
        assert all(members[dense] / 200 < 0.5 * len(space[dense]) for dense in members)


def planted(case: Any, sign: float) -> dict[str, np.ndarray]:
    """The k-th architecture is right at test points 0 to k; kappa goes up (or down) with k, parameters down."""
    members, held_out = case.population, case.test_size
    y = np.tile(np.eye(10)[0] - 0.1, (case.seeds, held_out, 1))
    outputs = np.zeros((case.seeds, members, 2, held_out, 10))
    outputs[:, :, 0, :, 1] = 5.0
    outputs[:, :, 1, :, 1] = 0.5
    for k in range(members):
        outputs[:, k, 1, case.validation_size : case.validation_size + k + 1, 0] = 1.0
    order = np.arange(members, dtype=float)
    return {
        "log_kappa": np.tile(sign * order, (case.seeds, 1)),
        "outputs": outputs,
        "y_test": y,
        "parameters": np.tile(-order, (case.seeds, 1)),
        "dense": np.tile(order < members // 2, (case.seeds, 1)),
        "rounding": np.full(case.seeds, 1e-14),
    }


def test_ranks_are_of_the_accuracy_that_validation_chose() -> None:
    case = case_of(CONDITION_NUMBER, depth=2, population=8)
    for sign in (1.0, -1.0):
        arrays = planted(case, sign)
        arrays["log_kappa"][1, [0, 1]] = arrays["log_kappa"][1, [1, 0]]
        summary = CLAIM.summarize(case, arrays, 4)
        swapped = stats.spearmanr(arrays["log_kappa"][1], np.arange(8)).statistic
        np.testing.assert_allclose(summary["correlation"], [sign, swapped])
        np.testing.assert_allclose(summary["correlation_convolutional"], [sign, sign])
        np.testing.assert_allclose(summary["correlation_dense"], [sign, 0.8 * sign])
        np.testing.assert_allclose(summary["correlation_size"], [-1.0, -1.0])
        np.testing.assert_allclose(summary["advantage"], [-sign - 1, -swapped - 1])
        np.testing.assert_allclose(summary["accuracy_spread"], 7 / 8)


def test_dealt_condition_numbers_say_nothing(backend: Backend) -> None:
    regular, control = (case_of(CONDITION_NUMBER, depth=2, population=8, seeds=4, control=c) for c in (None, "dealt"))
    deals = measured(backend, case_of(CONDITION_NUMBER, depth=2, population=8, seeds=4, control="dealt"))["deals"]
    assert deals.shape == (4, DEALS, 8)
    assert "deals" not in measured(backend, regular)
    found = CLAIM.summarize(control, planted(control, -1.0) | {"deals": deals}, 4)
    assert np.abs(found["correlation"]).max() < 0.1


def test_every_expectation_can_be_supported_and_contradicted() -> None:
    draw = np.random.default_rng(2)
    for expectation in CLAIM.expectations:
        for mean, supports in ((0.6, True), (0.0, False)):
            values = {8: {expectation.quantity: expectation.sign * mean + 0.02 * draw.standard_normal(12)}}
            found = judge(expectation, values, np.random.default_rng(3))
            assert (found.p_support < 0.01, found.p_contradict < 0.01) == (supports, not supports), expectation.name


def test_duplicate_images_are_a_violation(backend: Backend) -> None:
    case = case_of(CONDITION_NUMBER, train_size=6)
    drawn = CLAIM.prepare(case, 3)
    assert CLAIM.violations(case, {4: CLAIM.summarize(case, measured(backend, case, drawn), 4)}) == []
    x = drawn.x.copy()
    x[1, 2] = x[1, 4]
    doubled = measured(backend, case, Dataset(x, drawn.y, drawn.x_test, drawn.y_test))
    assert np.isfinite(doubled["log_kappa"]).all()
    (problem,) = CLAIM.violations(case, {4: CLAIM.summarize(case, doubled, 4)})
    assert "at width 4 the smallest eigenvalue" in problem
    assert "duplicate images" in problem


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        ({"bias_variance": 0.1}, "bias_variance 0.1: the kernel is that of the weights only"),
        ({"image": None}, "image is missing: half of the population is convolutional"),
        ({"readout": "global_average"}, "readout 'global_average': the population has both"),
        ({"padding": "zero"}, "padding 'zero': the population has both"),
        ({"dataset": "sphere"}, "'sphere' is synthetic"),
        ({"population": 2, "depth": 2}, "population must lie between 4 and 28 for architectures to depth 2, got 2"),
        ({"population": 30, "depth": 2}, "population must lie between 4 and 28 for architectures to depth 2, got 30"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(CONDITION_NUMBER, **fields)
