"""What is timed: each primitive at each size, how a backend runs it, its matrix products, and its peer."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ntkbench.backends import Backend
from tests.performance import products
from tests.performance.products import Shapes
from tests.performance.workloads import Workload, dense, images

Run = Callable[[], object]
GRADIENTS = 20
STEP = 0.01


@dataclass(frozen=True)
class Primitive:
    """One row of the table per backend and precision.

    Attributes:
        quantity, size: its name.
        products: its roofline, which also counts its floating-point operations.
        ours: prepares inputs in the backend's precision and returns what is timed.
        peer: the same for the usual way in the backend's framework, from that framework's module of peers; None where there is
            no other way, or where it does not fit a usual machine.
        large: left to `SIZE=large`.
    """

    quantity: str
    size: str
    products: Shapes
    ours: Callable[[Backend], Run]
    peer: Callable[[ModuleType, Backend], Run] | None = None
    large: bool = False

    def __str__(self) -> str:
        return f"{self.quantity}, {self.size}"


def ntk(w: Workload, outputs: str = "one", name: str = "ntk", peer: bool = True, large: bool = False) -> Primitive:
    def ours(backend: Backend) -> Run:
        theta, x = w.theta(backend.precision), w.x(backend.precision)
        return lambda: backend.ntk(w.net, theta, x, outputs=outputs)

    def usual(peers: ModuleType, backend: Backend) -> Run:
        return peers.ntk(w.net, w.theta(backend.precision), w.x(backend.precision), backend.device, outputs)

    return Primitive(name, str(w), products.ntk(w, outputs), ours, usual if peer else None, large)


def hierarchy(w: Workload, order: int, peer: bool = True, large: bool = False) -> Primitive:
    def ours(backend: Backend) -> Run:
        theta, x = w.theta(backend.precision), w.x(backend.precision)
        return lambda: backend.hierarchy(w.net, theta, x, order)[order][0]

    def usual(peers: ModuleType, backend: Backend) -> Run:
        return peers.hierarchy(w.net, w.theta(backend.precision), w.x(backend.precision), order, backend.device)

    return Primitive(f"K{order}", str(w), products.hierarchy(w, order), ours, usual if peer else None, large)


def contracted(w: Workload, k: int, order: int, peer: bool = True, large: bool = False) -> Primitive:
    def inputs(backend: Backend) -> tuple[np.ndarray, np.ndarray]:
        return w.x(backend.precision), w.basis(k, backend.precision)

    def ours(backend: Backend) -> Run:
        theta, (x, basis) = w.theta(backend.precision), inputs(backend)
        return lambda: backend.contracted_hierarchy(w.net, theta, x, x, basis, order)[order][0]

    def usual(peers: ModuleType, backend: Backend) -> Run:
        x, basis = inputs(backend)
        return peers.contracted(w.net, w.theta(backend.precision), x, x, basis, order, backend.device)

    shapes = products.contracted(w, k, order)
    return Primitive(f"contracted K{order}", f"{w} k={k}", shapes, ours, usual if peer else None, large)


def limiting(w: Workload, name: str, large: bool = False) -> Primitive:
    def ours(backend: Backend) -> Run:
        x = w.x(backend.precision)
        return lambda: backend.limiting_kernels(w.net, x)

    return Primitive(f"limiting kernels, {name}", str(w), products.limiting(w), ours, None, large)


def training(w: Workload) -> Primitive:
    def ours(backend: Backend) -> Run:
        theta, x, y = w.theta(backend.precision), w.x(backend.precision), w.y(backend.precision)
        times = [GRADIENTS * STEP]
        return lambda: backend.train(w.net, theta, x, y, times=times, step=STEP, integrator="euler").observed("f")[:, 0]

    def usual(peers: ModuleType, backend: Backend) -> Run:
        given = w.theta(backend.precision), w.x(backend.precision), w.y(backend.precision)
        return peers.training(w.net, *given, GRADIENTS, STEP, backend.device)

    return Primitive(f"{GRADIENTS} steps of descent", str(w), products.training(w, GRADIENTS), ours, usual)


def solve(n: int, columns: int) -> Primitive:
    w = dense(n, 1, d=n + 64)

    def system(backend: Backend) -> tuple[np.ndarray, np.ndarray]:
        x = w.x(backend.precision)
        return x @ x.T / n + np.eye(n, dtype=x.dtype), x[:, :columns]

    def ours(backend: Backend) -> Run:
        kernel, rhs = system(backend)
        return lambda: backend.solve(kernel, rhs)

    return Primitive(
        "solve",
        f"n={n} k={columns}",
        products.solve(n, columns),
        ours,
        lambda peers, backend: peers.solve(*system(backend), backend.device),
    )


PRIMITIVES = (
    ntk(dense(16, 64, seeds=32)),
    ntk(dense(256, 256)),
    ntk(dense(1024, 1024), peer=False),
    ntk(dense(64, 256, outputs=10), "trace", "ntk, trace"),
    ntk(dense(64, 256, outputs=10), "full", "ntk, full"),
    ntk(images(64, 28, 1, 32), name="ntk, flatten"),
    ntk(images(256, 8, 1, 64, readout="global_average"), name="ntk, global average"),
    ntk(dense(512, 4096), peer=False, large=True),
    ntk(images(256, 8, 1, 64), name="ntk, flatten", large=True),
    hierarchy(dense(8, 256, 2, 16), 3),
    hierarchy(dense(8, 256, 2, 16), 4),
    hierarchy(dense(32, 1024, 2, 16), 4, peer=False),
    hierarchy(dense(4, 256, 2, 16), 5),
    hierarchy(dense(4, 64, 2, 16), 6),
    contracted(dense(64, 256, 2, 16), 4, 3),
    contracted(dense(64, 256, 2, 16), 4, 4),
    contracted(dense(1000, 512, 2, 196), 8, 4, peer=False, large=True),
    limiting(dense(2000, 1, d=784, activation="relu"), "ReLU"),
    limiting(dense(1000, 1, d=784, activation="erf"), "erf"),
    limiting(images(200, 8, 1, 1, activation="relu"), "ReLU, flatten"),
    limiting(images(16, 8, 1, 1, activation="relu", readout="global_average"), "ReLU, global average"),
    limiting(dense(10_000, 1, d=784, activation="relu"), "ReLU", large=True),
    training(dense(32, 64, 2, seeds=16)),
    training(dense(64, 256, 2, seeds=4)),
    solve(1000, 10),
)
