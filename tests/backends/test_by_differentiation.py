"""Architectures that backends know by their forward pass alone: residual networks."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ntkbench.backends import BACKENDS, Backend, Trajectory, load
from ntkbench.backends.jax import along_directions as in_jax
from ntkbench.backends.jax import architectures as known_to_jax
from ntkbench.backends.torch import along_directions as in_torch
from ntkbench.backends.torch import architectures as known_to_torch
from ntkbench.hierarchy import predict_training
from ntkbench.networks import PARAMETRIZATIONS, SMOOTH_ACTIVATIONS, FullyConnected, Residual
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import RESIDUAL, ROOT, SEEDS, Case

PLAIN = Residual(3, 5, 2, "tanh", bias_variance=0.2)
SMOOTH = [case for case in RESIDUAL if case.net.activation != "relu"]
TABLES = (known_to_torch, known_to_jax)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    """Elementwise, relative to the array's largest entry."""
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def other_points(case: Case) -> np.ndarray:
    return case.x[..., :2, :] + 0.5


@pytest.mark.parametrize("case", RESIDUAL, ids=str)
def test_outputs_and_kernels(backend: Backend, case: Case) -> None:
    f = backend.forward(case.net, case.theta, case.x)
    full = backend.ntk(case.net, case.theta, case.x, outputs="full")
    trace = backend.ntk(case.net, case.theta, case.x, other_points(case), outputs="trace")
    for seed in range(SEEDS):
        vector, x = oracles.flatten(case.theta, seed), case.points(seed)
        across = oracles.full_ntk(case.net, vector, x, x[:2] + 0.5)
        close(f[seed], oracles.network(case.net, vector, x), 1e-13)
        close(full[seed], oracles.full_ntk(case.net, vector, x, x), 1e-13)
        close(trace[seed], np.trace(across, axis1=2, axis2=3), 1e-13)


def test_the_kernel_agrees_with_central_differences_of_the_output(backend: Backend) -> None:
    case, h = RESIDUAL[0], 1e-5
    vector, x = oracles.flatten(case.theta, 0), case.points(0)
    plus, minus = (
        backend.forward(case.net, oracles.unflatten(case.net, vector + sign * h * np.eye(vector.size)), x) for sign in (1, -1)
    )
    gradients = (plus - minus)[..., 0] / (2 * h)
    close(backend.ntk(case.net, case.theta, x)[0], case.net.mobility * gradients.T @ gradients, 1e-8)


NETWORKS = st.builds(
    Residual,
    input_dim=st.integers(1, 3),
    width=st.integers(1, 4),
    depth=st.integers(1, 3),
    activation=st.sampled_from(SMOOTH_ACTIVATIONS),
    output_dim=st.integers(1, 2),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    bias_variance=st.sampled_from([0.0, 0.3]),
    antisymmetric=st.booleans(),
)


@settings(max_examples=3)
@given(net=NETWORKS, seed=st.integers(0, 10**6))
def test_kernels_of_random_networks(backend: Backend, net: Residual, seed: int) -> None:
    theta = net.initialize(ROOT, [seed])
    x1, x2 = (rng(ROOT, name, seed).standard_normal((n, net.input_dim)) for name, n in (("x1", 3), ("x2", 2)))
    found = backend.ntk(net, theta, x1, x2, outputs="full")[0]
    close(found, oracles.full_ntk(net, oracles.flatten(theta, 0), x1, x2), 1e-13)


def follows_flow(case: Case) -> bool:
    """ReLU's kinks cost the adaptive oracle its order: it is held to gradient descent."""
    return case.net.activation != "relu"


@cache
def trained(name: str, case: Case) -> Trajectory:
    observe = ("f", "f_test", "movement", "theta", *(() if case.net.output_dim > 1 else ("K2",)))
    method: dict[str, Any] = (
        {"step": 0.0025, "integrator": "rk4"} if follows_flow(case) else {"step": 0.1, "integrator": "euler"}
    )
    return load(name, device="cpu", threads=1).train(
        case.net, case.theta, case.x, case.y, x_test=other_points(case), times=[0.0, 0.1, 0.3], observe=observe, **method
    )


