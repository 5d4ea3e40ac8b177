"""K3 and K4: first-order responses, against nested forward mode and their own matrix products."""

from types import ModuleType

import pytest

from ntkbench.backends import Backend
from tests.performance import workloads
from tests.performance.conftest import Timed
from tests.performance.workloads import Workload

pytestmark = pytest.mark.performance
SIZES = (Workload(n=8, width=64, depth=2, d=16), Workload(n=8, width=256, depth=2, d=16))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize("variant", ["ours", "peer", "roofline"])
def test_hierarchy(timed: Timed, backend: Backend, peers: ModuleType, size: Workload, order: int, variant: str) -> None:
    net, theta, x, products = size.net, size.theta, size.x, workloads.hierarchy(size, order)
    run = {
        "ours": lambda: backend.hierarchy(net, theta, x, order),
        "peer": peers.hierarchy(net, theta, x, order, backend.device),
        "roofline": peers.matrix_products(products, backend.device),
    }[variant]
    timed(run, quantity=f"K{order}", size=str(size), variant=variant, products=products)
