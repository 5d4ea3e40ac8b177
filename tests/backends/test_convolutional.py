"""Outputs, the NTK and training of convolutional networks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ntkbench.backends import Backend, load
from ntkbench.backends.torch import convolutional_ntk
from ntkbench.networks import ACTIVATIONS, PADDINGS, PARAMETRIZATIONS, READOUTS, Convolutional
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import CONVOLUTIONAL, ROOT, SEEDS, Case


@pytest.mark.parametrize("case", CONVOLUTIONAL, ids=str)
def test_forward_is_the_plain_forward_pass(backend: Backend, case: Case) -> None:
    f = backend.forward(case.net, case.theta, case.x)
    for seed in range(SEEDS):
        expected = oracles.network(case.net, oracles.flatten(case.theta, seed), case.points(seed))
        assert_allclose(f[seed], expected, rtol=1e-12, atol=1e-13)


NETWORKS = st.builds(
    Convolutional,
    image=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)),
    width=st.integers(1, 3),
    depth=st.integers(1, 2),
    activation=st.sampled_from(ACTIVATIONS),
    padding=st.sampled_from(PADDINGS),
    readout=st.sampled_from(READOUTS),
    output_dim=st.integers(1, 2),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    bias_variance=st.sampled_from([0.0, 0.3]),
    antisymmetric=st.booleans(),
)


@settings(max_examples=10)
@given(net=NETWORKS, seed=st.integers(0, 10**6))
def test_ntk_of_random_networks(backend: Backend, net: Convolutional, seed: int) -> None:
    theta = net.initialize(ROOT, [seed])
    x1, x2 = (rng(ROOT, name, seed).standard_normal((n, net.input_dim)) for name, n in (("x1", 3), ("x2", 2)))
    found = backend.ntk(net, theta, x1, x2, outputs="full")[0]
    expected = oracles.full_ntk(net, oracles.flatten(theta, 0), x1, x2)
    assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


WIDE = (
    Convolutional((2, 2, 8), 24, 2, "tanh", bias_variance=0.2),
    Convolutional((6, 5, 3), 5, 2, "erf", "zero", "global_average", 2, antisymmetric=True),
)


@pytest.mark.parametrize("net", WIDE, ids=["positions", "gradients"])
def test_a_tiny_budget_changes_nothing(backend: Backend, net: Convolutional) -> None:
    """Small maps of many channels and large maps of few, where gradients are contracted differently; 1 MiB blocks the rows."""
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    theta = net.initialize(ROOT, range(2))
    x1, x2 = (rng(ROOT, name).standard_normal((n, net.input_dim)) for name, n in (("x1", 120), ("x2", 70)))
    assert_allclose(tiny.forward(net, theta, x1), backend.forward(net, theta, x1), rtol=0, atol=1e-13)
    for other, outputs in ((None, "full"), (x2, "trace")):
        expected = backend.ntk(net, theta, x1, other, outputs=outputs)
        found = tiny.ntk(net, theta, x1, other, outputs=outputs)
        assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_torch_takes_the_cheaper_route() -> None:
    """Few pixels and many channels: positions; large maps: gradients. A trace writes each pair of positions once."""
    small, large = Convolutional((2, 2, 64), 64, 2, "relu"), Convolutional((16, 16, 8), 8, 2, "relu")
    assert [[convolutional_ntk._by_positions(net, l, 32, 32, 1) for l in (1, 2)] for net in (small, large)] == [
        [True, True],
        [False, False],
    ]
    traced = Convolutional((4, 4, 32), 32, 2, "relu", output_dim=10)
    assert [convolutional_ntk._by_positions(traced, 2, 32, 32, groups) for groups in (1, 10)] == [True, False]


@pytest.mark.parametrize("case", CONVOLUTIONAL, ids=str)
def test_euler_is_gradient_descent(backend: Backend, case: Case) -> None:
    observe = ("f", "f_test", "movement") if case.net.output_dim > 1 else ("f", "f_test", "movement", "K2")
    settings: dict[str, Any] = {"times": [0.0, 0.15], "step": 0.05, "integrator": "euler", "observe": observe}
    found = backend.train(case.net, case.theta, case.x, case.y, x_test=case.x[..., :2, :] + 0.5, **settings)
    for seed in range(SEEDS):
        start = vector = oracles.flatten(case.theta, seed)
        x = case.points(seed)
        for _ in range(3):
            gradient = oracles.loss_gradient(case.net, vector, x, case.targets(seed))
            vector = vector - 0.05 * case.net.mobility * gradient
        assert_allclose(found.f[seed, 1], oracles.network(case.net, vector, x), rtol=0, atol=1e-12)
        assert_allclose(found.f_test[seed, 1], oracles.network(case.net, vector, x[:2] + 0.5), rtol=0, atol=1e-12)
        first, last = (oracles.unflatten(case.net, v) for v in (start, vector))
        for l in range(1, case.net.depth + 2):
            moved = np.linalg.norm(last[f"W{l}"] - first[f"W{l}"]) / np.linalg.norm(first[f"W{l}"])
            assert_allclose(found.movement[seed, 1, l - 1], moved, rtol=0, atol=1e-12)
        if found.K2 is not None:
            kernel = oracles.full_ntk(case.net, vector, x, x)[..., 0, 0]
            assert_allclose(found.K2[seed, 1], kernel, rtol=0, atol=1e-12 * max(1, np.abs(kernel).max()))


@pytest.mark.parametrize("integrator", ["rk4", "dop853"])
def test_flow_against_scipy_on_the_flat_parameters(backend: Backend, integrator: str) -> None:
    case = CONVOLUTIONAL[2]
    times, step = [0.1, 0.3], {"rk4": 0.0025, "dop853": 0.02}[integrator]
    found = backend.train(case.net, case.theta, case.x, case.y, times=times, step=step, integrator=integrator)
    path = oracles.gradient_flow(case.net, oracles.flatten(case.theta, 1), case.points(1), case.targets(1), times)
    for i, vector in enumerate(path):
        assert_allclose(found.f[1, i], oracles.network(case.net, vector, case.points(1)), rtol=0, atol=1e-9)
