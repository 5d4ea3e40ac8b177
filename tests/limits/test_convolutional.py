"""Limiting kernels of convolutional networks against loops over positions, fully connected networks, and finite networks."""

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkbench.backends import load
from ntkbench.backends.jax import limits as jax_limits
from ntkbench.backends.torch import limits as torch_limits
from ntkbench.limits import kernels
from ntkbench.networks import ACTIVATIONS, PADDINGS, READOUTS, Convolutional, FullyConnected
from tests.limits.oracles import ConvolutionalOracle
from tests.oracles import network

IMAGE = (2, 3, 2)
IMAGES = np.random.default_rng(17).standard_normal((4, 12))


def net(activation: str, depth: int = 2, **fields: Any) -> Convolutional:
    return Convolutional(IMAGE, 1, depth, activation, **fields)


CASES = [
    net("tanh", 1, padding="zero", bias_variance=0.2),
    net("erf", 2, readout="global_average", weight_variance=1.4),
    net("gelu", 1, padding="zero", readout="global_average", parametrization="standard", bias_variance=0.3),
    net("softplus", 2, parametrization="standard"),
    net("identity", 3, padding="zero", readout="global_average", bias_variance=0.1),
    *(net("relu", 2, padding=p, readout=r, weight_variance=2.0) for p in PADDINGS for r in READOUTS),
    net("relu", 3, padding="zero", parametrization="standard", bias_variance=0.3),
    net("relu", 2, readout="global_average", parametrization="mean_field", feature_strength=0.5, bias_variance=0.3),
]


@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.activation}-{s.depth}-{s.padding}-{s.readout}-{s.parametrization}")
def test_against_loops_over_positions(spec: Convolutional) -> None:
    """Also at coincident, nearly coincident and antipodal images, and at one with dark pixels, where small angles abound."""
    x, dark = IMAGES[0], IMAGES[1].copy()
    dark[:8] = 0
    others = np.stack([IMAGES[1], x, dark, *(x + shift * IMAGES[2] for shift in (1e-9, 1e-4)), -x - 1e-7 * IMAGES[2]])
    if spec.activation != "relu":
        others = others[:3]
    nngp, ntk = kernels(spec, x[None], others)
    oracle = ConvolutionalOracle(spec)
    scale = max(oracle.kernels(x, x) + oracle.kernels(IMAGES[1], IMAGES[1]))
    for j, other in enumerate(others):
        assert (nngp[0, j], ntk[0, j]) == pytest.approx(oracle.kernels(x, other), abs=1e-14 * scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("image", [(1, 1, 3), (3, 2, 3)])
def test_constant_images_are_points(activation: str, readout: str, image: tuple[int, int, int]) -> None:
    """With circular padding a window sees nine equal pixels; a single pixel is a constant image."""
    points = np.random.default_rng(3).standard_normal((4, 3))
    fields: dict[str, Any] = {"weight_variance": 1.3, "bias_variance": 0.2}
    spec = Convolutional(image, 1, 3, activation, readout=readout, **fields)
    found = kernels(spec, np.tile(points, spec.positions))
    for kernel, wanted in zip(found, kernels(FullyConnected(3, 1, 3, activation, **fields), points), strict=True):
        np.testing.assert_allclose(kernel, wanted, rtol=0, atol=2e-14 * wanted.max())


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_a_zero_padded_pixel_sees_itself_alone(activation: str) -> None:
    """One ninth of a window: a fully connected network with `v/9` in the hidden layers, hence `v Sigma/v'` at the readout."""
    points, v = np.random.default_rng(3).standard_normal((4, 3)), 1.8
    found = kernels(Convolutional((1, 1, 3), 1, 2, activation, padding="zero", weight_variance=v), points)
    for kernel, wanted in zip(found, kernels(FullyConnected(3, 1, 2, activation, weight_variance=v / 9), points), strict=True):
        np.testing.assert_allclose(kernel, 9 * wanted, rtol=0, atol=1e-14 * kernel.max())


@pytest.mark.parametrize("padding", PADDINGS)
def test_translations(padding: str) -> None:
    """With circular padding a global average knows no positions, and a flattened readout only relative ones."""
    images = np.random.default_rng(5).standard_normal((3, 4, 3, 2))
    moved, still = np.roll(images, (1, 2), axis=(1, 2)).reshape(3, -1), images.reshape(3, -1)
    for readout, pair in (("global_average", (moved, still)), ("flatten", (moved, moved.copy()))):
        spec = Convolutional((4, 3, 2), 1, 2, "relu", padding=padding, readout=readout)
        for found, wanted in zip(kernels(spec, *pair), kernels(spec, still, still.copy()), strict=True):
            difference = np.abs(found - wanted).max() / wanted.max()
            assert difference <= 1e-14 if padding == "circular" else difference > 1e-3


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(PADDINGS),
    st.sampled_from(READOUTS),
    st.sampled_from(["ntk", "standard"]),
    st.sampled_from([0.0, 0.4]),
    st.integers(0, 10**6),
)
def test_symmetric_positive_and_alike_in_every_array_type(
    activation: str, padding: str, readout: str, parametrization: str, b: float, seed: int
) -> None:
    spec = net(activation, padding=padding, readout=readout, parametrization=parametrization, bias_variance=b)
    x = 0.7 * np.random.default_rng(seed).standard_normal((5, 12))
    x[1], x[2], x[3, 4:] = x[0] + 1e-9, -x[0], 0
    whole = kernels(spec, x, x.copy())
    by_torch = kernels(spec, x, run=torch_limits.runner(torch.float64, "cpu"), memory_bytes=2**21)
    for kernel, triangle in zip(whole, by_torch, strict=True):
        scale = np.diag(kernel).max()
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-14 * scale)
        np.testing.assert_allclose(triangle, kernel, rtol=0, atol=1e-13 * scale)
        assert np.linalg.eigvalsh(kernel).min() >= -1e-13 * scale


