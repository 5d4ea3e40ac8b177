"""How everything here is timed."""

import importlib
import os
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ntkbench.backends import BACKENDS, Backend, load
from tests.performance.workloads import Product

Timed = Callable[..., None]

THREADS = int(os.environ.get("NTKBENCH_BENCHMARK_THREADS", "1"))
"""One thread by default: ratios of single-threaded runs survive a machine that is not quite idle, where OpenMP's waiting
threads would multiply torch's times."""


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn, float64, on a GPU where there is one, with `THREADS` CPU threads."""
    return load(request.param, threads=THREADS)


@pytest.fixture
def peers(backend: Backend) -> ModuleType:
    """The usual way in the backend's own framework."""
    return importlib.import_module(f"tests.performance.peers_{backend.name}")


@pytest.fixture
def timed(backend: Backend, benchmark: Any) -> Timed:
    """`timed(run, quantity=.., size=.., variant=.., products=..)`: the first call, which compiles, apart; then rounds.

    `run` waits for its own results. Rounds are as many as fit a second, between 3 and 20.
    """

    def measure(run: Callable[[], object], *, quantity: str, size: str, variant: str, products: list[Product]) -> None:
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        start = time.perf_counter()
        run()
        again = time.perf_counter() - start
        benchmark.group = f"{quantity}, {size}"
        benchmark.extra_info.update(
            backend.facts(),
            quantity=quantity,
            size=size,
            variant=variant,
            flops=sum(p.flops for p in products),
            first_call_seconds=first,
        )
        benchmark.pedantic(run, rounds=int(min(20, max(3, 1 / again))), iterations=1)

    return measure
