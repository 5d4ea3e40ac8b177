"""What holds for the whole process: XLA reads its flags and makes its threads once, when the first array is made.

Three things are therefore set here and checked when a backend is constructed: deterministic GPU operations, no grab of all GPU
memory, and the number of CPU threads.

Threads: XLA's pool takes its size from `PJRT_NPROC` (else from the CPUs that the process may use). A backend that is asked for
a number of threads sets the variable if jax has not started, and refuses if jax runs with another number: start a new
process then. Cholesky and eigendecompositions on the CPU run in scipy's LAPACK, whose threads follow `OPENBLAS_NUM_THREADS`
as it was when scipy was imported. CPU affinity is left alone: two measurements side by side would choose the same CPUs.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_THREADS = "PJRT_NPROC"
_POOL = "XLAEigen"
"""Part of the name of XLA's compute threads as Linux lists them."""


def _set_flags() -> bool:
    """Set the flags; False if jax was imported before without them, so that nobody knows whether it read them."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    flags = os.environ.get("XLA_FLAGS", "")
    if _DETERMINISTIC in flags.split():
        return True
    os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()
    return "jax" not in sys.modules


flags_in_time = _set_flags()

import jax  # noqa: E402  (after the flags)

from ntkbench.backends.base import BackendUnavailable  # noqa: E402

_started_with: int | None = None


def start(threads: int | None) -> int:
    """Start XLA on the CPU, with that many threads if it has not started yet; returns the number of threads in use.

    Raises:
        ValueError: if XLA runs with another number of threads than asked for.
    """
    global _started_with
    if _started_with is None:
        before = os.environ.get(_THREADS)
        if threads is not None:
            os.environ[_THREADS] = str(threads)
        jax.devices("cpu")
        _started_with = _pool_size() or threads or int(before or os.cpu_count() or 1)
    if threads not in (None, _started_with):
        raise ValueError(
            f"threads {threads} cannot be had: jax runs with {_started_with} in this process, and XLA fixes the number at its "
            f"first use; start a new process, or set {_THREADS}={threads} before the first use of jax"
        )
    return _started_with


def _pool_size() -> int:
    """Threads in XLA's pool, counted where Linux lists them; 0 elsewhere."""
    names = [task / "comm" for task in Path("/proc/self/task").glob("*")]
    return sum(_POOL in name.read_text() for name in names if name.exists())


def find_device(name: str) -> jax.Device:
    """The device called `auto`, `cpu` or `cuda`; BackendUnavailable if `cuda` is asked for and jax sees none."""
    if name != "cpu":
        try:
            return jax.devices("cuda")[0]
        except RuntimeError as error:
            if name == "cuda":
                raise BackendUnavailable("device 'cuda' was asked for, and jax sees no GPU: choose 'cpu' or 'auto'") from error
    return jax.devices("cpu")[0]


def demand_full_precision() -> None:
    """float64 where it is asked for, and matrix products without TF32 or bfloat16."""
    update: Callable[[str, object], None] = jax.config.update
    update("jax_enable_x64", True)
    update("jax_default_matmul_precision", "highest")


def matmul_precision() -> str:
    """What jax uses for matrix products now."""
    return str(jax.config.values["jax_default_matmul_precision"])
