"""Construction: device, precision, threads, flags, and refusals."""

import inspect
import shutil
from collections.abc import Callable

import pytest

from ntkbench.backends import BACKENDS, Backend, BackendUnavailable, load

HAS_GPU = shutil.which("nvidia-smi") is not None


def test_facts_name_what_was_computed_on(backend: Backend) -> None:
    facts = dict(backend.facts())
    expected = {"framework": backend.name, "device": "cpu", "precision": "float64", "tf32": False, "deterministic": True}
    assert {name: facts[name] for name in expected} == expected
    assert facts["version"]
    assert facts["device_name"]
    assert facts["threads"] >= 1
    assert all(isinstance(value, (str, int, float, bool)) for value in facts.values())


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
