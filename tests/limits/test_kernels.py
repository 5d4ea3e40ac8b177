"""Limiting kernels against the printed recursion, high precision, finite networks, and across array types."""

import math
from dataclasses import replace
from typing import Any, cast

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.backends.jax import limits as jax_limits
from ntkbench.backends.torch import limits as torch_limits
from ntkbench.limits import Run, kernels
from ntkbench.limits.limit import limit
from ntkbench.networks import ACTIVATIONS, Convolutional, FullyConnected, Network, Residual
from tests.limits.oracles import FUNCTIONS, expectation_by_grid, finite_network, kernels_by_grid, relu_kernels


def jax_runner(precision: str) -> Run:
    run = jax_limits.runner(lambda array: jax.device_put(array.astype(precision)), np.asarray)

    def with_float64(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return run(*arguments)

    return with_float64


def torch_runner(precision: str) -> Run:
    return torch_limits.runner(getattr(torch, precision), "cpu")


RUNNERS = (torch_runner, jax_runner)
POINTS = np.random.default_rng(7).standard_normal((5, 3))


def net(activation: str, depth: int = 2, **fields: Any) -> FullyConnected:
    return FullyConnected(3, 1, depth, activation, **fields)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])
@pytest.mark.parametrize("depth", [1, 3])
def test_smooth_networks_follow_the_printed_recursion(activation: str, depth: int) -> None:
    spec = net(activation, depth, weight_variance=1.3, bias_variance=0.2)
    nngp, ntk = kernels(spec, POINTS[:2], POINTS[1:4])
    for i in range(2):
        for j in range(3):
            assert (nngp[i, j], ntk[i, j]) == pytest.approx(kernels_by_grid(spec, POINTS[i], POINTS[1 + j]), abs=5e-14)


