"""What all tests share: both backends, and property tests that draw the same examples in every run."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# XLA fixes its threads at its first use in a process, and the fixture asks for one.
os.environ.setdefault("PJRT_NPROC", "1")

import hypothesis
import pytest

from ntkbench.backends import BACKENDS, Backend, load
from tests.device import DEVICE

hypothesis.settings.register_profile(
    "reproducible",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(scope="module", autouse=True)
def room_for_programs() -> Iterator[None]:
    """XLA maps memory for each program that it compiles, and a process with more maps than Linux allows dies of it."""
    yield
    most = Path("/proc/sys/vm/max_map_count")
    if "jax" in sys.modules and most.exists():
        maps = Path("/proc/self/maps").read_bytes().count(b"\n")
        if maps > int(most.read_text()) // 2:
            sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn, float64, on the CPU or the device asked for. A framework that is missing is an error: nothing is
    skipped."""
    return load(request.param, device=DEVICE, precision="float64", threads=1)
