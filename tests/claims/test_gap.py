"""Networks against their limiting kernels: planted outputs give the quantities, and the measurement does what it says."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.gap.kernel_regression import KernelRegression, KernelRegressionCase
from ntkbench.claims.generalization import STOPS, limiting_kernels
from ntkbench.data import files
from ntkbench.data import images as images_module
from ntkbench.networks import Network
from ntkbench.verdicts.bootstrap import LEVEL
from ntkbench.verdicts.expectations import Equivalence, Paired
from ntkbench.verdicts.judge import judge
from tests.claims.tiny import GAP, case_of

CLAIM = get(GAP)
DENSE: dict[str, Any] = {"image": None}


def measured(backend: Backend, width: int, **fields: Any) -> dict[str, np.ndarray]:
    case = case_of(GAP, **fields)
    return CLAIM.measure(backend, case, CLAIM.prepare(case, 5), width, 5)


@pytest.mark.parametrize("step", [1.0, 0.5, 0.25])
def test_a_very_wide_network_is_its_ntk_s_descent_to_the_same_times(backend: Backend, step: float) -> None:
    common = {**DENSE, "antisymmetric": True, "step": step, "times": (1.0, 4.0, 8.0, 16.0)}
    narrow, wide = (measured(backend, width, **common) for width in (32, 4096))
    apart = [np.abs(one["network"] - one["ntk"][:, :, :4]).max() / np.abs(one["ntk"][:, :, :4]).max() for one in (narrow, wide)]
    assert apart[1] < 0.05
    assert apart[1] < 0.3 * apart[0]


def test_kernels_stop_where_the_network_does_and_go_on_from_there() -> None:
    assert case_of(GAP).counts == STOPS
    assert case_of(GAP, step=0.5, times=(1.0, 3.0, 6.0)).counts == (2, 6, 12, *(2**k for k in range(4, 17)))
    assert case_of(GAP, times=(2.0**16, 2.0**17)).counts == (2**16, 2**17)


def test_smaller_sizes_see_the_first_points_only(backend: Backend) -> None:
    case = case_of(GAP)
    before = CLAIM.prepare(case, 5)
    n = case.smaller[0]
    other = replace(before, x=before.x.copy(), y=before.y.copy())
    other.x[:, n:] = other.x[:, n:][:, ::-1] * 1.5
    other.y[:, n:] = -other.y[:, n:]
    first, second = (CLAIM.measure(backend, case, one, 8, 5) for one in (before, other))
    for name in ("network", "ntk", "nngp", "network_pooled", "ntk_pooled", "nngp_pooled"):
        np.testing.assert_allclose(first[name][:, 0], second[name][:, 0], atol=1e-12)
        assert np.abs(first[name][:, 1] - second[name][:, 1]).max() > 1e-3


def test_both_readouts_of_one_convolutional_network_are_measured_and_of_a_dense_one_there_is_one(backend: Backend) -> None:
    nets = case_of(GAP).networks(8, 10)
    assert {ending: net.readout for ending, net in nets.items()} == {"": "flatten", "_pooled": "global_average"}
    assert list(case_of(GAP, **DENSE).networks(8, 10)) == [""]
    arrays = measured(backend, 8)
    for name in ("ntk", "nngp"):
        assert np.abs(arrays[name] - arrays[f"{name}_pooled"]).max() > 1e-3


def test_kernels_that_do_not_depend_on_the_width_are_computed_once(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    case, asked = case_of(GAP), list[str]()
    compute = backend.limiting_kernels

    def counted(net: Network, *points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(net.parametrization)
        return compute(net, *points)

    monkeypatch.setattr(backend, "limiting_kernels", counted)
    for root in (21, 22):
        drawn = CLAIM.prepare(case, root)
        first, second = (CLAIM.measure(backend, case, drawn, width, root) for width in (8, 16))
        assert len(asked) == 2 * 2 * case.seeds
        np.testing.assert_array_equal(first["ntk_pooled"], second["ntk_pooled"])
        asked.clear()
    by_width = [replace(case.network(width), parametrization="standard") for width in (8, 16)]
    one, other = (limiting_kernels(backend, net, drawn.x, drawn.x_test)[0] for net in by_width)
    np.testing.assert_array_equal(other, np.stack([compute(by_width[1], x) for x in drawn.x], axis=1))
    assert asked == ["standard"] * 4 * case.seeds
    assert one.shape == other.shape == (2, case.seeds, case.train_size, case.train_size)


def test_permuted_labels_are_the_control_s_training_labels_and_no_others() -> None:
    regular, control = (CLAIM.prepare(case_of(GAP, train_size=16, control=c), 5) for c in (None, "permuted_labels"))
    case = case_of(GAP)
    plain = data.load("digits", train_size=16, test_size=case.test_size, input_dim=64, root=5, splits=2)
    for name in ("x", "y", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(regular, name), getattr(plain, name))
        if name != "y":
            np.testing.assert_array_equal(getattr(control, name), getattr(plain, name))
    for permuted, labels in zip(control.y, plain.y, strict=True):
        assert (permuted != labels).any(axis=-1).sum() > 8
        assert sorted(permuted.tolist()) == sorted(labels.tolist())


def test_permuted_nngp_changes_nothing_but_nngp_regression(backend: Backend) -> None:
    regular, control = (measured(backend, 8, **DENSE, control=c) for c in (None, "permuted_nngp"))
    for name in ("network", "ntk", "y_test"):
        np.testing.assert_array_equal(regular[name], control[name])
    assert np.abs(regular["nngp"] - control["nngp"]).max() > 1e-2


def test_spoilt_pooling_changes_nothing_but_what_is_pooled_and_permutes_the_network_s_labels_alone(backend: Backend) -> None:
    regular, control = (measured(backend, 8, control=c) for c in (None, "spoilt_pooling"))
    for name in ("network", "ntk", "nngp", "y_test"):
        np.testing.assert_array_equal(regular[name], control[name])
    for name in ("network_pooled", "ntk_pooled", "nngp_pooled"):
        assert np.abs(regular[name] - control[name]).max() > 1e-3


def planted() -> dict[str, np.ndarray]:
    """Two seeds, two sizes, candidates, twelve held-out points of which four are for validation, three outputs."""
    draw = np.random.default_rng(4)
    counts = {"network": 3, "ntk": 5, "nngp": 5}
    arrays = {name + end: draw.standard_normal((2, 2, k, 12, 3)) for name, k in counts.items() for end in ("", "_pooled")}
    arrays |= {f"ridgeless{end}": draw.standard_normal((2, 1, 12, 3)) for end in ("", "_pooled")}
    return arrays | {"y_test": np.eye(3)[draw.integers(3, size=(2, 12))] - 0.1}


def scores(arrays: dict[str, np.ndarray], name: str, seed: int, size: int, count: int = 3) -> tuple[float, float]:
    """Accuracy and mean squared error on the last eight points of the best of `count` candidates on the first four; slow."""
    y = arrays["y_test"][seed]
    best = min(arrays[name][seed, size, :count], key=lambda f: sum(((f[a] - y[a]) ** 2).sum() for a in range(4)))
    hits = sum(int(np.argmax(best[a]) == np.argmax(y[a])) for a in range(4, 12))
    return hits / 8, sum(((best[a] - y[a]) ** 2).sum() for a in range(4, 12)) / 8


def test_quantities_are_differences_of_what_validation_chose() -> None:
    arrays = planted()
    summary = CLAIM.summarize(case_of(GAP), arrays, 8)
    for seed in range(2):
        for size in range(2):
            of = {name: scores(arrays, name, seed, size) for name in arrays if name.startswith("n")}
            # Kernels have two candidates later than the network's, which count where kernels meet kernels alone.
            ended = {name: scores(arrays, name, seed, size, count=5) for name in of if not name.startswith("network")}
            expected = {
                "network_pooling_difference": of["network_pooled"][0] - of["network"][0],
                "kernel_pooling_difference": ended["ntk_pooled"][0] - ended["ntk"][0],
            }
            for end in ("", "_pooled"):
                network, ntk, nngp = (np.array(of[name + end]) for name in ("network", "ntk", "nngp"))
                between_kernels = np.array(ended[f"nngp{end}"]) - ended[f"ntk{end}"]
                for k, prefix in enumerate(("accuracy_", "mse_")):
                    expected[f"{prefix}difference{end}"] = (network - ntk)[k]
                    expected[f"{prefix}difference_nngp{end}"] = (network - nngp)[k]
                    expected[f"{'mse_' * k}kernels_difference{end}"] = between_kernels[k]
            for name, value in expected.items():
                assert summary[f"{name}_path"][seed, size] == pytest.approx(value, rel=1e-12, abs=1e-12), name
                if size == 1:
                    assert summary[name][seed] == pytest.approx(value, rel=1e-12, abs=1e-12), name
            assert summary["accuracy_network_path"][seed, size] == of["network"][0]
            assert summary["accuracy_nngp_pooled_path"][seed, size] == of["nngp_pooled"][0]
            for end in ("", "_pooled"):
                f, y = arrays[f"ridgeless{end}"][seed, 0, 4:], arrays["y_test"][seed, 4:]
                assert summary[f"accuracy_ridgeless{end}"][seed] == np.mean(f.argmax(axis=1) == y.argmax(axis=1))
    assert set(summary) == set(CLAIM.quantities)


def test_of_dense_networks_there_is_nothing_pooled() -> None:
    arrays = {name: values for name, values in planted().items() if "pooled" not in name and name != "ridgeless"}
    summary = CLAIM.summarize(case_of(GAP, **DENSE), arrays, 8)
    assert set(summary) == {name for name in CLAIM.quantities if "pool" not in name and "ridgeless" not in name}


@pytest.mark.parametrize("name", [e.name for e in CLAIM.expectations if isinstance(e, Paired)])
def test_every_paired_expectation_may_come_out_either_way(name: str) -> None:
    (expectation,) = [e for e in CLAIM.expectations if e.name == name]
    assert isinstance(expectation, Paired)
    noise = 0.002 * np.random.default_rng(1).standard_normal(16)
    edge = expectation.sign * expectation.size
    for side in (1, -1):
        planted_at = edge + 0.01 * side * expectation.sign + noise
        found = judge(expectation, {8: {expectation.quantity: planted_at}}, np.random.default_rng(0))
        assert (found.p_support < 0.01, found.p_contradict < 0.01) == (side > 0, side < 0)
    # No difference at all speaks against a gap, and for a kernel that is not behind.
    found = judge(expectation, {8: {expectation.quantity: noise}}, np.random.default_rng(0))
    assert (found.p_support < 0.01) == (name == "kernels")


def test_expectations_of_pooling_are_about_convolutional_networks_and_that_of_dense_ones_is_not() -> None:
    by_image = {
        image: {e.name for e in CLAIM.expectations if e.applies(case_of(GAP, image=image))} for image in (None, (8, 8, 1))
    }
    assert by_image == {
        None: {"dense", "kernels"},
        (8, 8, 1): {"convolutional", "kernels", "kernel_pooling", "network_pooling"},
    }


CITED: dict[str, Any] = {
    "dataset": "cifar10",
    "input_dim": 3072,
    "image": (32, 32, 3),
    "padding": "zero",
    "activation": "relu",
    "weight_variance": 2.0,
    "train_size": 2000,
    "depth": 2,
}


def published(**fields: Any) -> list[Equivalence]:
    return [e for e in CLAIM.expectations if isinstance(e, Equivalence) and e.applies(case_of(GAP, **CITED | fields))]


def test_published_accuracies_are_expected_in_their_setting_and_nowhere_else() -> None:
    assert [(e.name, e.value) for e in published()] == [("published_2", 0.4094), ("published_2_pooled", 0.4971)]
    assert [e.value for e in published(depth=10)] == [0.4342, 0.5192]
    others = {"train_size": 1000, "padding": "circular", "activation": "erf", "bias_variance": 0.1, "depth": 4}
    assert not any(published(**{name: value}) for name, value in others.items())
    assert not published(dataset="digits", image=(8, 8, 1), input_dim=64)


@pytest.fixture
def cifar_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files in CIFAR-10's format in a local folder: 480 images of noise, three of four with a stripe where its class has it."""
    draw = np.random.default_rng(2)
    labels = np.tile(np.arange(10, dtype=np.uint8), 48)
    images = draw.integers(0, 40, (480, 3, 32, 32), dtype=np.uint8)
    for image, label in zip(images[:360], labels, strict=False):
        image[:, 3 * label : 3 * label + 3] += 200
    rows = np.concatenate([labels[:, None], images.reshape(480, -1)], axis=1)
    folder = tmp_path / files.CIFAR10.folder
    folder.mkdir()
    checksums = {}
    for name, part in zip(files.CIFAR10.files, np.split(rows, 6), strict=True):
        (folder / name).write_bytes(part.tobytes())
        checksums[name] = hashlib.sha256(part.tobytes()).hexdigest()
    monkeypatch.setattr(files, "CIFAR10", replace(files.CIFAR10, files=checksums))
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    images_module._cifar10.cache_clear()
    yield
    images_module._cifar10.cache_clear()


