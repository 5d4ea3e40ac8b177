"""How everything here is timed."""

import importlib
import os
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import BACKENDS, Backend, load
from ntkbench.backends.base import PRECISIONS
from tests.performance import products
from tests.performance.clock import Clock
from tests.performance.memory import Meter
from tests.performance.primitives import PRIMITIVES

THREADS = int(os.environ.get("NTKBENCH_BENCHMARK_THREADS", "1"))
"""One thread by default: ratios of single-threaded runs survive a machine that is not quite idle, where OpenMP's waiting
threads would multiply torch's times."""
WORK = float(os.environ.get("NTKBENCH_BENCHMARK_WORK", "1"))
"""How often the work of ours is done: 1.5 makes everything of ours half as slow again, to prove that the rule sees it."""
QUICK = os.environ.get("NTKBENCH_BENCHMARK_QUICK") == "1"
"""Ours and the roofline alone, which is all that a comparison of runs needs: no peers, no memory."""

ROUNDS = (8, 40)
SECONDS = 1.6
"""Rounds of ours and of the roofline together take about this long, if the bounds on their number allow it."""
LONG, FEW = 10.0, 3
"""Where one round of both takes longer, a few must do: enough for the table, too few for a comparison."""
PEER = 2.5
"""A peer's rounds together take about this long, one round at least."""
ENDLESS = 20.0
"""A peer whose first call takes longer is not called again."""
PREPARED = 10.0
"""A peer that takes longer to compile and call once is not measured for memory, which compiles it once more."""
AGREEMENT = {"float64": 1e-10, "float32": 2e-3}


@pytest.fixture(scope="session", params=BACKENDS)
def name(request: pytest.FixtureRequest) -> str:
    """Each framework in turn."""
    return request.param


@pytest.fixture(scope="session", params=PRECISIONS)
def backend(name: str, request: pytest.FixtureRequest) -> Backend:
    """Each precision of it, on a GPU where there is one, with `THREADS` CPU threads."""
    return load(name, precision=request.param, threads=THREADS)


@pytest.fixture(scope="session")
def peers(name: str) -> ModuleType:
    """The usual way in the backend's own framework."""
    return importlib.import_module(f"tests.performance.peers_{name}")


@pytest.fixture(scope="session")
def meter(backend: Backend) -> Iterator[Meter | None]:
    """A process of its own that measures memory; it waits while anything is timed."""
    meter = None if QUICK else Meter(backend.name, backend.precision, THREADS)
    yield meter
    if meter:
        meter.close()


@pytest.fixture
def timed(backend: Backend, peers: ModuleType, meter: Meter | None, benchmark: Any) -> Callable[[int], None]:
    """Times a primitive: its rounds take turns with the roofline's and the peer's, so that all see the same machine."""

    def measure(number: int) -> None:
        primitive = PRIMITIVES[number]
        ours = Clock(primitive.ours(backend))
        roofline = Clock(backend.matrix_products(primitive.products))
        seconds = ours.calibrate() + roofline.calibrate()
        start = time.perf_counter()
        peer = None if QUICK or primitive.peer is None else Clock(primitive.peer(peers, backend))
        affordable = time.perf_counter() - start < PREPARED
        peer_rounds = 0
        if peer is not None:
            _same(peer.value, ours.value, backend.precision)
            if peer.first > ENDLESS:
                peer.rounds.append(peer.first)
            else:
                peer_rounds = max(1, int(PEER / (peer.first if peer.first > PEER else peer.calibrate())))

        def others() -> None:
            if peer is not None and len(peer.rounds) < peer_rounds:
                peer.round()
            roofline.round()

        rounds = FEW if seconds > LONG else int(min(max(SECONDS / seconds, ROUNDS[0]), ROUNDS[1]))
        benchmark.pedantic(lambda: ours.repeat(WORK), setup=others, rounds=rounds, iterations=1)
        benchmark.group = str(primitive)
        benchmark.extra_info.update(
            backend.facts(),
            quantity=primitive.quantity,
            size=primitive.size,
            products=primitive.products,
            flops=products.flops(primitive.products),
            calls=ours.calls,
            first_call_seconds=ours.first,
            roofline_rounds=roofline.rounds,
            peer_rounds=peer.rounds if peer else [],
            peak_mib=meter.peak_mib(number, "ours") if meter else None,
            peer_peak_mib=meter.peak_mib(number, "peer") if meter and peer and affordable else None,
        )

    return measure


def _same(peer: np.ndarray, ours: np.ndarray, precision: str) -> None:
    """A peer that computed something else would be no peer."""
    assert_allclose(peer, ours, rtol=0, atol=AGREEMENT[precision] * np.abs(ours).max())


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What is compared and nothing that names somebody's machine."""
    kept = {"processor": machine_info["cpu"].get("brand_raw", machine_info["machine"]), "cores": os.cpu_count()}
    system = {key: machine_info[key] for key in ("python_version", "system")}
    machine_info.clear()
    machine_info.update(kept | system)