@pytest.mark.parametrize("case", RESIDUAL, ids=str)
def test_training(backend: Backend, case: Case) -> None:
    found, seed = trained(backend.name, case), SEEDS - 1
    start, x, y = oracles.flatten(case.theta, seed), case.points(seed), case.targets(seed)
    if follows_flow(case):
        path = [*oracles.gradient_flow(case.net, start, x, y, [0.0, 0.1, 0.3])]
    else:
        steps = [start]
        for _ in range(3):
            steps.append(steps[-1] - 0.1 * case.net.mobility * oracles.loss_gradient(case.net, steps[-1], x, y))
        path = [steps[0], steps[1], steps[3]]
    for i, vector in enumerate(path):
        close(found.observed("f")[seed, i], oracles.network(case.net, vector, x), 1e-9)
        close(found.observed("f_test")[seed, i], oracles.network(case.net, vector, x[:2] + 0.5), 1e-9)
        first, now = (oracles.unflatten(case.net, v) for v in (start, vector))
        for l in range(1, case.net.depth + 2):
            moved = np.linalg.norm(now[f"W{l}"] - first[f"W{l}"]) / np.linalg.norm(first[f"W{l}"])
            assert_allclose(found.observed("movement")[seed, i, l - 1], moved, rtol=0, atol=1e-9)
            assert_allclose(found.parameters()[i][f"W{l}"][seed], now[f"W{l}"], rtol=0, atol=1e-9)
        if found.K2 is not None:
            close(found.K2[seed, i], oracles.ntk(case.net, vector, x, x), 1e-9)


def order_of(case: Case) -> int:
    """Deep networks are taken to order 3: compiling order 4 takes long."""
    return 3 if case.net.depth > 2 else 4


@cache
def expected_of_last_seed(case: Case) -> dict[int, np.ndarray]:
    return oracles.hierarchy(case.net, oracles.flatten(case.theta, SEEDS - 1), case.points(SEEDS - 1)[:2], order_of(case))


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_the_hierarchy(backend: Backend, case: Case) -> None:
    found = backend.hierarchy(case.net, case.theta, case.x[..., :2, :], order_of(case))
    assert set(found) == set(range(2, order_of(case) + 1))
    for r, kernel in expected_of_last_seed(case).items():
        assert found[r].shape == (SEEDS, *[2] * r)
        close(found[r][-1], kernel)


def test_contractions(backend: Backend) -> None:
    """The row is the last point; each seed has a basis of its own."""
    case, basis = SMOOTH[0], rng(ROOT, "basis").standard_normal((SEEDS, 2, 2))
    x = case.x[:2]
    found = backend.contracted_hierarchy(case.net, case.theta, x[1:], x, basis, 3)[3][-1]
    close(found, np.einsum("abc,bi,cj->aij", expected_of_last_seed(case)[3][1:], basis[-1], basis[-1]))


def test_equal_copies_have_no_output(backend: Backend) -> None:
    net = replace(PLAIN, antisymmetric=True)
    theta, x = net.initialize(ROOT, range(2)), rng(ROOT, "copies").standard_normal((2, 3))
    assert np.abs(backend.forward(net, theta, x)).max() < 1e-15


@pytest.mark.parametrize("case", RESIDUAL, ids=str)
def test_torch_and_jax_agree(case: Case) -> None:
    one, two = (trained(name, case) for name in BACKENDS)
    for name in ("f", "f_test", "movement", "K2"):
        if getattr(one, name) is not None:
            close(one.observed(name), two.observed(name), 1e-10)