@pytest.mark.usefixtures("cifar_stand_in")
def test_the_published_accuracy_is_compared_with_that_of_ridgeless_regression(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All that pooling takes at this size is time.
    monkeypatch.setattr(
        KernelRegressionCase, "networks", lambda case, width, outputs: {"": case.architecture(width, output_dim=outputs)}
    )
    summaries = {}
    for control in (None, "permuted_labels"):
        fields = {**CITED, "train_size": 60, "test_size": 154, "depth": 1, "seeds": 6, "control": control}
        case = case_of(GAP, **fields)
        arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 5), 2, 5)
        summaries[control] = {2: CLAIM.summarize(case, arrays, 2)}
    expectation = published()[0]
    # Images without a stripe are guessed, one in ten rightly.
    told = replace(expectation, value=0.75 + 0.25 / 10, margin=0.1)
    assert judge(told, summaries[None], np.random.default_rng(0)).p_support < LEVEL
    for expected, control in ((told, "permuted_labels"), (expectation, None)):
        assert judge(expected, summaries[control], np.random.default_rng(0)).p_contradict < LEVEL


def test_training_that_would_still_have_gained_is_a_violation() -> None:
    found = {8: {"last_fall": np.full(4, 0.5)}, 16: {"last_fall": np.array([0.08, 0.0, 0.1, -0.3])}}
    assert CLAIM.violations(case_of(GAP), found) == []
    # The seed that rises excuses nobody.
    (problem,) = CLAIM.violations(case_of(GAP), found | {16: {"last_fall": np.array([0.1, 0.0, 0.1, -0.3])}})
    assert "still takes 5.0% of the network's" in problem
    (problem,) = CLAIM.violations(case_of(GAP), found | {16: {"last_fall": np.array([0.1, 0.0, 0.1, 0.02])}})
    assert "at width 16 and n = 8 the last doubling of the steps, to 4, still takes 5.5% of the network's" in problem


