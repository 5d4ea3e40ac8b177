"""K3 and K4 of convolutional networks, whole and contracted with basis vectors."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkbench.backends import Backend, load
from ntkbench.backends.jax import along_directions as in_jax
from ntkbench.backends.jax.architectures import architecture
from ntkbench.backends.torch import along_directions as in_torch
from ntkbench.networks import PADDINGS, PARAMETRIZATIONS, READOUTS, SMOOTH_ACTIVATIONS, Convolutional
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import CONVOLUTIONAL, ROOT, SEEDS, Case

SMOOTH = [case for case in CONVOLUTIONAL if case.net.output_dim == 1 and case.net.activation != "relu"]
PLAIN = SMOOTH[0]


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Elementwise, relative to the array's largest entry."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def highest_order(case: Case) -> int:
    """Deep networks of one padding alone are taken to order 4: compiling it takes long."""
    return 3 if case.net.depth > 1 and case.net.padding == "zero" else 4


def two_points(case: Case) -> np.ndarray:
    return case.x[..., :2, :]


@cache
def expected_of_last_seed(case: Case) -> dict[int, np.ndarray]:
    x = two_points(case) if case.shared_inputs else two_points(case)[-1]
    return oracles.hierarchy(case.net, oracles.flatten(case.theta, SEEDS - 1), x, highest_order(case))


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_kernels_are_nested_directional_derivatives(backend: Backend, case: Case) -> None:
    order = highest_order(case)
    found = backend.hierarchy(case.net, case.theta, two_points(case), order)
    assert set(found) == set(range(2, order + 1))
    for r, kernel in expected_of_last_seed(case).items():
        assert found[r].shape == (SEEDS, *[2] * r)
        close(found[r][-1], kernel, 1e-12)
        close(found[r].swapaxes(1, 2), found[r], 1e-13)
    if order == 4:  # gradients do not commute: K4 has no symmetry in its middle slots
        assert np.abs(found[4] - found[4].swapaxes(2, 3)).max() > 1e-6 * np.abs(found[4]).max()


def test_contractions_are_those_of_the_tensors(backend: Backend) -> None:
    """The row is the last point; each seed has a basis of its own."""
    basis, x = rng(ROOT, "basis").standard_normal((SEEDS, 2, 2)), two_points(PLAIN)
    tensors = backend.hierarchy(PLAIN.net, PLAIN.theta, x, 4)
    found = backend.contracted_hierarchy(PLAIN.net, PLAIN.theta, x[1:], np.stack([x] * SEEDS), basis, 4)
    close(found[3], np.einsum("sabc,sbi,scj->saij", tensors[3][:, 1:], basis, basis), 1e-12)
    close(found[4], np.einsum("sabcd,sbi,scj,sdk->saijk", tensors[4][:, 1:], basis, basis, basis), 1e-12)


def test_order_three_in_single_precision_is_part_of_order_four(backend: Backend) -> None:
    whole = backend.hierarchy(PLAIN.net, PLAIN.theta, two_points(PLAIN), 4)
    found = load(backend.name, device="cpu", precision="float32").hierarchy(PLAIN.net, PLAIN.theta, two_points(PLAIN), 3)
    assert set(found) == {2, 3}
    assert found[3].dtype == np.float32
    close(found[3], whole[3], 1e-5)


NETWORKS = st.builds(
    Convolutional,
    image=st.sampled_from([(2, 3, 1), (1, 4, 2)]),
    width=st.integers(1, 3),
    depth=st.integers(1, 2),
    activation=st.sampled_from(SMOOTH_ACTIVATIONS),
    padding=st.sampled_from(PADDINGS),
    readout=st.sampled_from(READOUTS),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    bias_variance=st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=5)
@given(net=NETWORKS, order=st.integers(3, 4), seed=st.integers(0, 10**6))
def test_torch_and_jax_agree_on_random_networks(net: Convolutional, order: int, seed: int) -> None:
    draw = rng(ROOT, "random", seed)
    theta, x, basis = net.initialize(ROOT, [seed]), draw.standard_normal((2, net.input_dim)), draw.standard_normal((2, 2))
    one, two = (
        load(name, device="cpu", threads=1).contracted_hierarchy(net, theta, x, x, basis, order) for name in ("torch", "jax")
    )
    for r in range(3, order + 1):
        assert np.abs(one[r] - two[r]).max() <= 1e-12 * np.abs(two[r]).max() + 1e-16


def test_blocks_under_a_tiny_budget_change_nothing(backend: Backend) -> None:
    """Cut everywhere: seeds, rows, points and, in torch, directions."""
    tiny, net = load(backend.name, device="cpu", memory_bytes=2**20), Convolutional((6, 6, 2), 16, 1, "tanh")
    points, directions = in_torch.block_sizes(net, 37, 37, 2, 3, 8, tiny.memory_bytes)
    (tile_rows, tile_points), _ = in_jax.block_sizes(
        architecture(net), net, 37, 27, 2, 3, 8, tiny.memory_bytes * 5 // 8, tiny.memory_bytes
    )
    assert directions == 1 < points < 27
    assert tile_rows < 37
    assert tile_points < 27
    draw = rng(ROOT, "blocks")
    theta, rows, x = net.initialize(ROOT, range(2)), *(draw.standard_normal((n, net.input_dim)) for n in (37, 27))
    basis = draw.standard_normal((27, 2))
    ample = backend.contracted_hierarchy(net, theta, rows, x, basis, 3)
    close(tiny.contracted_hierarchy(net, theta, rows, x, basis, 3)[3], ample[3], 1e-12)


def test_a_budget_that_cannot_be_kept_is_refused(backend: Backend) -> None:
    tiny, net = load(backend.name, device="cpu", memory_bytes=2**20), Convolutional((4, 4, 1), 96, 2, "tanh")
    with pytest.raises(ValueError, match=r"need \d+ bytes per seed, memory_bytes is"):
        tiny.hierarchy(net, net.initialize(ROOT, [0]), np.ones((2, 16)), 3)


@pytest.mark.parametrize(
    ("change", "order", "message"),
    [
        ({"activation": "relu"}, 3, "relu has no K3 or higher"),
        ({"output_dim": 2}, 3, "one output"),
        ({}, 5, "no low rank.* n.3 passes .*take order 4"),
        ({}, 6, "no low rank.* n.4 passes .*take order 4"),
    ],
)
def test_networks_and_orders_that_are_not_there_are_refused(
    backend: Backend, change: dict[str, str | int], order: int, message: str
) -> None:
    net = Convolutional(**({"image": (2, 2, 1), "width": 2, "depth": 1, "activation": "tanh"} | change))
    theta, x = net.initialize(ROOT, [0]), np.ones((2, 4))
    with pytest.raises(ValueError, match=message):
        backend.hierarchy(net, theta, x, order)
    with pytest.raises(ValueError, match=message):
        backend.contracted_hierarchy(net, theta, x, x, np.eye(2), order)
