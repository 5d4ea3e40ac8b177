"""Runge-Kutta steps of all seeds, against as many gradients by automatic differentiation, and their matrix products."""

import dataclasses
from types import ModuleType

import pytest

from ntkbench.backends import Backend
from tests.performance import workloads
from tests.performance.conftest import Timed
from tests.performance.workloads import Workload

pytestmark = pytest.mark.performance
SIZES = (Workload(n=32, width=64, depth=2, seeds=16), Workload(n=64, width=256, depth=2, seeds=4))
STEPS = 10
GRADIENTS = 4 * STEPS
"""Of the classical fourth-order method, in that many steps."""


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("variant", ["ours", "peer", "roofline"])
def test_training(timed: Timed, backend: Backend, peers: ModuleType, size: Workload, variant: str) -> None:
    net, theta, x, y, once = size.net, size.theta, size.x, size.y, workloads.gradient(size)
    run = {
        "ours": lambda: backend.train(net, theta, x, y, times=[0.01 * STEPS], step=0.01, integrator="rk4"),
        "peer": peers.training(net, theta, x, y, GRADIENTS, backend.device),
        "roofline": peers.matrix_products(once, backend.device, repeats=GRADIENTS),
    }[variant]
    products = [dataclasses.replace(p, count=GRADIENTS * p.count) for p in once]
    timed(run, quantity=f"{GRADIENTS} gradients", size=str(size), variant=variant, products=products)