def test_the_last_fall_is_that_of_the_validation_error_of_either_readout() -> None:
    arrays = planted()
    target = arrays["y_test"][:, None]
    for name, errors in (("network", (9.0, 4.0, 3.0)), ("network_pooled", (9.0, 4.0, 5.0))):
        arrays[name][:, -1] = np.stack([target[:, 0] + np.sqrt(e / 3) for e in errors], axis=1)
        arrays[name][:, -1, :, 4:] = 7.0  # test points have no part in it
    np.testing.assert_allclose(CLAIM.summarize(case_of(GAP), arrays, 8)["last_fall"], 0.25)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smaller": ()}, r"smaller must increase from at least 2 to below 8, got \[\]"),
        ({"smaller": (4, 8)}, r"smaller must increase from at least 2 to below 8, got \[4, 8\]"),
        ({"step": 2.0, "times": (2.0, 4.0)}, "step 2.0 is in units of half the critical learning rate: it must stay below 2"),
        ({"times": (1.0, 3.0)}, r"times must end with a doubling.*got \[1.0, 3.0\]"),
        ({"control": "spoilt_pooling", "image": None}, "control 'spoilt_pooling' is of convolutional networks: say the image"),
        ({"readout": "global_average"}, "readout is 'global_average', but both readouts are trained: leave it out"),
        ({"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
    ],
)
def test_cases_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_of(GAP, **fields)


def test_a_control_may_have_other_sizes_than_the_case_that_it_is_a_control_of() -> None:
    regular = case_of(GAP)
    assert isinstance(CLAIM, KernelRegression)
    assert case_of(GAP, control="permuted_labels", smaller=(2,), test_size=20, times=(1.0, 2.0)).resembles(regular)
    assert not case_of(GAP, control="permuted_labels", activation="relu").resembles(regular)
