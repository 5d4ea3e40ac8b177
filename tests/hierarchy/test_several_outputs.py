"""Predictions of networks of several outputs, whose outputs count as points everywhere but in the loss."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from ntkbench.backends import BACKENDS, Backend, load
from ntkbench.claims.tensor_free import predictions
from ntkbench.hierarchy import cost, predict_training
from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters
from ntkbench.seeding import rng
from tests import oracles
from tests.hierarchy.made_up import ROOT


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return load(request.param, device="cpu")


def setting(n: int, width: int, seeds: int = 1, **changes: Any) -> tuple[FullyConnected, Parameters, np.ndarray, np.ndarray]:
    net = FullyConnected(**({"input_dim": 3, "width": width, "depth": 2, "activation": "tanh", "output_dim": 3} | changes))
    draw = rng(ROOT, "several outputs", n)
    return net, net.initialize(ROOT, range(seeds)), draw.standard_normal((n, 3)), draw.standard_normal((n, net.output_dim))


def integrated(K: dict[int, np.ndarray], f0: np.ndarray, y: np.ndarray, n: int, times: list[float]) -> np.ndarray:
    """`df/dt = -(1/n) K2 r` and so on with tensors of all entries, K4 frozen: outputs (T, rows), training points first."""
    shapes = [f0.shape, K[2].shape, K[3].shape]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        f, K2, K3 = (part.reshape(shape) for part, shape in zip(np.split(state, ends[:-1]), shapes, strict=True))
        residual = f[: len(y)] - y
        return -np.concatenate([K2 @ residual, (K3 @ residual).ravel(), (K[4] @ residual).ravel()]) / n

    start = np.concatenate([f0, K[2].ravel(), K[3].ravel()])
    return solve_ivp(slope, (0, times[-1]), start, "DOP853", times, rtol=1e-13, atol=1e-14).y[: len(f0)].T


def test_the_hierarchy_of_all_entries_is_integrated(backend: Backend) -> None:
    net, theta, x, y = setting(2, 5, bias_variance=0.1)
    x_test, times = rng(ROOT, "x_test").standard_normal((1, 3)), [0.2, 0.6]
    rows, vector = np.concatenate([x, x_test]), oracles.flatten(theta, 0)
    kernels = oracles.contracted_hierarchy(net, vector, rows, x, np.eye(6), 4)
    kernels[2] = oracles.full_ntk(net, vector, rows, x).swapaxes(1, 2).reshape(9, 6)
    expected = integrated(kernels, oracles.network(net, vector, rows).ravel(), y.ravel(), 2, times).reshape(2, 3, 3)
    asked: dict[str, Any] = {"order": 4, "times": times, "x_test": x_test, "tolerance": 1e-12, "estimate": False}
    found = predict_training(backend, net, theta, x, y, **asked)
    assert found.form == "tensor_free"
    assert found.f_test is not None
    assert_allclose(found.f[0], expected[:, :2], rtol=0, atol=1e-10)
    assert_allclose(found.f_test[0], expected[:, 2:], rtol=0, atol=1e-10)
    frozen = predict_training(backend, net, theta, x, y, **asked | {"order": 2})
    assert np.abs(frozen.f - found.f).max() > 1e-3


def test_higher_orders_come_closer_to_the_network(backend: Backend) -> None:
    net, theta, x, y = setting(4, 128, seeds=2)
    x_test, times = rng(ROOT, "x_test").standard_normal((2, 3)), [1.0, 2.0]
    flow: dict[str, Any] = {"times": times, "step": 0.05, "integrator": "dop853", "observe": ("f", "f_test")}
    trained = backend.train(net, theta, x, y, x_test=x_test, **flow)
    errors = {}
    for order in (2, 3, 4):
        found = predict_training(backend, net, theta, x, y, order=order, times=times, x_test=x_test)
        assert found.f_test is not None
        assert found.f.shape == (2, 2, 4, 3)
        assert found.inside.all()
        both = np.concatenate([found.f - trained.observed("f"), found.f_test - trained.observed("f_test")], axis=2)
        errors[order] = np.sqrt((both**2).mean(axis=(2, 3)))
        factor = 4 * (20 if order == 4 else 2)
        assert ((errors[order] < factor * found.truncation) & (found.truncation < factor * errors[order])).all()
    assert (errors[4] < errors[2] / 3).all()


def test_outputs_have_no_order_among_themselves(backend: Backend) -> None:
    net, theta, x, y = setting(5, 16, seeds=2)
    turned = theta | {"W3": theta["W3"][:, :, [2, 0, 1]]}
    asked: dict[str, Any] = {"order": 3, "times": [1.0], "x_test": x[:2] + 1, "tolerance": 1e-9}
    found, other = (predict_training(backend, net, at, x, of, **asked) for at, of in ((theta, y), (turned, y[:, [2, 0, 1]])))
    assert found.f_test is not None
    assert other.f_test is not None
    assert_allclose(other.f, found.f[..., [2, 0, 1]], rtol=0, atol=1e-8)
    assert_allclose(other.f_test, found.f_test[..., [2, 0, 1]], rtol=0, atol=1e-8)
    assert_allclose(other.truncation, found.truncation, rtol=1e-3)


def test_predictions_of_several_orders_are_the_public_ones(backend: Backend) -> None:
    net, theta, x, y = setting(6, 24, seeds=2)
    rows = np.concatenate([x, x[:2] + 0.5])
    found = predictions(backend, net, theta, x, y, rows, [0.5, 2.0], 4, 1e-6)
    for order, outputs in found.items():
        asked: dict[str, Any] = {"order": order, "times": [0.5, 2.0], "x_test": rows[6:], "tolerance": 1e-6, "estimate": False}
        public = predict_training(backend, net, theta, x, y, **asked)
        assert public.f_test is not None
        expected = np.concatenate([public.f, public.f_test], axis=2)
        assert outputs.shape == (2, 2, 8, 3)
        assert_allclose(outputs, expected, rtol=0, atol=4e-6 * np.abs(y).max())


def test_seeds_have_points_and_targets_of_their_own(backend: Backend) -> None:
    net, theta, x, y = setting(3, 8, seeds=2)
    points, targets = np.stack([x, x + 1]), np.stack([y, 2 * y])
    found = predict_training(backend, net, theta, points, targets, order=3, times=[1.0], x_test=x, estimate=False)
    for s in range(2):
        own = {name: array[s : s + 1] for name, array in theta.items()}
        alone = predict_training(backend, net, own, points[s], targets[s], order=3, times=[1.0], x_test=x, estimate=False)
        assert_allclose(found.f[s], alone.f[0], rtol=0, atol=1e-12)


def test_costs_count_outputs_as_points() -> None:
    one, ten = (FullyConnected(8, 64, 2, "tanh", outputs) for outputs in (1, 10))
    assert cost.contraction(ten, 20, 30, 4, 6)[0] == cost.contraction(one, 200, 300, 4, 6)[0]
    assert cost.choose(ten, 4, 4, 3, "auto", 2**31, 4) == "tensor_free"
    assert cost.largest_basis(ten, 2, 2, 3, 2**31) == 20


@pytest.mark.parametrize(
    ("net", "changes", "message"),
    [
        (FullyConnected(3, 4, 1, "tanh", 3), {"form": "tensors"}, "of one output, the network has 3: choose 'tensor_free'"),
        (FullyConnected(3, 4, 1, "tanh", 3), {"order": 5}, "several outputs have orders 2, 3 and 4, got order 5"),
        (FullyConnected(3, 4, 1, "tanh", 3), {"y": np.ones(2)}, r"y must be of shape \(2, 3\) or \(1, 2, 3\)"),
        (FullyConnected(3, 4, 1, "relu", 3), {}, "relu has no K3"),
        (Convolutional((1, 1, 3), 4, 1, "tanh", output_dim=3), {}, "Convolutional networks have one output here"),
    ],
    ids=str,
)
def test_refusals(net: Network, changes: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"x": np.ones((2, 3)), "y": np.ones((2, 3)), "order": 3, "times": [1.0]} | changes
    with pytest.raises(ValueError, match=message):
        predict_training(load("torch", device="cpu"), net, net.initialize(ROOT, [0]), **asked)