NEAR = [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("bias_variance", [0.0, 0.3])
def test_relu_loses_no_digits_near_or_opposite_to_a_point(depth: int, bias_variance: float) -> None:
    spec = net("relu", depth, weight_variance=2.0, bias_variance=bias_variance)
    x = POINTS[0]
    others = np.stack([sign * x + shift * POINTS[1] for shift in NEAR for sign in (1, -1)] + [2.5 * x, POINTS[2]])
    nngp, ntk = kernels(spec, x[None, :], others)
    for j, other in enumerate(others):
        expected = relu_kernels(spec, x, other)
        scale = math.sqrt(relu_kernels(spec, other, other)[1] * relu_kernels(spec, x, x)[1])
        assert nngp[0, j] == pytest.approx(expected[0], abs=1e-14 * scale)
        assert ntk[0, j] == pytest.approx(expected[1], abs=1e-14 * scale)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_relu_diagonal(depth: int) -> None:
    """With weight variance 2 and no biases: `Sigma = 2 |x|^2 / d` and `Theta = (depth + 1) Sigma`."""
    nngp, ntk = kernels(net("relu", depth, weight_variance=2.0), POINTS)
    expected = 2 * (POINTS**2).sum(axis=1) / 3
    np.testing.assert_allclose(np.diag(nngp), expected, rtol=1e-14)
    np.testing.assert_allclose(np.diag(ntk), (depth + 1) * expected, rtol=1e-14)


def test_one_hidden_relu_layer() -> None:
    """`|x||x'| (sin t + 2 (pi - t) cos t) / (2 pi d)` for angle t: the formula printed for two-layer networks."""
    x, other = POINTS[0], POINTS[1]
    norms = np.linalg.norm(x) * np.linalg.norm(other)
    t = math.acos(x @ other / norms)
    expected = norms * (math.sin(t) + 2 * (math.pi - t) * math.cos(t)) / (2 * math.pi * 3)
    assert kernels(net("relu", 1), x[None, :], other[None, :])[1].item() == pytest.approx(expected, rel=1e-14)


def test_linear_network() -> None:
    """`Theta = (depth + 1) v^(depth + 1) x.x' / d` without biases."""
    nngp, ntk = kernels(net("identity", 3, weight_variance=1.5), POINTS)
    np.testing.assert_allclose(nngp, 1.5**4 * POINTS @ POINTS.T / 3, rtol=1e-13)
    np.testing.assert_allclose(ntk, 4 * nngp, rtol=1e-13)


FINITE = [
    *(FullyConnected(3, 256, 2, activation, bias_variance=0.2) for activation in ACTIVATIONS),
    FullyConnected(3, 256, 1, "relu", parametrization="standard", bias_variance=0.5, weight_variance=1.7),
    FullyConnected(3, 256, 3, "tanh", parametrization="standard", bias_variance=0.5, weight_variance=1.7),
    FullyConnected(3, 256, 2, "gelu", parametrization="mean_field", bias_variance=0.5, feature_strength=0.3),
    FullyConnected(3, 256, 2, "erf", antisymmetric=True, weight_variance=1.4),
    FullyConnected(3, 256, 2, "softplus", output_dim=3),
]


@pytest.mark.parametrize("spec", FINITE, ids=lambda spec: f"{spec.activation}-{spec.depth}-{spec.parametrization}")
def test_finite_networks_average_to_the_limit(spec: FullyConnected) -> None:
    """Mean over seeds within five standard errors, plus the bias of order 1 / width; terms of the recursion are of order 1."""
    f, ntk = finite_network(spec, root=11, seeds=60, x=POINTS)
    nngp_limit, ntk_limit = kernels(spec, POINTS)
    bias = 8 * spec.depth / spec.width
    allowed = 5 * ntk.std(axis=0) / math.sqrt(60) + bias * np.abs(np.diag(ntk_limit)).max()
    assert (np.abs(ntk.mean(axis=0) - ntk_limit) <= allowed).all()
    if spec.parametrization == "mean_field":
        f = f * spec.feature_strength * math.sqrt(spec.width)
    products = np.einsum("sio,sjo->soij", f, f).reshape(-1, len(POINTS), len(POINTS))
    allowed = 5 * products.std(axis=0) / math.sqrt(len(products)) + bias * np.diag(nngp_limit).max()
    assert (np.abs(products.mean(axis=0) - nngp_limit) <= allowed).all()


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_what_the_standard_parametrization_drops_falls_as_one_over_width(activation: str) -> None:
    """One hidden layer in closed form: the limit plus `(v (x.x' + 1) E[sigma' sigma'] + 1) / width`, exactly, in the mean.

    The terms are those of the input matrix, the hidden bias and the output bias, whose gradients the recursion leaves out.
    """
    spec = FullyConnected(3, 6, 1, activation, parametrization="standard", bias_variance=0.5, weight_variance=1.4)
    _, ntk = finite_network(spec, root=3, seeds=4000, x=POINTS)
    first = 1.4 * POINTS @ POINTS.T / 3 + 0.5
    slope = FUNCTIONS[activation][1]
    derivative = np.array(
        [[expectation_by_grid(slope, first[i, i], first[j, j], first[i, j]) for j in range(5)] for i in range(5)]
    )
    dropped = (1.4 * (POINTS @ POINTS.T + 1) * derivative + 1) / spec.width
    expected = kernels(spec, POINTS)[1] + dropped
    standard_error = ntk.std(axis=0) / math.sqrt(4000)
    assert (np.abs(ntk.mean(axis=0) - expected) <= 5 * standard_error).all()
    assert (np.diag(dropped) > 20 * np.diag(standard_error)).all()


def test_width_and_outputs_play_no_part_and_parametrizations_relate() -> None:
    spec = net("erf", bias_variance=0.3, weight_variance=1.2)
    expected = kernels(spec, POINTS)
    for same in (
        replace(spec, width=64),
        replace(spec, output_dim=4),
        replace(spec, parametrization="mean_field", feature_strength=2.0),
    ):
        np.testing.assert_array_equal(kernels(same, POINTS), expected)
    np.testing.assert_array_equal(kernels(replace(spec, parametrization="standard"), POINTS)[0], expected[0])
    assert (np.diag(kernels(replace(spec, parametrization="standard"), POINTS)[1]) < np.diag(expected[1])).all()


@given(
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(["ntk", "standard"]),
    st.integers(1, 4),
    st.floats(0.3, 2.0),
    st.sampled_from([0.0, 0.4]),
    st.integers(0, 10**6),
)
def test_kernels_are_symmetric_and_positive(
    activation: str, parametrization: str, depth: int, v: float, b: float, seed: int
) -> None:
    x = np.random.default_rng(seed).standard_normal((6, 3))
    x[1], x[2], x[3] = x[0], -x[0], x[0] + 1e-9
    spec = net(activation, depth, weight_variance=v, bias_variance=b, parametrization=parametrization)
    for kernel in kernels(spec, x):
        assert np.isfinite(kernel).all()
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-14 * np.diag(kernel).max())
        assert np.linalg.eigvalsh(kernel).min() >= -1e-13 * np.diag(kernel).max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_three_array_types_agree(activation: str, parametrization: str) -> None:
    spec = net(activation, 3, bias_variance=0.2, parametrization=parametrization)
    x = np.concatenate([POINTS, POINTS[:1], -POINTS[:1], POINTS[1:2] + 1e-8])
    expected = kernels(spec, x, POINTS)
    for run in RUNNERS:
        for kernel, wanted in zip(kernels(spec, x, POINTS, run=run("float64")), expected, strict=True):
            assert kernel.dtype == np.float64
            np.testing.assert_allclose(kernel, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_single_precision_stays_single(activation: str) -> None:
    x = np.concatenate([POINTS, POINTS[:1]])
    expected, single = kernels(net(activation), x), x.astype(np.float32)
    for found in (kernels(net(activation), single), *(kernels(net(activation), single, run=run("float32")) for run in RUNNERS)):
        for kernel, wanted in zip(found, expected, strict=True):
            assert kernel.dtype == np.float32
            np.testing.assert_allclose(kernel, wanted, rtol=0, atol=3e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_tiles_change_nothing(activation: str) -> None:
    """Seven points a side and fewer, of 40 and 25, the last tiles overlapping; and one triangle against the whole."""
    x = np.random.default_rng(2).standard_normal((40, 3))
    series = 4 * 8 * max(limit(net(activation), float((x**2).sum(axis=1).max())).terms)
    expected = kernels(net(activation), x, x.copy())
    for other in (None, x[:25]):
        found = kernels(net(activation), x, other, memory_bytes=14 * (series + 6 * 8) + 49 * 80)
        for kernel, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(kernel, wanted[:, : kernel.shape[1]], rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="one pair of points need"):
        kernels(net(activation), x, memory_bytes=100)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_zero_input_is_a_constant(activation: str) -> None:
    """Without biases its first preactivation is 0, and a ReLU, tanh, erf, GELU or linear network outputs 0 there for ever."""
    x = np.stack([np.zeros(3), POINTS[0]])
    for kernel in kernels(net(activation), x):
        assert np.isfinite(kernel).all()
        if activation != "softplus":
            np.testing.assert_allclose(kernel[0], 0, atol=1e-15)
    if activation == "softplus":
        assert kernels(net(activation), x)[0][0, 1] == pytest.approx(kernels_by_grid(net(activation), x[1], x[0])[0], abs=1e-14)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (POINTS[:, :2], None, "x1 has shape"),
        (POINTS, POINTS[0], "x2 has shape"),
        (POINTS[None], None, "x1 has shape"),
        (POINTS[:0], None, "n at least 1"),
        (POINTS * np.array([1.0, np.nan, 1.0]), None, "not finite"),
        (POINTS, POINTS * np.array([1.0, np.inf, 1.0]), "x2 has entries"),
        (np.ones((2, 3), dtype=int), None, "floating-point"),
        (POINTS, POINTS.astype(np.float32), "same dtype"),
    ],
)
def test_unfit_inputs_are_refused(x1: np.ndarray, x2: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels(net("relu"), x1, x2)


OVERFLOWING = [
    FullyConnected(3, 1, 1500, "relu", weight_variance=9.0),
    Residual(3, 1, 1500, "relu", weight_variance=2.0),
    Residual(3, 1, 1500, "gelu", weight_variance=2.0),
    Convolutional((1, 3, 1), 1, 900, "identity", weight_variance=9.0),
]


@pytest.mark.parametrize("spec", OVERFLOWING, ids=lambda spec: f"{type(spec).__name__}-{spec.activation}")
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_kernels_that_overflow_are_refused_by_name(spec: Network, precision: str) -> None:
    told = (
        f"^{precision} does not suffice for .* {type(spec).__name__} with {spec.activation}, depth {spec.depth} .*: lower depth"
    )
    with pytest.raises(ValueError, match=told):
        kernels(spec, POINTS.astype(precision))
    shallow = replace(cast(Any, spec), depth=4)
    assert all(np.isfinite(kernel).all() for kernel in kernels(shallow, POINTS.astype(precision)))


def test_kernels_that_overflow_in_a_framework_are_refused() -> None:
    with pytest.raises(ValueError, match="does not suffice"):
        kernels(OVERFLOWING[1], POINTS, run=torch_runner("float64"))


def test_inputs_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float64 does not suffice.* or scale the inputs"):
        kernels(net("erf"), 1e200 * POINTS)
