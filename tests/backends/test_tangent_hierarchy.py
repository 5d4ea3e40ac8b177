"""K3 to K6 of finite networks, and the truncated hierarchy integrated in a backend."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from ntkbench.backends import Backend, load
from ntkbench.networks import FullyConnected, Parameters
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import POINTS, ROOT, SEEDS, SMOOTH, Case

PLAIN = FullyConnected(3, 6, 2, "tanh", bias_variance=0.2)
BEYOND_FOUR = {"tanh-1": 6, "erf-2-standard-biases": 5, "identity-1-antisymmetric": 6}
"""Cases that are taken further than to order 4: compiling the highest orders takes long."""


def highest_order(case: Case) -> int:
    return BEYOND_FOUR.get(case.name, 4)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Elementwise, relative to the array's largest entry."""
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@cache
def expected_of_last_seed(case: Case) -> dict[int, np.ndarray]:
    return oracles.hierarchy(case.net, oracles.flatten(case.theta, SEEDS - 1), case.points(SEEDS - 1), 4)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_kernels_are_nested_directional_derivatives(backend: Backend, case: Case) -> None:
    found = backend.hierarchy(case.net, case.theta, case.x, 4)
    assert set(found) == {2, 3, 4}
    for r, kernel in expected_of_last_seed(case).items():
        assert found[r].shape == (SEEDS, *[case.x.shape[-2]] * r)
        close(found[r][-1], kernel, 1e-12)


def tiny(activation: str, depth: int = 2) -> FullyConnected:
    """Small enough for the oracle of orders 5 and 6, whose cost grows tenfold with each order."""
    settings = {"bias_variance": 0.3, "parametrization": "mean_field", "feature_strength": 0.8}
    return FullyConnected(1, 2, depth, activation, **settings)


@cache
def expected_of_tiny(activation: str, depth: int, points: int, order: int) -> dict[int, np.ndarray]:
    net, x = tiny(activation, depth), rng(ROOT, "tiny", points).standard_normal((points, 1))
    return oracles.hierarchy(net, oracles.flatten(net.initialize(ROOT, [0]), 0), x, order)


@pytest.mark.parametrize(
    ("activation", "depth", "points", "order"),
    [("tanh", 2, 1, 6), ("gelu", 1, 1, 6), ("softplus", 1, 1, 6), ("gelu", 1, 2, 5)],
)
def test_higher_kernels_are_nested_directional_derivatives(
    backend: Backend, activation: str, depth: int, points: int, order: int
) -> None:
    net, x = tiny(activation, depth), rng(ROOT, "tiny", points).standard_normal((points, 1))
    found = backend.hierarchy(net, net.initialize(ROOT, [0]), x, order)
    for r, kernel in expected_of_tiny(activation, depth, points, order).items():
        close(found[r][0], kernel, 1e-12)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_lower_orders_are_part_of_the_higher(backend: Backend, case: Case) -> None:
    highest = highest_order(case)
    up_to_highest = backend.hierarchy(case.net, case.theta, case.x, highest)
    for order in range(2, highest):
        found = backend.hierarchy(case.net, case.theta, case.x, order)
        assert set(found) == set(range(2, order + 1))
        for r, kernel in found.items():
            close(kernel, up_to_highest[r], 1e-13)
    close(up_to_highest[2], backend.ntk(case.net, case.theta, case.x), 1e-13)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_each_kernel_is_the_drift_of_the_one_below(backend: Backend, case: Case) -> None:
    """Central differences of K_{r-1} along `mobility * grad f_c`; forward and back as two seeds, a shape compiled before."""
    vector, x, h = oracles.flatten(case.theta, 0), case.points(0), 1e-4
    both = x if case.shared_inputs else np.stack([x, x])
    directions = case.net.mobility * oracles.jacobian(case.net, vector, x)[..., 0].T
    below = highest_order(case) - 1
    moved = (oracles.unflatten(case.net, vector + np.outer((h, -h), direction)) for direction in directions)
    pairs = [backend.hierarchy(case.net, theta, both, below) for theta in moved]
    found = backend.hierarchy(case.net, case.theta, case.x, below + 1)
    for r in range(3, below + 2):
        drift = np.stack([pair[r - 1][0] - pair[r - 1][1] for pair in pairs], axis=-1) / (2 * h)
        assert_allclose(found[r][0], drift, rtol=0, atol=1e-6 * np.abs(found[r][0]).max() + 1e-11 / h)


