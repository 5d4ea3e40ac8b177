"""One run of the workflow: its lock, and what its jobs run in."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class AlreadyRunning(Exception):
    """Another run works in this checkout."""


_held: list[IO[str]] = []


def lock(folder: Path) -> None:
    """Hold the checkout until this process ends, however it ends: the kernel releases what a killed process held.

    All studies write to `paper/`, so one run at a time is allowed.

    Raises:
        AlreadyRunning: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(
            f"another run (process {owner}) works in this checkout; wait for it to end, or use a second clone"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _held.append(file)


@contextmanager
def job(threads: int) -> Iterator[None]:
    """What a job's script runs in: as many threads as it was given, and one line instead of a traceback for known errors.

    Enter it before numpy is imported, which reads its thread count then; a backend looks after its framework's threads.
    """
    for library in THREAD_VARIABLES:
        os.environ[library] = str(threads)
    try:
        yield
    except Exception as error:
        from ntkbench.backends.base import BackendUnavailable
        from ntkbench.performance.timing import TimingFailed
        from ntkbench.records import RecordError
        from ntkbench.stages.crosscheck import CrosscheckFailed
        from ntkbench.stages.measure import MeasurementFailed

        if not isinstance(error, (BackendUnavailable, CrosscheckFailed, MeasurementFailed, RecordError, TimingFailed)):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