def test_one_hidden_layer_is_the_fully_connected_network(backend: Backend) -> None:
    """The general way against the fast ones, which share nothing but the parameters."""
    net, fast = (kind(3, 5, 1, "gelu", bias_variance=0.2) for kind in (Residual, FullyConnected))
    theta, x = net.initialize(ROOT, range(2)), rng(ROOT, "one layer").standard_normal((3, 3))
    close(backend.ntk(net, theta, x), backend.ntk(fast, theta, x), 1e-13)


# Budgets


def test_a_tiny_budget_changes_nothing(backend: Backend) -> None:
    """Kernels in tiles, K3 in blocks of seeds, rows and points and, in torch, of directions."""
    tiny, net = load(backend.name, device="cpu", threads=1, memory_bytes=2**20), Residual(6, 24, 2, "tanh")
    n, k, (torch, jax) = 60, 2, (table.architecture(net) for table in TABLES)
    points, directions = in_torch.block_sizes(net, n, n, k, 3, 8, tiny.memory_bytes)
    tile, _ = in_jax.block_sizes(jax, net, n, n, k, 3, 8, tiny.memory_bytes, tiny.memory_bytes)
    assert points * directions < n * k
    assert max(tile) < n
    assert 8 * torch.floats_besides(net, n, n, 1) > tiny.memory_bytes
    theta, x = net.initialize(ROOT, range(2)), rng(ROOT, "tiny").standard_normal((n, 6))
    basis = rng(ROOT, "tiny basis").standard_normal((n, k))
    close(tiny.ntk(net, theta, x), backend.ntk(net, theta, x), 1e-13)
    found, expected = (b.contracted_hierarchy(net, theta, x, x, basis, 3)[3] for b in (tiny, backend))
    close(found, expected)


def test_a_budget_that_cannot_be_kept_is_refused(backend: Backend) -> None:
    tiny, net = load(backend.name, device="cpu", threads=1, memory_bytes=2**20), Residual(4, 120, 2, "tanh")
    with pytest.raises(ValueError, match=r"need \d+ bytes per seed, memory_bytes is"):
        tiny.hierarchy(net, net.initialize(ROOT, [0]), np.ones((2, 4)), 3)


# Refusals


@pytest.mark.parametrize(
    ("change", "order", "message"),
    [
        ({"activation": "relu"}, 3, "relu has no K3 or higher"),
        ({"output_dim": 2}, 3, "one output"),
        ({}, 5, "no low rank .* of Residual.* n.3 passes .*take order 4"),
        ({}, 6, "no low rank .* of Residual.* n.4 passes .*take order 4"),
    ],
)
def test_what_is_not_there_is_refused(backend: Backend, change: dict[str, Any], order: int, message: str) -> None:
    net = replace(PLAIN, **change)
    theta, x = net.initialize(ROOT, [0]), np.ones((2, 3))
    with pytest.raises(ValueError, match=message):
        backend.hierarchy(net, theta, x, order)
    with pytest.raises(ValueError, match=message):
        backend.contracted_hierarchy(net, theta, x, x, np.eye(2), order)


def test_several_outputs_are_not_predicted(backend: Backend) -> None:
    net = replace(PLAIN, output_dim=2)
    with pytest.raises(ValueError, match="Residual networks have one output here, this one 2"):
        predict_training(backend, net, net.initialize(ROOT, [0]), np.ones((2, 3)), np.ones((2, 2)), order=3, times=[1.0])


class Unheard(Residual):
    """An architecture without a forward pass."""


def test_an_architecture_without_a_forward_pass_is_named(backend: Backend) -> None:
    net = Unheard(3, 4, 1, "tanh")
    with pytest.raises(
        ValueError, match=rf"{backend.name} knows no architecture Unheard.*backends/{backend.name}/architectures"
    ):
        backend.forward(net, net.initialize(ROOT, [0]), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"no limiting kernels are known of Unheard: .*limits/kernels\.py"):
        backend.limiting_kernels(net, np.ones((2, 3)))