def test_one_hidden_linear_layer_has_the_exact_hierarchy(backend: Backend) -> None:
    """`K_{r+2} = (1/m) [G_ac K_r(b..) + G_bc K_r(a..) + 2 G_ab K_r(c..)]`, the dots being the later slots, G = X X^T / d."""
    net = FullyConnected(4, 50, 1, "identity")
    theta, x = net.initialize(ROOT, range(3)), rng(ROOT, "linear").standard_normal((3, 4))
    found = backend.hierarchy(net, theta, x, 6)
    gram = x @ x.T / 4
    below = {1: backend.forward(net, theta, x)[..., 0], **found}
    for r, rest in ((3, ""), (4, "d"), (5, "de"), (6, "def")):
        terms = [f"ac,sb{rest}->sabc{rest}", f"bc,sa{rest}->sabc{rest}", f"ab,sc{rest}->sabc{rest}"]
        expected = sum(w * np.einsum(t, gram, below[r - 2]) for w, t in zip((1, 1, 2), terms, strict=True)) / net.width
        close(found[r], expected, 1e-12)


@pytest.mark.parametrize(("parametrization", "depth", "order"), [("ntk", 1, 6), ("standard", 2, 4), ("mean_field", 2, 4)])
def test_antisymmetric_initialization_has_no_output_and_no_odd_kernel(
    backend: Backend, parametrization: str, depth: int, order: int
) -> None:
    net = FullyConnected(3, 5, depth, "tanh", parametrization=parametrization, antisymmetric=True)
    theta, x = net.initialize(ROOT, range(SEEDS)), rng(ROOT, "odd").standard_normal((POINTS, 3))
    found = backend.hierarchy(net, theta, x, order)
    one_copy = replace(net, antisymmetric=False)  # of order 6, a program that has been compiled for a case
    single = backend.hierarchy(one_copy, {name: array[:, :1] for name, array in theta.items()}, x, order)
    assert np.abs(backend.forward(net, theta, x)).max() < 1e-15
    for r in range(3, order, 2):
        assert np.abs(found[r]).max() < 1e-14 * np.abs(single[r]).max()
    for r in range(2, order + 1, 2):
        close(found[r], single[r] / 2 ** (r // 2 - 1), 1e-13)


@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)))
def test_symmetries(backend: Backend, seed: int, order: list[int]) -> None:
    """K_r is symmetric in its first two slots, and follows a permutation of the points; a seed knows nothing of the others."""
    theta, others = (PLAIN.initialize(ROOT, [first, seed + 1]) for first in (seed, seed + 2))
    x = rng(ROOT, "property", seed).standard_normal((4, 3))
    found, permuted = backend.hierarchy(PLAIN, theta, x, 5), backend.hierarchy(PLAIN, theta, x[order], 5)
    beside_others = backend.hierarchy(PLAIN, others, x, 5)
    for r in (3, 4, 5):
        close(found[r].swapaxes(1, 2), found[r], 1e-14)
        close(permuted[r], found[r][np.ix_([0, 1], *[order] * r)], 1e-12)
        close(beside_others[r][1], found[r][1], 1e-12)
        assert np.abs(beside_others[r][0] - found[r][0]).max() > 1e-6 * np.abs(found[r][0]).max()


@pytest.mark.parametrize(("seeds", "points", "depth", "order"), [(40, 6, 2, 4), (40, 4, 2, 5), (40, 3, 1, 6)])
def test_a_tiny_budget_changes_nothing(backend: Backend, seeds: int, points: int, depth: int, order: int) -> None:
    small = load(backend.name, device="cpu", memory_bytes=2**20)
    net = FullyConnected(3, 16, depth, "tanh")
    theta, x = net.initialize(ROOT, range(seeds)), rng(ROOT, "budget").standard_normal((points, 3))
    expected = backend.hierarchy(net, theta, x, order)
    for r, kernel in small.hierarchy(net, theta, x, order).items():
        close(kernel, expected[r], 1e-12)


