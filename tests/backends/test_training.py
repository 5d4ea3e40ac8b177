"""Gradient flow and gradient descent of the networks themselves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.linalg import expm

from ntkbench.backends import Backend, Trajectory, load
from ntkbench.networks import FullyConnected
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import CASES, CONVOLUTIONAL, ROOT, SEEDS, Case

PLAIN = FullyConnected(3, 6, 2, "tanh", bias_variance=0.2)
X, Y = rng(ROOT, "training x").standard_normal((4, 3)), rng(ROOT, "training y").standard_normal((4, 1))
X_TEST = rng(ROOT, "training test").standard_normal((2, 3))

# ReLU's kinks cost the adaptive oracle its order: it is held to gradient descent alone. dop853 compiles for long: two cases do.
FLOWS = [(case, "rk4") for case in CASES if case.net.activation != "relu"]
FLOWS += [(case, "dop853") for case in CASES if case.name in ("tanh-3-biases-antisymmetric", "tanh-2-outputs")]


def movement(net: FullyConnected, start: np.ndarray, now: np.ndarray) -> list[float]:
    first, last = oracles.unflatten(net, start), oracles.unflatten(net, now)
    return [
        float(np.linalg.norm(last[f"W{l}"] - first[f"W{l}"]) / np.linalg.norm(first[f"W{l}"])) for l in range(1, net.depth + 2)
    ]


def check_against_parameters(found: Trajectory, seed: int, case: Case, path: np.ndarray, tolerance: float) -> None:
    """Every observable of one seed against the parameters (T, P) of an oracle."""
    x, start = case.points(seed), oracles.flatten(case.theta, seed)
    for i, vector in enumerate(path):
        assert_allclose(found.f[seed, i], oracles.network(case.net, vector, x), rtol=0, atol=tolerance)
        assert_allclose(found.f_test[seed, i], oracles.network(case.net, vector, x[:2] + 0.5), rtol=0, atol=tolerance)
        assert_allclose(found.movement[seed, i], movement(case.net, start, vector), rtol=0, atol=tolerance)
        if found.K2 is not None:
            kernel = oracles.ntk(case.net, vector, x, x)
            assert_allclose(found.K2[seed, i], kernel, rtol=0, atol=tolerance * max(1, np.abs(kernel).max()))


def observables(case: Case) -> tuple[str, ...]:
    return ("f", "f_test", "movement") if case.net.output_dim > 1 else ("f", "f_test", "movement", "K2")


@pytest.mark.parametrize(("case", "integrator"), FLOWS, ids=str)
def test_flow_against_scipy_on_the_flat_parameters(backend: Backend, case: Case, integrator: str) -> None:
    times, step = [0.0, 0.1, 0.3], {"rk4": 0.0025, "dop853": 0.02}[integrator]
    found = backend.train(
        case.net,
        case.theta,
        case.x,
        case.y,
        times=times,
        step=step,
        integrator=integrator,
        observe=observables(case),
        x_test=case.x[..., :2, :] + 0.5,
    )
    assert_allclose(found.times, times)
    seed = SEEDS - 1
    path = oracles.gradient_flow(case.net, oracles.flatten(case.theta, seed), case.points(seed), case.targets(seed), times)
    check_against_parameters(found, seed, case, path, 1e-9)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_euler_is_gradient_descent(backend: Backend, case: Case) -> None:
    found = backend.train(
        case.net,
        case.theta,
        case.x,
        case.y,
        times=[0.0, 0.05, 0.25],
        step=0.05,
        integrator="euler",
        observe=observables(case),
        x_test=case.x[..., :2, :] + 0.5,
    )
    for seed in range(SEEDS):
        vector = oracles.flatten(case.theta, seed)
        path = [vector]
        for _ in range(5):
            gradient = oracles.loss_gradient(case.net, vector, case.points(seed), case.targets(seed))
            vector = vector - 0.05 * case.net.mobility * gradient
            path.append(vector)
        check_against_parameters(found, seed, case, np.stack([path[0], path[1], path[5]]), 1e-12)


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("rk4", 4), ("dop853", 8)])
def test_halving_the_step_gains_the_order_of_the_method(backend: Backend, integrator: str, order: int) -> None:
    theta = PLAIN.initialize(ROOT, range(2))
    coarse = {"euler": 0.05, "rk4": 0.25, "dop853": 1.0}[integrator]
    exact = backend.train(PLAIN, theta, X, Y, times=[4.0], step=0.0625, integrator="dop853").f
    errors = [
        np.abs(backend.train(PLAIN, theta, X, Y, times=[4.0], step=step, integrator=integrator).f - exact).max()
        for step in (coarse, coarse / 2)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.5 + 0.1 * order


def test_wide_networks_follow_their_frozen_kernel(backend: Backend) -> None:
    """`f_t = y - exp(-K2 t / n) (y - f_0)` up to 1/width: 16 times the width leaves about a sixteenth of the error."""
    errors = []
    for width in (64, 1024):
        net = FullyConnected(3, width, 1, "tanh", antisymmetric=True)
        theta = net.initialize(ROOT, range(3))
        f = backend.train(net, theta, X, Y, times=[2.0], step=0.1, integrator="rk4").f[:, 0, :, 0]
        linear = np.stack([Y[:, 0] - expm(-kernel * 2.0 / 4) @ Y[:, 0] for kernel in backend.ntk(net, theta, X)])
        errors.append(np.abs(f - linear).max())
    assert 10 < errors[0] / errors[1] < 26


def test_flow_lowers_the_loss_at_the_rate_of_the_kernel(backend: Backend) -> None:
    """`dL/dt = -(1/n^2) r.K2.r`, from a central difference of the loss in time."""
    theta = PLAIN.initialize(ROOT, range(2))
    found = backend.train(PLAIN, theta, X, Y, times=[0.99, 1.0, 1.01], step=0.01, integrator="rk4", observe=("f", "K2"))
    residual = (found.f - Y)[..., 0]
    loss = (residual**2).sum(axis=-1) / (2 * 4)
    rate = -np.einsum("sa,sab,sb->s", residual[:, 1], found.K2[:, 1], residual[:, 1]) / 16
    assert_allclose((loss[:, 2] - loss[:, 0]) / 0.02, rate, rtol=1e-3)


@given(seed=st.integers(0, 10**6))
def test_a_seed_alone_trains_as_in_a_batch(backend: Backend, seed: int) -> None:
    draw = rng(ROOT, "batch", seed)
    x, y, theta = (
        draw.standard_normal((3, 4, 3)),
        draw.standard_normal((3, 4, 1)),
        PLAIN.initialize(ROOT, range(seed, seed + 3)),
    )
    settings: dict[str, Any] = {"times": [0.0, 0.5], "step": 0.25, "integrator": "rk4", "observe": ("f", "K2", "movement")}
    together = backend.train(PLAIN, theta, x, y, **settings)
    alone = backend.train(PLAIN, {name: array[1:2] for name, array in theta.items()}, x[1], y[1], **settings)
    for name in settings["observe"]:
        assert_allclose(getattr(together, name)[1], getattr(alone, name)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_a_tiny_budget_changes_nothing(backend: Backend, shared: bool) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    net = FullyConnected(3, 32, 2, "erf", antisymmetric=True)
    x, y = (X, Y) if shared else (np.stack([X + s for s in range(12)]), np.stack([Y - s for s in range(12)]))
    settings: dict[str, Any] = {"times": [0.0, 0.2], "step": 0.1, "integrator": "rk4", "x_test": X_TEST}
    observe = ("f", "f_test", "K2", "movement", "theta")
    expected = backend.train(net, net.initialize(ROOT, range(12)), x, y, observe=observe, **settings)
    found = tiny.train(net, net.initialize(ROOT, range(12)), x, y, observe=observe, **settings)
    for path, blocks in zip(expected.parameters(), found.parameters(), strict=True):
        for name, array in path.items():
            assert_allclose(blocks[name], array, rtol=0, atol=1e-12)
    for name in observe[:-1]:
        assert getattr(found, name).shape == getattr(expected, name).shape
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12)


def test_only_what_was_asked_for_is_there(backend: Backend) -> None:
    found = backend.train(PLAIN, PLAIN.initialize(ROOT, [0]), X, Y, times=[0.1], step=0.1, integrator="rk4", observe=("K2",))
    assert (found.f, found.f_test, found.movement, found.theta) == (None, None, None, None)
    with pytest.raises(ValueError, match="'theta' was not observed"):
        found.parameters()
    assert (found.K2.shape, found.K2.dtype) == ((1, 1, 4, 4), np.float64)


PATHS = [case for case in CASES if case.name in ("tanh-3-biases-antisymmetric", "erf-2-standard-biases", "tanh-2-outputs")]
PATHS += [case for case in CONVOLUTIONAL if case.name in ("conv-erf-2-average-antisymmetric", "conv-gelu-2-zero-mean-field")]


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_parameters_on_the_way_are_those_of_the_flow(backend: Backend, case: Case) -> None:
    times = [0.0, 0.1, 0.3]
    flow: dict[str, Any] = {"times": times, "step": 0.025, "integrator": "rk4"}
    found = backend.train(case.net, case.theta, case.x, case.y, **flow, observe=("f", "theta"))
    assert len(found.parameters()) == len(times)
    for i, theta in enumerate(found.parameters()):
        assert list(theta) == list(case.theta)
        assert_allclose(backend.forward(case.net, theta, case.x), found.f[:, i], rtol=0, atol=1e-13)
        for name, array in theta.items():
            assert (array.shape, array.dtype) == (case.theta[name].shape, np.float64)
            assert array.flags.c_contiguous
    for name, array in case.theta.items():
        np.testing.assert_array_equal(found.parameters()[0][name], array)
    start = oracles.flatten(case.theta, 1)
    path = oracles.gradient_flow(case.net, start, case.points(1), case.targets(1), times)
    for vector, theta in zip(path, found.parameters(), strict=True):
        assert_allclose(oracles.flatten(theta, 1), vector, rtol=0, atol=1e-7)


def test_parameters_are_copies_that_no_later_step_changes(backend: Backend) -> None:
    theta = PLAIN.initialize(ROOT, range(2))
    flow: dict[str, Any] = {"step": 0.1, "integrator": "dop853", "observe": ("theta",)}
    long = backend.train(PLAIN, theta, X, Y, times=[0.0, 0.1, 0.2, 0.5], **flow).parameters()
    short = backend.train(PLAIN, theta, X, Y, times=[0.0, 0.1], **flow).parameters()
    arrays = [array for at in (theta, *long) for array in at.values()]
    assert not any(np.shares_memory(one, other) for i, one in enumerate(arrays) for other in arrays[:i])
    for name in theta:
        for i in range(2):
            np.testing.assert_array_equal(long[i][name], short[i][name])
        assert np.abs(long[3][name] - long[2][name]).max() > 1e-6
        assert all(at[name].flags.writeable for at in long)


def test_parameters_on_the_way_serve_every_other_call(backend: Backend) -> None:
    """Of kernels along the flow: K2 there is what training itself observes, and K3 its derivative."""
    net = FullyConnected(3, 6, 2, "tanh", antisymmetric=True)
    flow: dict[str, Any] = {"times": [0.98, 1.0, 1.02], "step": 0.02, "integrator": "rk4"}
    found = backend.train(net, net.initialize(ROOT, range(2)), X, Y, **flow, observe=("f", "K2", "theta"))
    before, now, after = (backend.hierarchy(net, theta, X, 3) for theta in found.parameters())
    assert_allclose(now[2], found.K2[:, 1], rtol=0, atol=1e-12)
    slope = -np.einsum("sabc,sc->sab", now[3], found.f[:, 1, :, 0] - Y[:, 0]) / 4
    assert_allclose((after[2] - before[2]) / 0.04, slope, rtol=0, atol=1e-3 * np.abs(slope).max())


def test_divergence_is_seen_and_stays_in_its_seed(backend: Backend) -> None:
    net = FullyConnected(3, 8, 2, "identity")
    theta, y = net.initialize(ROOT, range(2)), np.stack([Y, Y])
    for name in theta:
        theta[name][1] *= 1e3
    for integrator in ("euler", "rk4"):
        found = backend.train(
            net, theta, X, y, times=[0.0, 40.0], step=0.2, integrator=integrator, observe=("f", "K2", "movement")
        )
        for values in (found.f, found.K2, found.movement):
            assert np.isfinite(values[0]).all()
            assert np.isfinite(values[1, 0]).all()
            assert not np.isfinite(values[1, 1]).any()


def test_progress_counts_every_step_of_every_seed_block(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    net = FullyConnected(3, 64, 2, "tanh")
    for some_backend, fewest in ((backend, 1), (tiny, 2)):
        seen: list[tuple[int, int]] = []
        some_backend.train(
            net,
            net.initialize(ROOT, range(12)),
            X,
            Y,
            times=[0.1, 0.3],
            step=0.1,
            integrator="rk4",
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        done, totals = zip(*seen, strict=True)
        assert list(done) == sorted(set(done))
        assert set(totals) == {done[-1]}
        assert done[-1] % 3 == 0
        assert done[-1] >= 3 * fewest


@pytest.mark.parametrize("writeable", [True, False])
def test_arguments_are_left_as_they_were(backend: Backend, writeable: bool) -> None:
    theta, x, y = PLAIN.initialize(ROOT, range(2)), X.copy(), Y.copy()
    before = {name: array.copy() for name, array in theta.items()}
    for array in (*theta.values(), x, y):
        array.flags.writeable = writeable
    backend.train(PLAIN, theta, x, y, times=[0.2], step=0.1, integrator="rk4")
    for name, array in theta.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros((3, 1))}, "y"),
        ({"y": np.zeros((4, 2))}, "y"),
        ({"y": np.zeros(4)}, "y"),
        ({"y": np.full((4, 1), np.nan)}, "not finite"),
        ({"x": np.zeros((4, 2))}, "x"),
        ({"x": np.full((4, 3), np.inf)}, "not finite"),
        ({"observe": ("f", "loss")}, "loss"),
        ({"observe": ("f_test",)}, "x_test"),
        ({"x_test": np.zeros((2, 5)), "observe": ("f_test",)}, "x_test"),
        ({"integrator": "midpoint"}, "midpoint"),
        ({"times": [0.25]}, "0.25"),
        ({"times": [0.2, 0.1]}, "increase"),
        ({"times": []}, "increase"),
        ({"step": -0.1}, "step"),
    ],
)
def test_training_that_makes_no_sense_is_refused(backend: Backend, change: dict[str, Any], message: str) -> None:
    settings = {"x": X, "y": Y, "times": [0.1], "step": 0.1, "integrator": "rk4", **change}
    with pytest.raises(ValueError, match=message):
        backend.train(PLAIN, PLAIN.initialize(ROOT, [0]), **settings)


def test_the_kernel_of_several_outputs_is_not_observed(backend: Backend) -> None:
    net = FullyConnected(3, 5, 1, "tanh", output_dim=2)
    with pytest.raises(ValueError, match="one output"):
        backend.train(
            net, net.initialize(ROOT, [0]), X, np.zeros((4, 2)), times=[0.1], step=0.1, integrator="rk4", observe=("K2",)
        )
