"""What one framework is and computes here, in a process of its own: `python -m ntkbench.doctor.probe torch FILE`."""

import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from ntkbench import backends
from ntkbench.backends.base import Flow
from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.records import flatten, write_record

SEED, WIDTH = 0, 16
FLOW: Flow = {"times": (0.5, 1.0), "step": 0.25, "integrator": "rk4"}
GROWTH = {"f": 1e2}
"""As claims that train allow."""


def measure(backend: backends.Backend) -> dict[str, np.ndarray]:
    """A few numbers from each of the ways in which a backend computes: kernels, their limit, training, a linear system."""
    draw = np.random.Generator(np.random.Philox(SEED))
    x, y = draw.standard_normal((4, 6)), draw.standard_normal((4, 1))
    net = FullyConnected(input_dim=6, width=WIDTH, depth=2, activation="tanh")
    images = Convolutional(image=(4, 4, 1), width=4, depth=1, activation="relu")
    theta = net.initialize(root=0, seeds=range(2))
    kernels = backend.hierarchy(net, theta, x, order=3)
    nngp, limit = backend.limiting_kernels(net, x)
    return {
        "K2": kernels[2],
        "K3": kernels[3],
        "K2_convolutional": backend.ntk(images, images.initialize(root=0, seeds=[0]), draw.standard_normal((3, 16))),
        "nngp": nngp,
        "limit": limit,
        "f": backend.train(net, theta, x, y, **FLOW).observed("f"),
        "regression": backend.solve(limit, y),
    }


def single_precision(name: str) -> float:
    """By how much a kernel in float32 is off float64: 1e-7 where products are whole, 1e-4 and more where TF32 cuts them."""
    net = FullyConnected(input_dim=64, width=64, depth=2, activation="tanh")
    theta, x = net.initialize(root=0, seeds=[0]), np.random.Generator(np.random.Philox(SEED)).standard_normal((16, 64))
    whole, single = (backends.load(name, precision=p, threads=1).ntk(net, theta, x) for p in ("float64", "float32"))
    return float(np.abs(whole - single).max() / np.abs(whole).max())


def main(name: str, output: Path) -> None:
    """Write what `name` is and computes to `output`, a record."""
    start = time.perf_counter()
    backend = backends.load(name, device="auto", threads=1, memory_bytes=2**28)
    arrays = measure(backend)
    pools = {f"{pool['prefix']} ({pool['internal_api']})": pool["num_threads"] for pool in threadpool_info()}
    facts = {"backend_facts": dict(backend.facts()), "pools": pools, "single_precision": single_precision(name)}
    write_record(output, flatten({WIDTH: arrays}), {**facts, "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except (backends.BackendUnavailable, RuntimeError, ValueError) as told:
        sys.exit(f"{type(told).__name__}: {told}")
