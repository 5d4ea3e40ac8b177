"""Specifications and their initial parameters."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.networks import ACTIVATIONS, PARAMETRIZATIONS, SMOOTH_ACTIVATIONS, FullyConnected

NET = FullyConnected(input_dim=3, width=8, depth=2, activation="tanh", output_dim=2)

networks = st.builds(
    lambda parametrization, gamma, **fields: FullyConnected(
        parametrization=parametrization, feature_strength=gamma if parametrization == "mean_field" else 1.0, **fields
    ),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    gamma=st.floats(0.1, 4.0),
    input_dim=st.integers(1, 5),
    width=st.integers(1, 9),
    depth=st.integers(1, 4),
    activation=st.sampled_from(ACTIVATIONS),
    output_dim=st.integers(1, 3),
    weight_variance=st.floats(0.1, 4.0),
    bias_variance=st.sampled_from([0.0, 0.5]),
    antisymmetric=st.booleans(),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_dim", 0),
        ("width", -4),
        ("width", 8.0),
        ("depth", 0),
        ("depth", True),
        ("output_dim", 0),
        ("activation", "swish"),
        ("parametrization", "mup"),
        ("weight_variance", 0.0),
        ("weight_variance", math.inf),
        ("bias_variance", -0.1),
        ("bias_variance", math.nan),
        ("feature_strength", 0.0),
        ("feature_strength", 2.0),
        ("weight_variance", "1"),
        ("weight_variance", True),
        ("bias_variance", 1j),
        ("feature_strength", None),
        ("antisymmetric", 1),
        ("antisymmetric", "no"),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        replace(NET, **{field: value})


def test_only_relu_is_not_smooth() -> None:
    assert set(ACTIVATIONS) - set(SMOOTH_ACTIVATIONS) == {"relu"}


@given(networks)
def test_layers_chain_from_input_to_output(net: FullyConnected) -> None:
    assert [layer.fan_in for layer in net.layers] == [net.input_dim, *[net.width] * net.depth]
    assert [layer.fan_out for layer in net.layers] == [*[net.width] * net.depth, net.output_dim]


@given(networks)
def test_parameters_have_the_promised_names_and_shapes(net: FullyConnected) -> None:
    theta = net.initialize(1, range(2))
    names = [f"W{l}" for l in range(1, net.depth + 2)]
    names += [f"b{l}" for l in range(1, net.depth + 2)] if net.bias_variance > 0 else []
    assert sorted(theta) == sorted(names)
    for l, layer in enumerate(net.layers, start=1):
        assert theta[f"W{l}"].shape == (2, net.copies, layer.fan_out, layer.fan_in)
        assert net.bias_variance == 0 or theta[f"b{l}"].shape == (2, net.copies, layer.fan_out)
    assert sum(array[0].size for array in theta.values()) == net.parameter_count
    assert all(array.dtype == np.float64 for array in theta.values())


@given(networks)
def test_parametrizations_are_one_function_at_initialization(net: FullyConnected) -> None:
    """Multiplier times parameter is the same matrix in all three, but for mean_field's division of the output."""
    ntk = replace(net, parametrization="ntk", feature_strength=1.0)
    theta, expected = net.initialize(4, [0, 3]), ntk.initialize(4, [0, 3])
    for l, (layer, plain) in enumerate(zip(net.layers, ntk.layers, strict=True), start=1):
        last = l == net.depth + 1 and net.parametrization == "mean_field"
        scale = net.feature_strength * math.sqrt(net.width) if last else 1.0
        for name, multiplier, other in (
            (f"W{l}", layer.weight_multiplier, plain.weight_multiplier),
            (f"b{l}", layer.bias_multiplier, plain.bias_multiplier),
        ):
            if name in theta:
                np.testing.assert_allclose(scale * multiplier * theta[name], other * expected[name], rtol=1e-13)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_entries_have_the_promised_variances(parametrization: str) -> None:
    net = FullyConnected(40, 200, 1, "erf", 50, parametrization, weight_variance=2.5, bias_variance=0.7)
    theta = net.initialize(0, range(4))
    for l, layer in enumerate(net.layers, start=1):
        weights = layer.weight_multiplier * theta[f"W{l}"] * math.sqrt(layer.fan_in)
        biases = layer.bias_multiplier * theta[f"b{l}"]
        scale = math.sqrt(net.width) if l == 2 and parametrization == "mean_field" else 1.0
        # Five standard errors of a sample variance, which is sqrt(2 / size).
        assert (scale * weights).var() == pytest.approx(2.5, rel=5 * math.sqrt(2 / weights.size))
        assert (scale * biases).var() == pytest.approx(0.7, rel=5 * math.sqrt(2 / biases.size))


