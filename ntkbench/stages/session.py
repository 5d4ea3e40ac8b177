"""One run of the workflow: its lock, and what its jobs run in."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class AlreadyRunning(Exception):
    """Another run works in this checkout."""


class NotWritable(Exception):
    """A folder that the run must write to, and cannot."""


_held: list[IO[str]] = []
_interrupted: list[str] = []


def check_writable(*folders: Path) -> None:
    """Make the folders that are missing.

    Raises:
        NotWritable: if one of them cannot be made or written to.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotWritable(f"{folder} cannot be made: {error.strerror}; a run writes there") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise NotWritable(
                f"{folder} is read-only; a run writes there: `chmod -R u+w {folder}`, or work in a clone of your own"
            )


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


def note_interruptions() -> None:
    """Remember for `farewell` that the user ended the run; what the signals do stays as it is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, partial(_noted, before))


def _noted(before: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
    _interrupted.append(signal.Signals(number).name)
    before(number, frame)


def farewell(results: Path) -> str:
    """What a run says last that has not reached its end."""
    if _interrupted:
        text = f"Interrupted ({_interrupted[0]}). Run the same command again: it goes on from here, finished work is kept."
    else:
        text = "Not finished: what failed is named above. Mend it and run again; finished work is kept."
    if (results / "verdicts.csv").exists():
        text += f"\nThe tables in {results} and the paper may be of an earlier run."
    return text


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
