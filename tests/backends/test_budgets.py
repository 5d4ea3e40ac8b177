"""Kernels take no more memory than they are allowed, as the system counts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ntkbench.backends import BACKENDS
from ntkbench.performance import memory
from tests.performance.memory import RETURNED

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import numpy as np
from ntkbench.backends import load
from ntkbench.networks import Convolutional, FullyConnected, Residual
from ntkbench.performance.memory import growth

for net, n, outputs, mib in (
    (FullyConnected(64, 128, 2, "tanh", output_dim=10), 300, "full", 32),
    (FullyConnected(64, 512, 2, "tanh"), 3000, "one", 64),
    (Convolutional((4, 4, 3), 128, 2, "tanh", output_dim=10), 100, "trace", 64),
    (Residual(64, 128, 2, "tanh"), 300, "one", 32),
):
    backend = load(sys.argv[1], device="cpu", threads=1, memory_bytes=mib * 2**20)
    theta, x = net.initialize(0, [0]), np.random.default_rng(0).standard_normal((n, net.input_dim))
    result = backend.ntk(net, theta, x, outputs=outputs).nbytes
    print(growth(lambda: backend.ntk(net, theta, x, outputs=outputs)), result, mib * 2**20)
"""


@pytest.mark.skipif(
    not (memory.PROCESS / "clear_refs").exists(), reason="the peak of resident memory is reset through Linux's /proc"
)
@pytest.mark.parametrize("name", BACKENDS)
def test_temporaries_stay_near_the_budget(name: str) -> None:
    """A process of its own; kernels of every two outputs, a kernel larger than the budget, a trace of images, and gradients."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], cwd=ROOT, env=os.environ | RETURNED, capture_output=True, text=True, check=True
    )
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(found) == 4
    for grown, result, budget in found:
        assert result <= grown + 2**20
        assert grown <= 1.25 * budget + result