@pytest.mark.parametrize("spec", CASES[3:6], ids=lambda s: s.activation)
def test_compiled_by_jax(spec: Convolutional) -> None:
    with jax.enable_x64(True):
        compiled = kernels(spec, IMAGES, run=jax_limits.runner(jax.device_put, np.asarray))
    for found, wanted in zip(compiled, kernels(spec, IMAGES), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * wanted.max())


def test_tiles_change_nothing() -> None:
    x = np.random.default_rng(2).standard_normal((11, 12))
    for spec in (net("relu", padding="zero"), net("gelu", readout="global_average")):
        for found, wanted in zip(kernels(spec, x, memory_bytes=2**16), kernels(spec, x), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="one pair of points need"):
        kernels(net("relu"), x, memory_bytes=100)


@pytest.mark.parametrize(
    "spec",
    [
        Convolutional((3, 3, 1), 128, 2, "relu", padding="zero", bias_variance=0.2),
        Convolutional((3, 3, 1), 128, 2, "tanh", readout="global_average", parametrization="standard", weight_variance=1.5),
        Convolutional((3, 3, 1), 128, 2, "erf", parametrization="standard", antisymmetric=True),
    ],
    ids=lambda s: f"{s.activation}-{s.parametrization}",
)
def test_finite_networks_average_to_the_limit(spec: Convolutional) -> None:
    """Mean over seeds within five standard errors, plus the bias of order 1 / width."""
    x, seeds = np.random.default_rng(8).standard_normal((3, 9)), 60
    nngp_limit, ntk_limit = kernels(spec, x)
    theta = spec.initialize(11, range(seeds))
    ntk = load("torch", device="cpu").ntk(spec, theta, x)
    bias = 8 * spec.depth / spec.width
    allowed = 5 * ntk.std(axis=0) / math.sqrt(seeds) + bias * np.abs(np.diag(ntk_limit)).max()
    assert (np.abs(ntk.mean(axis=0) - ntk_limit) <= allowed).all()
    single = replace(spec, antisymmetric=False)
    first = {name: array[:, :1] for name, array in theta.items()}
    vectors = np.stack([np.concatenate([first[name][s].ravel() for name in sorted(first)]) for s in range(seeds)])
    f = network(single, vectors, x)[..., 0]
    products = np.einsum("si,sj->sij", f, f)
    allowed = 5 * products.std(axis=0) / math.sqrt(seeds) + bias * np.diag(nngp_limit).max()
    assert (np.abs(products.mean(axis=0) - nngp_limit) <= allowed).all()
