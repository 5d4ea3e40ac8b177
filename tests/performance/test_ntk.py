"""The NTK: layerwise, against Jacobian contraction and its own matrix products."""

from types import ModuleType

import pytest

from ntkbench.backends import Backend
from tests.performance import workloads
from tests.performance.conftest import Timed
from tests.performance.workloads import Workload

pytestmark = pytest.mark.performance
SIZES = (Workload(n=16, width=64, seeds=32), Workload(n=32, width=256), Workload(n=64, width=512))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("variant", ["ours", "peer", "roofline"])
def test_ntk(timed: Timed, backend: Backend, peers: ModuleType, size: Workload, variant: str) -> None:
    net, theta, x, products = size.net, size.theta, size.x, workloads.ntk(size)
    run = {
        "ours": lambda: backend.ntk(net, theta, x),
        "peer": peers.ntk(net, theta, x, backend.device),
        "roofline": peers.matrix_products(products, backend.device),
    }[variant]
    timed(run, quantity="ntk", size=str(size), variant=variant, products=products)