@pytest.mark.parametrize(
    ("parametrization", "feature_strength", "expected"), [("ntk", 1.0, 1.0), ("standard", 1.0, 1 / 8), ("mean_field", 0.5, 2.0)]
)
def test_mobility(parametrization: str, feature_strength: float, expected: float) -> None:
    assert replace(NET, parametrization=parametrization, feature_strength=feature_strength).mobility == expected


def test_antisymmetric_copies_are_equal_and_cancel() -> None:
    net = replace(NET, antisymmetric=True, bias_variance=0.2)
    assert sum(net.copy_weights) == 0
    assert sum(w**2 for w in net.copy_weights) == pytest.approx(1, abs=1e-15)
    for array in net.initialize(5, range(3)).values():
        np.testing.assert_array_equal(array[:, 0], array[:, 1])


def test_a_seed_is_drawn_alike_in_any_company() -> None:
    for name, array in NET.initialize(9, [7]).items():
        np.testing.assert_array_equal(array[0], NET.initialize(9, [2, 7, 4])[name][1])


def test_activation_and_pairing_leave_the_draw_alone() -> None:
    expected = NET.initialize(9, [0])
    for other in (replace(NET, activation="relu"), replace(NET, antisymmetric=True)):
        for name, array in other.initialize(9, [0]).items():
            np.testing.assert_array_equal(array[:, :1], expected[name])


@pytest.mark.parametrize(("one", "two"), [({}, {"root": 1}), ({}, {"seeds": [1]})])
def test_roots_and_seeds_give_other_draws(one: dict[str, Any], two: dict[str, Any]) -> None:
    base = {"root": 0, "seeds": [0]}
    first, second = (NET.initialize(**{**base, **change}) for change in (one, two))
    assert all((first[name] != second[name]).all() for name in first)


def test_layers_of_equal_shape_have_their_own_draws() -> None:
    theta = replace(NET, depth=3).initialize(0, [0])
    assert (theta["W2"] != theta["W3"]).all()


@pytest.mark.parametrize("correlation", [0.3, 0.8])
def test_correlated_units_keep_their_variance_and_share_a_part(correlation: float) -> None:
    """The control of the convergence claim: unit variance per weight, covariance c between units, readout untouched."""
    net = FullyConnected(50, 40, 2, "tanh")
    theta, plain = net.initialize(0, range(200), correlation), net.initialize(0, range(200))
    np.testing.assert_array_equal(theta["W3"], plain["W3"])
    first, second = theta["W1"][:, 0, 0].ravel(), theta["W1"][:, 0, 1].ravel()
    error = 5 * math.sqrt(2 / first.size)
    assert first.var() == pytest.approx(1, abs=error)
    assert (first * second).mean() == pytest.approx(correlation, abs=error)


@pytest.mark.parametrize("correlation", [-0.1, 1.0, math.nan, "0", 0.5j, False])
def test_impossible_correlations_are_refused(correlation: Any) -> None:
    with pytest.raises(ValueError, match="correlation"):
        NET.initialize(0, [0], correlation)


@pytest.mark.parametrize("seeds", [[], [1.5], [1.0], [True], ["1"], "12", [0, None], 3, None, np.array([0.0, 1.0])])
def test_seeds_that_are_no_integers_are_refused(seeds: Any) -> None:
    with pytest.raises(ValueError, match="seeds must be a sequence of integers, one at least"):
        NET.initialize(0, seeds)


@pytest.mark.parametrize("root", [-1, 1.0, True, "1", None])
def test_roots_that_are_no_integers_are_refused(root: Any) -> None:
    with pytest.raises(ValueError, match="root must be a non-negative integer"):
        NET.initialize(root, [0])


@pytest.mark.parametrize("seeds", [np.arange(-1, 2), (np.int32(s) for s in (-1, 0, 1))])
def test_integers_of_numpy_draw_what_those_of_python_draw(seeds: Any) -> None:
    expected = NET.initialize(9, [-1, 0, 1])
    for name, array in NET.initialize(np.int64(9), seeds).items():
        np.testing.assert_array_equal(array, expected[name])


def test_numbers_of_numpy_are_numbers() -> None:
    net = FullyConnected(np.int64(3), np.int32(8), 1, "tanh")
    assert net == FullyConnected(3, 8, 1, "tanh")
    assert (type(net.input_dim), type(net.width)) == (int, int)
