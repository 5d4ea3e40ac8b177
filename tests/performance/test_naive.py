"""The naive way computes what the fast way does, in both frameworks; part of the ordinary tests."""

import importlib

import numpy as np
import pytest

from ntkbench.backends import BACKENDS, load
from ntkbench.networks import SMOOTH_ACTIVATIONS, FullyConnected
from ntkbench.performance.workloads import Workload

COMPARED = [(name, activation, 3) for name in BACKENDS for activation in SMOOTH_ACTIVATIONS]
COMPARED += [(name, "tanh", order) for name in BACKENDS for order in (2, 4)]
AGREEMENT = 1e-10


@pytest.mark.parametrize(("name", "activation", "order"), COMPARED)
def test_nested_forward_mode_gives_the_same_kernel(name: str, activation: str, order: int) -> None:
    backend = load(name, device="cpu", threads=1)
    net, x = FullyConnected(3, 6, 2, activation), np.random.default_rng(2).standard_normal((3, 3))
    theta = net.initialize(5, range(2))
    naive = importlib.import_module(f"ntkbench.backends.{name}.naive").hierarchy(net, theta, x, order, "cpu")
    found, expected = np.asarray(naive()), backend.hierarchy(net, theta, x, order)[order][0]
    assert np.abs(found - expected).max() <= AGREEMENT * max(np.abs(expected).max(), np.abs(found).max())


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_naive_workload_is_of_the_network_and_points_of_its_fast_twin(name: str, precision: str) -> None:
    backend = load(name, device="cpu", precision=precision, threads=1)
    fast = Workload("hierarchy", points=3, width=5, order=3)
    naive = Workload("naive_hierarchy", points=3, width=5, order=3)
    expected, found = fast.bind(backend)()[3][0], np.asarray(naive.bind(backend)())  # type: ignore[index]
    assert found.dtype == np.dtype(precision)
    tolerance = AGREEMENT if precision == "float64" else 1e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert naive.products == fast.products
