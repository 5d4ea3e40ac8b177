"""Limiting kernels of residual networks: the recursion pair by pair, closed forms, and networks as they grow wide."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import load
from ntkbench.limits import kernels
from ntkbench.limits.limit import limit
from ntkbench.networks import ACTIVATIONS, FullyConnected, Residual
from tests.limits.oracles import kernels_by_grid, relu_kernels
from tests.limits.test_kernels import NEAR, POINTS, RUNNERS


def net(activation: str, depth: int = 3, **fields: Any) -> Residual:
    return Residual(3, 1, depth, activation, **fields)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])
def test_smooth_networks_follow_the_recursion(activation: str) -> None:
    spec = net(activation, weight_variance=1.3, bias_variance=0.2)
    nngp, ntk = kernels(spec, POINTS[:1], POINTS[1:3])
    for j in range(2):
        expected = kernels_by_grid(spec, POINTS[0], POINTS[1 + j])
        assert (nngp[0, j], ntk[0, j]) == pytest.approx(expected, rel=5e-14, abs=5e-14)


@pytest.mark.parametrize("depth", [2, 4])
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


def test_linear_networks() -> None:
    """`Sigma = s v (1 + v)^(L - 1)` and `Theta = Sigma + s v ((1 + v)^(L - 1) + (L - 1) v (1 + v)^(L - 2))`, s = v x.x' / d."""
    v, depth = 1.5, 3
    nngp, ntk = kernels(net("identity", depth, weight_variance=v), POINTS)
    first = v * POINTS @ POINTS.T / 3
    np.testing.assert_allclose(nngp, first * v * (1 + v) ** 2, rtol=1e-13)
    np.testing.assert_allclose(ntk, nngp + first * v * ((1 + v) ** 2 + 2 * v * (1 + v)), rtol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_one_hidden_layer_is_the_fully_connected_network(activation: str, parametrization: str) -> None:
    fields: dict[str, Any] = {"bias_variance": 0.3, "weight_variance": 1.2, "parametrization": parametrization}
    dense = kernels(FullyConnected(3, 1, 1, activation, **fields), POINTS)
    for found, expected in zip(kernels(net(activation, 1, **fields), POINTS), dense, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


WIDE = [
    *(Residual(3, 1, 3, activation, bias_variance=0.2) for activation in ("tanh", "relu")),
    Residual(3, 1, 2, "erf", parametrization="standard", bias_variance=0.5, weight_variance=1.4),
    Residual(3, 1, 2, "gelu", parametrization="mean_field", feature_strength=0.3),
    Residual(3, 1, 2, "softplus", antisymmetric=True),
]


@pytest.mark.parametrize("spec", WIDE, ids=lambda spec: f"{spec.activation}-{spec.depth}-{spec.parametrization}")
def test_kernels_of_wide_networks_approach_the_limit(spec: Residual) -> None:
    """Means within five standard errors and a bias of order 1 / width; sixteen times the width, a quarter of the distance."""
    backend, limits = load("torch", device="cpu", threads=1), kernels(spec, POINTS)
    distances = []
    for width in (16, 256):
        wide = replace(spec, width=width)
        theta = wide.initialize(11, range(16))
        K2 = backend.ntk(wide, theta, POINTS)
        allowed = 5 * K2.std(axis=0) / 4 + 8 * spec.depth / width * np.diag(limits[1]).max()
        assert (np.abs(K2.mean(axis=0) - limits[1]) <= allowed).all()
        distances.append(math.sqrt(((K2 - limits[1]) ** 2).mean()))
    assert 2.5 < distances[0] / distances[1] < 8


def test_outputs_of_wide_networks_have_the_covariance_of_the_limit() -> None:
    spec = Residual(3, 128, 3, "tanh", output_dim=100, bias_variance=0.2)
    f = load("torch", device="cpu", threads=1).forward(spec, spec.initialize(11, range(20)), POINTS)
    products = np.einsum("sio,sjo->soij", f, f).reshape(-1, len(POINTS), len(POINTS))
    nngp = kernels(spec, POINTS)[0]
    allowed = 5 * products.std(axis=0) / math.sqrt(len(products)) + 24 / spec.width * np.diag(nngp).max()
    assert (np.abs(products.mean(axis=0) - nngp) <= allowed).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_array_types_precisions_and_tiles_agree(activation: str) -> None:
    spec = net(activation, 2, bias_variance=0.2)
    x = np.concatenate([POINTS, POINTS[:1], -POINTS[:1], POINTS[1:2] + 1e-8])
    expected = kernels(spec, x, POINTS)
    largest = float((x**2).sum(axis=1).max())
    series = 4 * 8 * max(limit(spec, largest, skips=True).terms)
    tiles = kernels(spec, x, POINTS, memory_bytes=14 * (series + 6 * 8) + 49 * 80)
    for found in (tiles, *(kernels(spec, x, POINTS, run=run("float64")) for run in RUNNERS)):
        for kernel, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(kernel, wanted, rtol=0, atol=1e-13)
    for kernel, wanted in zip(kernels(spec, x.astype(np.float32)), kernels(spec, x), strict=True):
        assert kernel.dtype == np.float32
        np.testing.assert_allclose(kernel, wanted, rtol=0, atol=3e-6)


def test_a_zero_input_is_a_constant() -> None:
    x = np.stack([np.zeros(3), POINTS[0]])
    for activation in ("relu", "tanh", "identity"):
        for kernel in kernels(net(activation), x):
            assert np.isfinite(kernel).all()
            np.testing.assert_allclose(kernel[0], 0, atol=1e-15)
