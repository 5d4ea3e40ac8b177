"""Outputs and the NTK of finite networks."""

import dataclasses
import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ntkbench.backends import Backend, load
from ntkbench.networks import ACTIVATIONS, PARAMETRIZATIONS, FullyConnected
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import CASES, CONVOLUTIONAL, ONE_OUTPUT, ROOT, SEEDS, Case

PLAIN = FullyConnected(3, 6, 2, "tanh", bias_variance=0.2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_is_the_plain_forward_pass(backend: Backend, case: Case) -> None:
    f = backend.forward(case.net, case.theta, case.x)
    for seed in range(SEEDS):
        expected = oracles.network(case.net, oracles.flatten(case.theta, seed), case.points(seed))
        assert_allclose(f[seed], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", ONE_OUTPUT, ids=str)
def test_ntk_is_the_contraction_of_jacobians(backend: Backend, case: Case) -> None:
    kernel = backend.ntk(case.net, case.theta, case.x)
    other = case.x[..., :2, :] + 0.5
    rectangular = backend.ntk(case.net, case.theta, case.x, other)
    for seed in range(SEEDS):
        vector, x = oracles.flatten(case.theta, seed), case.points(seed)
        scale = np.abs(kernel[seed]).max()
        assert_allclose(kernel[seed], oracles.ntk(case.net, vector, x, x), rtol=0, atol=1e-13 * scale)
        assert_allclose(rectangular[seed], oracles.ntk(case.net, vector, x, x[:2] + 0.5), rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("case", [*CASES, *CONVOLUTIONAL], ids=str)
def test_kernels_of_several_outputs(backend: Backend, case: Case) -> None:
    other = case.x[..., :2, :] + 0.5
    for x2 in (None, other):
        full = backend.ntk(case.net, case.theta, case.x, x2, outputs="full")
        # Of one output both are the same kernel; each is a program of its own, and is asked for once.
        alone = case.net.output_dim == 1 and x2 is not None
        summed = backend.ntk(case.net, case.theta, case.x, x2, outputs="one" if alone else "trace")
        for seed in range(SEEDS):
            x = case.points(seed)
            expected = oracles.full_ntk(case.net, oracles.flatten(case.theta, seed), x, x if x2 is None else x[:2] + 0.5)
            atol = 1e-13 * np.abs(expected).max()
            assert_allclose(full[seed], expected, rtol=0, atol=atol)
            assert_allclose(summed[seed], np.trace(expected, axis1=2, axis2=3), rtol=0, atol=case.net.output_dim * atol)
        if case.net.output_dim == 1:
            assert_allclose(full[..., 0, 0], summed, rtol=0, atol=1e-14 * np.abs(summed).max())


NETWORKS = st.builds(
    FullyConnected,
    input_dim=st.integers(1, 3),
    width=st.integers(1, 4),
    depth=st.integers(1, 3),
    activation=st.sampled_from(ACTIVATIONS),
    output_dim=st.integers(1, 3),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    bias_variance=st.sampled_from([0.0, 0.3]),
    antisymmetric=st.booleans(),
)


@settings(max_examples=10)
@given(net=NETWORKS, seed=st.integers(0, 10**6))
def test_kernels_of_random_networks(backend: Backend, net: FullyConnected, seed: int) -> None:
    theta = net.initialize(ROOT, [seed])
    x1, x2 = (rng(ROOT, name, seed).standard_normal((n, net.input_dim)) for name, n in (("x1", 3), ("x2", 2)))
    found = backend.ntk(net, theta, x1, x2, outputs="full")[0]
    expected = oracles.full_ntk(net, oracles.flatten(theta, 0), x1, x2)
    assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_stripes_of_a_triangle_make_the_whole_kernel(backend: Backend, outputs: str) -> None:
    """A symmetric kernel of more points than one stripe has, against the rectangular one of the same points."""
    net = FullyConnected(3, 5, 2, "tanh", output_dim=2, bias_variance=0.1)
    theta, x = net.initialize(ROOT, range(2)), rng(ROOT, "stripes").standard_normal((150, 3))
    whole = backend.ntk(net, theta, x, x.copy(), outputs=outputs)
    assert_allclose(backend.ntk(net, theta, x, outputs=outputs), whole, rtol=0, atol=1e-13 * np.abs(whole).max())


@pytest.mark.parametrize(("outputs", "message"), [("one", "choose 'trace' or 'full'"), ("all", "one, trace, full")])
def test_a_choice_of_outputs_that_does_not_fit_is_refused(backend: Backend, outputs: str, message: str) -> None:
    net = FullyConnected(3, 5, 1, "tanh", output_dim=2)
    with pytest.raises(ValueError, match=message):
        backend.ntk(net, net.initialize(ROOT, [0]), np.ones((2, 3)), outputs=outputs)


@pytest.mark.parametrize("case", ONE_OUTPUT, ids=str)
def test_ntk_agrees_with_central_differences_of_the_output(backend: Backend, case: Case) -> None:
    h = 1e-5
    vector, x = oracles.flatten(case.theta, 0), case.points(0)
    plus, minus = (
        backend.forward(case.net, oracles.unflatten(case.net, vector + sign * h * np.eye(vector.size)), x) for sign in (1, -1)
    )
    gradients = (plus - minus)[..., 0] / (2 * h)
    expected = case.net.mobility * gradients.T @ gradients
    assert_allclose(backend.ntk(case.net, case.theta, case.x)[0], expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_mixed_inputs_shared_against_one_set_per_seed(backend: Backend) -> None:
    theta = PLAIN.initialize(ROOT, range(3))
    shared, own = rng(ROOT, "shared").standard_normal((4, 3)), rng(ROOT, "own").standard_normal((3, 2, 3))
    mixed = backend.ntk(PLAIN, theta, shared, own)
    assert mixed.shape == (3, 4, 2)
    assert_allclose(mixed, backend.ntk(PLAIN, theta, np.stack([shared] * 3), own), rtol=1e-13)
    assert_allclose(mixed, backend.ntk(PLAIN, theta, own, shared).swapaxes(1, 2), rtol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf", "gelu", "softplus", "identity"])
def test_extreme_preactivations_are_exact(backend: Backend, activation: str) -> None:
    """Saturated units, where approximations (a linear softplus above 20, an overflowing exponential) would show."""
    net = FullyConnected(1, 1, 1, activation)
    theta = {"W1": np.ones((1, 1, 1, 1)), "W2": np.ones((1, 1, 1, 1))}
    x = np.array([[-700.0], [-21.0], [-6.0], [0.0], [6.0], [21.0], [700.0]])
    f = backend.forward(net, theta, x)[0, :, 0]
    moderate = slice(2, 5)
    assert_allclose(f[moderate], oracles.ACTIVATIONS[activation](x[moderate, 0]), rtol=1e-13, atol=1e-16)
    limits = {
        "relu": (0, x[:, 0]),
        "gelu": (0, x[:, 0]),
        "identity": (x[:, 0], x[:, 0]),
        "softplus": (0, x[:, 0] + np.exp(-x[:, 0])),
    }
    low, high = limits.get(activation, (-1, 1))
    assert_allclose(f[:2], np.broadcast_to(low, 7)[:2], rtol=0, atol=1e-9)
    assert_allclose(f[5:], np.broadcast_to(high, 7)[5:], rtol=1e-15)
    assert np.isfinite(backend.ntk(net, theta, x)).all()


def test_relu_has_slope_zero_at_zero(backend: Backend) -> None:
    net = FullyConnected(2, 3, 1, "relu")
    theta = {"W1": np.zeros((1, 1, 3, 2)), "W2": np.ones((1, 1, 1, 3))}
    assert backend.ntk(net, theta, np.ones((1, 2))).item() == 0.0


@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)))
def test_ntk_is_symmetric_positive_and_equivariant(backend: Backend, seed: int, order: list[int]) -> None:
    theta = PLAIN.initialize(ROOT, [seed, seed + 1])
    x = rng(ROOT, "property", seed).standard_normal((4, 3))
    kernel = backend.ntk(PLAIN, theta, x)
    scale = np.abs(kernel).max()
    assert_allclose(kernel, kernel.swapaxes(1, 2), rtol=0, atol=1e-14 * scale)
    assert np.linalg.eigvalsh(kernel).min() > -1e-13 * scale
    assert_allclose(backend.ntk(PLAIN, theta, x[order]), kernel[:, order][:, :, order], rtol=0, atol=1e-13 * scale)


@given(seed=st.integers(0, 10**6))
def test_a_seed_alone_equals_the_seed_in_a_batch(backend: Backend, seed: int) -> None:
    x = rng(ROOT, "property", seed).standard_normal((3, 4, 3))
    theta = PLAIN.initialize(ROOT, range(seed, seed + 3))
    together = backend.ntk(PLAIN, theta, x)
    for s in range(3):
        alone = backend.ntk(PLAIN, {name: array[s : s + 1] for name, array in theta.items()}, x[s])
        assert_allclose(together[s], alone[0], rtol=1e-12)


BLOCKED = FullyConnected(40, 64, 2, "relu", antisymmetric=True)


@pytest.mark.parametrize(
    ("net", "outputs"),
    [
        (PLAIN, "one"),
        (BLOCKED, "one"),
        (dataclasses.replace(BLOCKED, output_dim=3), "trace"),
        (dataclasses.replace(BLOCKED, output_dim=3), "full"),
    ],
    ids=["small", "blocked", "blocked-trace", "blocked-full"],
)
def test_a_tiny_budget_changes_nothing(backend: Backend, net: FullyConnected, outputs: str) -> None:
    """All networks but the first exceed 1 MiB per seed at 300 points, so that rows are blocked as well as seeds."""
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    theta = net.initialize(ROOT, range(2))
    x1, x2 = (rng(ROOT, name).standard_normal((n, net.input_dim)) for name, n in (("x1", 300), ("x2", 170)))
    assert_allclose(tiny.forward(net, theta, x1), backend.forward(net, theta, x1), rtol=0, atol=1e-13)
    for other in (None, x2):
        expected = backend.ntk(net, theta, x1, other, outputs=outputs)
        found = tiny.ntk(net, theta, x1, other, outputs=outputs)
        assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("outputs", ["one", "full"])
def test_a_tiny_budget_really_cuts(backend: Backend, outputs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = dataclasses.replace(BLOCKED, output_dim=3 if outputs == "full" else 1)
    theta, x = net.initialize(ROOT, [0]), rng(ROOT, "x1").standard_normal((300, net.input_dim))
    module = importlib.import_module(f"ntkbench.backends.{backend.name}.ntk")
    name = {"torch": "kernel", "jax": "ntk"}[backend.name]
    of_tile, calls = getattr(module, name), []

    def counted(*given: object) -> object:
        calls.append(given)
        return of_tile(*given)

    monkeypatch.setattr(module, name, counted)
    backend.ntk(net, theta, x, outputs=outputs)
    assert len(calls) == 1
    load(backend.name, device="cpu", memory_bytes=2**20).ntk(net, theta, x, outputs=outputs)
    assert len(calls) > 10


def test_limiting_kernels_are_where_finite_networks_tend(backend: Backend) -> None:
    """Monte Carlo over seeds at large width, within five standard errors and a bias of 1/width."""
    net = FullyConnected(2, 512, 2, "erf", bias_variance=0.1)
    x = np.array([[1.0, 0.5], [-0.3, 1.2], [0.7, -1.1]])
    nngp, tangent = backend.limiting_kernels(net, x)
    kernels = backend.ntk(net, net.initialize(ROOT, range(48)), x)
    error = kernels.std(axis=0, ddof=1) / np.sqrt(len(kernels))
    assert (np.abs(kernels.mean(axis=0) - tangent) < 5 * error + 2 / net.width).all()
    assert nngp.shape == tangent.shape == (3, 3)
    rectangular = backend.limiting_kernels(net, x, x[:2])
    assert_allclose(rectangular[0], nngp[:, :2], rtol=1e-12)
    assert_allclose(rectangular[1], tangent[:, :2], rtol=1e-12)


def test_float32_is_float32(backend: Backend) -> None:
    single = load(backend.name, device="cpu", precision="float32")
    theta, x = PLAIN.initialize(ROOT, range(2)), rng(ROOT, "x").standard_normal((4, 3))
    kernel, expected = single.ntk(PLAIN, theta, x), backend.ntk(PLAIN, theta, x)
    assert (kernel.dtype, expected.dtype) == (np.float32, np.float64)
    assert single.forward(PLAIN, theta, x).dtype == np.float32
    assert 1e-9 < np.abs(kernel / expected - 1).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "x", "message"),
    [
        ({}, np.zeros((3, 4)), "x"),
        ({}, np.zeros((5, 3, 3)), "x"),
        ({}, np.zeros(3), "x"),
        ({}, np.full((3, 3), np.nan), "not finite"),
        ({"width": 7}, np.zeros((3, 3)), "W1"),
        ({"bias_variance": 0.0}, np.zeros((3, 3)), "b1"),
        ({"depth": 3}, np.zeros((3, 3)), "W3"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(backend: Backend, change: dict[str, int], x: np.ndarray, message: str) -> None:
    theta = PLAIN.initialize(ROOT, range(2))
    net = dataclasses.replace(PLAIN, **change)
    for method in (backend.forward, backend.ntk):
        with pytest.raises(ValueError, match=message):
            method(net, theta, x)


def test_ntk_refuses_several_outputs(backend: Backend) -> None:
    net = FullyConnected(3, 5, 1, "tanh", output_dim=2)
    with pytest.raises(ValueError, match="one output"):
        backend.ntk(net, net.initialize(ROOT, [0]), np.zeros((3, 3)))


def test_parameters_that_are_not_finite_are_refused(backend: Backend) -> None:
    theta = PLAIN.initialize(ROOT, [0])
    theta["W2"][0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="W2"):
        backend.ntk(PLAIN, theta, np.zeros((3, 3)))


def test_arguments_are_left_as_they_were(backend: Backend) -> None:
    theta, x = PLAIN.initialize(ROOT, range(2)), rng(ROOT, "x").standard_normal((4, 3))
    for array in (*theta.values(), x):
        array.flags.writeable = False
    assert backend.ntk(PLAIN, theta, x).flags.writeable


def test_matrix_products_run_as_often_as_asked(backend: Backend) -> None:
    run = backend.matrix_products([(2, 3, 4, 5), (1, 1, 6, 1)])
    assert [run() for _ in range(3)] == [None] * 3
