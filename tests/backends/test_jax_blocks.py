"""How the jax backend cuts kernels and training into blocks, and how often it compiles."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ntkbench.backends import load
from ntkbench.backends.jax import convolutional, convolutional_ntk, layerwise, ntk, roofline, training
from ntkbench.backends.jax.resources import Sizes
from ntkbench.networks import PADDINGS, Convolutional, FullyConnected
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import ROOT

NET = FullyConnected(3, 6, 2, "tanh", bias_variance=0.2)
X, Y = rng(ROOT, "blocks x").standard_normal((4, 3)), rng(ROOT, "blocks y").standard_normal((4, 1))


@given(n=st.integers(1, 700))
def test_strips_cover_the_upper_triangle_once_and_little_else(n: int) -> None:
    seen = np.zeros((n, n), dtype=int)
    pairs = layerwise.strips(n)
    for rows, columns in pairs:
        seen[rows, columns] += 1
    assert seen.max() == 1
    assert (seen[np.triu_indices(n)] == 1).all()
    assert len(pairs) <= layerwise.STRIPS
    assert len(pairs) == 1 or seen.sum() < n * n * 0.8


@pytest.mark.parametrize("way", ["positions", "gradients", "channels"])
def test_every_way_gives_the_same_kernel(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """In the smallest blocks: a row, an image, an output channel at a time."""
    load("jax", device="cpu", threads=1)
    monkeypatch.setattr(convolutional_ntk, "_ways", lambda net, *_: [way] * net.depth + ["positions"])
    monkeypatch.setattr(layerwise, "STRIP_ROWS", 1)
    net = Convolutional((2, 3, 2), 3, 2, "tanh", "zero", output_dim=2, bias_variance=0.2)
    drawn, x = net.initialize(ROOT, [0]), rng(ROOT, "ways").standard_normal((3, net.input_dim))
    expected = oracles.full_ntk(net, oracles.flatten(drawn, 0), x, x)
    theta, points = {name: jnp.asarray(array[0, 0]) for name, array in drawn.items()}, jnp.asarray(x)
    for inputs, columns in (([points], slice(None)), ([points, points[:2]], slice(2))):
        kernel = jax.jit(lambda at, *x: net.mobility * convolutional_ntk.kernel(net, at, x, "full", Sizes(1, 1)))
        found = kernel(theta, *inputs)
        assert_allclose(found, expected[:, columns], rtol=0, atol=1e-13 * np.abs(expected).max())


def test_one_program_serves_all_feature_strengths() -> None:
    backend = load("jax", device="cpu", threads=1)
    before = training.advance._cache_size()
    compiled = []
    for strength in (0.125, 0.5, 3.0):
        net = replace(NET, width=7, parametrization="mean_field", feature_strength=strength)
        theta = net.initialize(ROOT, [0, 1])
        backend.train(net, theta, X, Y, times=[0.5], step=0.25, integrator="euler")
        compiled.append(training.advance._cache_size() - before)
    assert compiled == [1, 1, 1]


def test_the_cheapest_way_is_taken() -> None:
    """Few pixels and many channels: positions; large maps: gradients; gradients larger than what makes them: channels."""
    small, large = Convolutional((2, 2, 64), 64, 2, "relu"), Convolutional((16, 16, 8), 8, 2, "relu")
    between = Convolutional((8, 8, 64), 64, 2, "relu")
    found = [convolutional_ntk._ways(net, 32, 32, "one") for net in (small, large, between)]
    assert found == [["positions"] * 3, ["gradients", "gradients", "positions"], ["channels", "channels", "positions"]]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("image", [(1, 1, 2), (2, 3, 1), (4, 3, 2)], ids=str)
def test_fold_is_the_adjoint_of_windows(image: tuple[int, int, int], padding: str) -> None:
    load("jax", device="cpu", threads=1)
    net = Convolutional(image, 3, 1, "tanh", padding)
    h = jnp.asarray(rng(ROOT, "maps").standard_normal((net.positions, image[2])))
    entries = jnp.asarray(rng(ROOT, "entries").standard_normal((net.positions, 9 * image[2])))
    assert_allclose(jnp.vdot(convolutional.windows(net, h), entries), jnp.vdot(h, convolutional.fold(net, entries)), rtol=1e-13)


def test_times_steps_and_counts_share_one_compilation() -> None:
    backend = load("jax", device="cpu", threads=1)
    net = replace(NET, width=11)  # which no other test has compiled
    theta = net.initialize(ROOT, range(2))
    before = training.advance._cache_size()
    for times, step in (([0.0, 0.1, 0.3], 0.1), ([0.05, 0.25, 1.0, 1.5], 0.05)):
        backend.train(net, theta, X, Y, times=times, step=step, integrator="rk4", observe=("f", "movement"))
    assert training.advance._cache_size() == before + 1


def test_all_tiles_of_a_kernel_share_one_compilation() -> None:
    tiny = load("jax", device="cpu", threads=1, memory_bytes=2**20)
    net = FullyConnected(7, 33, 2, "tanh")
    before = ntk.ntk._cache_size()
    tiny.ntk(net, net.initialize(ROOT, [0]), rng(ROOT, "tiles").standard_normal((411, 7)))
    assert ntk.ntk._cache_size() == before + 1


def test_gradients_of_parts_of_the_points_add_up() -> None:
    """At 1 MiB the windows of four of the ten images are held at a time, and two images fill up the last part."""
    net = Convolutional((6, 5, 3), 5, 2, "tanh", "zero", bias_variance=0.1)
    images = training.images(net, 2**20 // 8, 8)
    assert 1 < images < 10
    assert 10 % images
    theta, x = net.initialize(ROOT, range(2)), rng(ROOT, "parts x").standard_normal((2, 10, net.input_dim))
    y = rng(ROOT, "parts y").standard_normal((2, 10, 1))
    settings: dict[str, Any] = {"times": [0.4], "step": 0.2, "integrator": "euler"}
    tiny, plain = (load("jax", device="cpu", threads=1, memory_bytes=size) for size in (2**20, 2**31))
    found, expected = (backend.train(net, theta, x, y, **settings).f for backend in (tiny, plain))
    assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_bare_products_are_computed() -> None:
    load("jax", device="cpu", threads=1)
    left, right = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))
    assert_allclose(roofline._product(left, right), np.full((2, 3, 5), 4.0))
    load("jax", device="cpu", precision="float32", threads=1).matrix_products([(2, 3, 4, 5), (1, 6, 7, 8)])()