@pytest.mark.parametrize(
    ("points", "width", "depth", "order", "budget"),
    [(20, 64, 2, 3, 2**20), (8, 64, 2, 4, 2**20), (24, 24, 2, 4, 2**20), (6, 24, 2, 5, 3 * 2**19), (4, 24, 1, 6, 3 * 2**19)],
)
def test_one_seed_above_the_budget_is_refused_or_right(
    backend: Backend, points: int, width: int, depth: int, order: int, budget: int
) -> None:
    small = load(backend.name, device="cpu", memory_bytes=budget)
    net = FullyConnected(3, width, depth, "tanh")
    theta, x = net.initialize(ROOT, [0]), rng(ROOT, "budget").standard_normal((points, 3))
    answer = kernels_or_refusal(small, net, theta, x, order)
    if isinstance(answer, str):
        assert "memory_bytes" in answer
    else:
        close(answer[order], backend.hierarchy(net, theta, x, order)[order], 1e-12)


@pytest.mark.parametrize("order", [3, 4, 5, 6])
def test_the_estimate_of_one_seeds_temporaries_counts_what_is_alive_at_once(order: int) -> None:
    """In torch: parameters, kernels, from order 4 on the responses of the same units at all pairs, triples, ... of points."""
    net, n = FullyConnected(3, 64, 3, "tanh", antisymmetric=True), {3: 48, 4: 24, 5: 10, 6: 6}[order]
    responses = net.copies * net.depth * net.width * n ** (order - 2) if order > 3 else 0
    alive = 8 * (net.parameter_count + responses + net.copies * sum(n**r for r in range(2, order + 1)))
    engine = load("torch", device="cpu", memory_bytes=alive)
    with pytest.raises(ValueError, match="memory_bytes"):
        engine.hierarchy(net, net.initialize(ROOT, [0]), np.zeros((n, 3)), order)


@pytest.mark.parametrize("order", [3, 4, 5, 6])
def test_a_budget_below_the_parameters_is_refused(backend: Backend, order: int) -> None:
    engine, net = load(backend.name, device="cpu", memory_bytes=2**20), FullyConnected(3, 256, 3, "tanh")
    assert 8 * net.parameter_count > engine.memory_bytes
    with pytest.raises(ValueError, match="memory_bytes"):
        engine.hierarchy(net, net.initialize(ROOT, [0]), np.zeros((2, 3)), order)


def kernels_or_refusal(
    backend: Backend, net: FullyConnected, theta: Parameters, x: np.ndarray, order: int
) -> dict[int, np.ndarray] | str:
    try:
        return backend.hierarchy(net, theta, x, order)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("order", [1, 7, 2.5])
def test_orders_that_are_not_there_are_refused(backend: Backend, order: int) -> None:
    with pytest.raises(ValueError, match="order"):
        backend.hierarchy(PLAIN, PLAIN.initialize(ROOT, [0]), np.zeros((2, 3)), order)


@pytest.mark.parametrize("order", [3, 6])
def test_relu_has_no_higher_kernels(backend: Backend, order: int) -> None:
    net = FullyConnected(3, 6, 1, "relu")
    theta, x = net.initialize(ROOT, [0]), np.ones((2, 3))
    with pytest.raises(ValueError, match="relu has no K3 or higher"):
        backend.hierarchy(net, theta, x, order)
    close(backend.hierarchy(net, theta, x, 2)[2], backend.ntk(net, theta, x), 1e-13)


def test_the_hierarchy_refuses_several_outputs(backend: Backend) -> None:
    net = FullyConnected(3, 5, 1, "tanh", output_dim=2)
    with pytest.raises(ValueError, match="one output"):
        backend.hierarchy(net, net.initialize(ROOT, [0]), np.zeros((2, 3)), 3)


# The truncated hierarchy


def truncation(seeds: int, n: int, order: int) -> tuple[dict[int, np.ndarray], np.ndarray, np.ndarray]:
    """Random kernels up to `order` (K2 positive), initial outputs and targets."""
    draw = rng(ROOT, "truncation", order)
    root = draw.standard_normal((seeds, n, n))
    kernels = {r: 0.1 * draw.standard_normal((seeds,) + (n,) * r) for r in range(3, order + 1)}
    return {2: root @ root.swapaxes(1, 2), **kernels}, draw.standard_normal((seeds, n)), draw.standard_normal((seeds, n))


def test_truncation_at_two_is_the_matrix_exponential(backend: Backend) -> None:
    kernels, f0, y = truncation(2, 4, 2)
    times = [0.0, 0.5, 2.0]
    found = backend.integrate_hierarchy(kernels, f0, y, times=times, step=0.02, integrator="dop853")
    assert found.f.shape == (2, 3, 4, 1)
    for s in range(2):
        for i, t in enumerate(times):
            expected = y[s] + expm(-t * kernels[2][s] / 4) @ (f0[s] - y[s])
            assert_allclose(found.f[s, i, :, 0], expected, rtol=0, atol=1e-11)
            assert_allclose(found.K2[s, i], kernels[2][s], rtol=1e-15)


