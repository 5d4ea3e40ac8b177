"""Limiting kernels, against the one matrix product that they start from."""

from types import ModuleType

import pytest

from ntkbench.backends import Backend
from tests.performance import workloads
from tests.performance.conftest import Timed
from tests.performance.workloads import Workload

pytestmark = pytest.mark.performance
POINTS = (300, 1000)


@pytest.mark.parametrize("n", POINTS)
@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("variant", ["ours", "roofline"])
def test_limiting_kernels(timed: Timed, backend: Backend, peers: ModuleType, n: int, activation: str, variant: str) -> None:
    size = Workload(n=n, width=1, d=196, activation=activation)
    net, x, products = size.net, size.x, workloads.limiting(n, size.d)
    run = {
        "ours": lambda: backend.limiting_kernels(net, x),
        "roofline": peers.matrix_products(products, backend.device),
    }[variant]
    timed(
        run,
        quantity=f"limiting kernels, {activation}",
        size=f"n={n} d={size.d} depth={size.depth}",
        variant=variant,
        products=products,
    )
