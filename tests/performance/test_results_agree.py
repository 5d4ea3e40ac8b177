"""What is timed computes the same: a peer that computed something else would be no peer."""

from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend
from tests.performance.workloads import Workload

pytestmark = pytest.mark.performance


def test_peers_compute_what_we_compute(backend: Backend, peers: ModuleType) -> None:
    size = Workload(n=4, width=16, depth=2, d=8, seeds=3)
    net, theta, x = size.net, size.theta, size.x
    found = backend.ntk(net, theta, x)
    assert_allclose(np.asarray(peers.ntk(net, theta, x, "cpu")()), found, rtol=0, atol=1e-12 * np.abs(found).max())
    kernels = backend.hierarchy(net, theta, x, 4)
    for order in (3, 4):
        peer = np.asarray(peers.hierarchy(net, theta, x, order, "cpu")())
        assert_allclose(peer, kernels[order][0], rtol=0, atol=1e-12 * np.abs(kernels[order]).max())


def test_peers_train_as_gradient_descent_does(backend: Backend, peers: ModuleType) -> None:
    size = Workload(n=4, width=16, depth=2, d=8, seeds=3)
    net, theta, x, y = size.net, size.theta, size.x, size.y
    now = peers.training(net, theta, x, y, 5, "cpu")()
    weights = list(now.values()) if isinstance(now, dict) else now
    trained = {f"W{l}": np.asarray(w)[:, None] for l, w in enumerate(weights, start=1)}
    f = backend.train(net, theta, x, y, times=[0.05], step=0.01, integrator="euler").f[:, 0]
    assert_allclose(backend.forward(net, trained, x), f, rtol=0, atol=1e-12)