@pytest.mark.parametrize("order", [3, 4])
def test_truncation_against_scipy(backend: Backend, order: int) -> None:
    n = 3
    kernels, f0, y = truncation(2, n, order)
    found = backend.integrate_hierarchy(kernels, f0, y, times=[0.4, 1.0], step=0.0025, integrator="rk4")
    for s in range(2):
        solution = solve_ivp(
            truncated_slopes(kernels[order][s], y[s], order),
            (0.0, 1.0),
            np.concatenate([f0[s], *(kernels[r][s].ravel() for r in range(2, order))]),
            method="DOP853",
            t_eval=[0.4, 1.0],
            rtol=1e-12,
            atol=1e-13,
        ).y.T
        assert_allclose(found.f[s, ..., 0], solution[:, :n], rtol=0, atol=1e-10)
        assert_allclose(found.K2[s].reshape(2, -1), solution[:, n : n + n * n], rtol=0, atol=1e-10)


def truncated_slopes(top: np.ndarray, y: np.ndarray, order: int) -> Callable[[float, np.ndarray], np.ndarray]:
    """`d/dt (f, K2, ..., K_{p-1})` as one vector, by explicit sums over the last slot."""
    n = len(y)

    def slopes(_: float, state: np.ndarray) -> np.ndarray:
        arrays, start = [], 0
        for r in range(1, order):
            arrays.append(state[start : start + n**r].reshape((n,) * r))
            start += n**r
        residual = arrays[0] - y
        drifts = [-sum(above[..., b] * residual[b] for b in range(n)) / n for above in [*arrays[1:], top]]
        return np.concatenate([drift.ravel() for drift in drifts])

    return slopes


def test_truncation_follows_the_network_better_with_every_second_order(backend: Backend) -> None:
    """The kernels of a real network: error t^2, t^3 and t^4 at small times for p = 2, 3, 4 (Huang & Yau 2019, Theorem 2.6)."""
    net = FullyConnected(3, 32, 1, "tanh")
    theta, x = net.initialize(ROOT, [0]), rng(ROOT, "follow").standard_normal((4, 3))
    y = rng(ROOT, "follow y").standard_normal((4, 1))
    times = [0.1, 0.2]
    settings = {"times": times, "step": 0.01, "integrator": "rk4"}
    trained = backend.train(net, theta, x, y, observe=("f",), **settings).f
    kernels, f0 = backend.hierarchy(net, theta, x, 4), backend.forward(net, theta, x)[..., 0]
    for order in (2, 3, 4):
        part = {r: kernels[r] for r in range(2, order + 1)}
        truncated = backend.integrate_hierarchy(part, f0, y[:, 0], **settings).f
        error = np.abs(truncated - trained).max(axis=(0, 2, 3))
        assert abs(np.log2(error[1] / error[0]) - order) < 0.3


def test_truncation_in_blocks_of_seeds(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    kernels, f0, y = truncation(30, 8, 4)
    settings = {"times": [0.1], "step": 0.05, "integrator": "rk4"}
    for targets in (y, y[0]):
        expected = backend.integrate_hierarchy(kernels, f0, targets, **settings)
        found = tiny.integrate_hierarchy(kernels, f0, targets, **settings)
        assert_allclose(found.f, expected.f, rtol=1e-13)
        assert_allclose(found.K2, expected.K2, rtol=1e-13)


@pytest.mark.parametrize("fault", ["gap", "no kernel", "shape", "targets", "times"])
def test_truncations_that_do_not_fit_are_refused(backend: Backend, fault: str) -> None:
    kernels, f0, y = truncation(2, 3, 4)
    times = [0.1]
    match fault:
        case "gap":
            del kernels[3]
        case "no kernel":
            kernels = {}
        case "shape":
            kernels[3] = kernels[3][:, :2]
        case "targets":
            y = y[:, :2]
        case "times":
            times = [0.13]
    with pytest.raises(ValueError, match=r"order|shape|0\.13"):
        backend.integrate_hierarchy(kernels, f0, y, times=times, step=0.05, integrator="rk4")
