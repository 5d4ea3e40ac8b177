"""Construction: device, precision, threads, flags, and refusals; what a GPU alone can show."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ntkbench.backends import BACKENDS, Backend, BackendUnavailable, load
from ntkbench.config import gpu_present
from ntkbench.networks import Convolutional, FullyConnected
from tests.device import DEVICE

ROOT = Path(__file__).resolve().parents[2]
HAS_GPU = gpu_present()
SETTINGS = {"torch": "cublas_workspace", "jax": "xla_flags"}
"""What a framework is deterministic by, besides a switch of its own."""


def test_facts_name_what_was_computed_on(backend: Backend) -> None:
    facts = dict(backend.facts())
    expected = {"framework": backend.name, "device": DEVICE, "precision": "float64", "tf32": False, "deterministic": True}
    assert {name: facts[name] for name in expected} == expected
    assert facts["version"]
    assert facts["device_name"]
    assert facts["threads"] >= 1
    assert all(isinstance(value, (str, int, float, bool)) for value in facts.values())


def test_facts_name_what_makes_results_the_same_again(backend: Backend) -> None:
    told = str(backend.facts()[SETTINGS[backend.name]])
    assert told in (":4096:8", ":16:8") if backend.name == "torch" else "--xla_gpu_deterministic_ops=true" in told.split()


def test_the_same_call_gives_the_same_bytes(backend: Backend) -> None:
    """Reductions whose order is left to the device would differ in the last digit."""
    draw = np.random.default_rng(0)
    net = FullyConnected(input_dim=8, width=64, depth=2, activation="tanh")
    images = Convolutional(image=(6, 6, 2), width=8, depth=2, activation="relu")
    theta, filters = net.initialize(0, range(3)), images.initialize(0, range(2))
    x, y, pictures = draw.standard_normal((12, 8)), draw.standard_normal((12, 1)), draw.standard_normal((10, 72))

    def results() -> list[np.ndarray]:
        flow = backend.train(net, theta, x, y, times=(1.0,), step=0.25, integrator="rk4")
        kernels = backend.hierarchy(net, theta, x, order=3)
        return [flow.observed("f"), kernels[3], backend.ntk(images, filters, pictures), backend.limiting_kernels(net, x)[1]]

    first, second = results(), results()
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


def test_synchronize_waits_without_complaint(backend: Backend) -> None:
    assert backend.synchronize() is None


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU: nothing to refuse")
@pytest.mark.parametrize("name", BACKENDS)
def test_cuda_without_a_gpu_is_refused_at_once(name: str) -> None:
    with pytest.raises(BackendUnavailable, match="cuda"):
        load(name, device="cuda")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU: auto takes it")
@pytest.mark.parametrize("name", BACKENDS)
def test_auto_without_a_gpu_is_the_cpu(name: str) -> None:
    assert load(name, device="auto").facts()["device"] == "cpu"


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "tpu"),
        ({"precision": "float16"}, "float16"),
        ({"threads": 0}, "threads"),
        ({"memory_bytes": 1000}, "memory_bytes"),
    ],
)
def test_unknown_settings_are_refused(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name, **settings)


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(ValueError, match="tensorflow"):
        load("tensorflow")


@pytest.mark.parametrize("name", BACKENDS)
def test_load_has_the_settings_of_the_backend(name: str) -> None:
    def settings(function: Callable[..., Backend]) -> dict[str, object]:
        return {n: p.default for n, p in inspect.signature(function).parameters.items() if n not in ("self", "name")}

    assert settings(load) == settings(type(load(name, device="cpu", threads=1)))


# A process for each: jax's peak cannot be set back. The first call, on few points, takes what stays: workspaces, code.
ON_THE_DEVICE = """
import sys
import numpy as np
from ntkbench.backends import load
from ntkbench.networks import Convolutional, FullyConnected

name, number = sys.argv[1], int(sys.argv[2])
net, n, outputs, mib = (
    (FullyConnected(64, 512, 2, "tanh"), 6000, "one", 128),
    (FullyConnected(64, 256, 2, "tanh", output_dim=10), 400, "full", 64),
    (Convolutional((4, 4, 3), 128, 2, "tanh", output_dim=10), 200, "trace", 128),
)[number]
backend = load(name, device="cuda", threads=1, memory_bytes=mib * 2**20)
theta, x = net.initialize(0, [0]), np.random.default_rng(0).standard_normal((n, net.input_dim))
backend.ntk(net, theta, x[:4], outputs=outputs)
if name == "torch":
    import torch
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = backend.ntk(net, theta, x, outputs=outputs).nbytes
    peak = torch.cuda.max_memory_allocated()
else:
    import jax
    (device, *_) = jax.devices("cuda")
    before = device.memory_stats()["bytes_in_use"]
    result = backend.ntk(net, theta, x, outputs=outputs).nbytes
    peak = device.memory_stats()["peak_bytes_in_use"]
print(peak - before, result, mib * 2**20)
"""


@pytest.mark.skipif(DEVICE != "cuda", reason="the memory of a GPU: NTKBENCH_TEST_DEVICE=cuda, which `make test-gpu` sets")
@pytest.mark.parametrize("number", range(3), ids=["a kernel above the budget", "every two outputs", "images"])
@pytest.mark.parametrize("name", BACKENDS)
def test_temporaries_stay_near_the_budget_on_the_device(name: str, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_DEVICE, name, str(number)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True,
    )  # fmt: skip
    grown, result, budget = map(int, done.stdout.split())
    assert 0 < grown <= 1.25 * budget + result
