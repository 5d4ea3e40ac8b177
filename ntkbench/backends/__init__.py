"""How it is computed: one contract (`base.Backend`), one package per framework."""

import importlib

from ntkbench import names
from ntkbench.backends.base import Backend, BackendUnavailable, Trajectory

BACKENDS = ("torch", "jax")


def load(
    name: str, device: str = "auto", precision: str = "float64", threads: int | None = None, memory_bytes: int = 2**31
) -> Backend:
    """Make the backend called `name`; its framework is imported now and not before.

    Args:
        name: `torch` or `jax`.
        device, precision, threads, memory_bytes: as for `Backend`.

    Raises:
        ValueError: for an unknown name, or as `Backend`.
        BackendUnavailable: if the framework is not installed or `cuda` is asked for without a GPU.
    """
    names.check("backend", name, BACKENDS)
    try:
        module = importlib.import_module(f"ntkbench.backends.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "ntkbench":
            raise
        raise BackendUnavailable(f"backend {name!r} needs the package {error.name!r}: pip install {error.name}") from error
    backend: Backend = module.backend(device, precision, threads, memory_bytes)
    return backend


__all__ = ["BACKENDS", "Backend", "BackendUnavailable", "Trajectory", "load"]
