"""One run of the workflow: its lock, and what its jobs run in.

Two kinds of kernel locks, which end with the process that holds them, however it ends: the run holds `results/.lock`, and each
of its jobs a mark of its own in `results/.jobs/`. By the marks the next run knows of jobs that outlived theirs, and a run that
ends which of its jobs were killed.
"""

import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ntkbench.files import RecordError, cannot_write

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
RUN = "NTKBENCH_RUN"
"""What a run hands to its jobs through the environment: its process and the folder of its lock."""


class AlreadyRunning(Exception):
    """Another run works in this checkout."""


class NotWritable(Exception):
    """A folder that the run must write to, and cannot."""


_held: list[IO[bytes]] = []
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
        NotWritable: if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / ".lock").open("a+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().decode().strip() or "unknown"
        file.close()
        raise AlreadyRunning(
            f"another run (process {owner}) works in this checkout; wait for it to end, or use a second clone"
        ) from error
    file.truncate(0)
    try:
        file.write(f"{os.getpid()}\n".encode())
    except OSError as error:
        file.close()
        raise NotWritable(cannot_write(folder / ".lock", error)) from error
    _held.append(file)
    os.environ[RUN] = f"{os.getpid()} {folder.absolute()}"


def check_orphans(folder: Path) -> None:
    """Refuse a run while jobs of an earlier one, whose main process was killed, are still queued or at work in the folder.

    They would write what the new run's jobs write. Asks Slurm, if it is there; of another engine's jobs this knows nothing.

    Raises:
        AlreadyRunning: if there are any; the message names them.
    """
    if shutil.which("squeue") is None:
        return
    # The executor names the rule in a job's comment; other jobs in the folder, such as the one that runs this, are no matter.
    told = subprocess.run(["squeue", "--me", "--noheader", "--format=%i %k %Z"], capture_output=True, text=True, check=False)
    jobs = [line.split(maxsplit=2) for line in told.stdout.splitlines()]
    if left := [job for job, note, place in jobs if note.startswith("rule_") and Path(place).resolve() == folder.resolve()]:
        named = " ".join(left)
        raise AlreadyRunning(
            f"Slurm still has jobs of an earlier run in this checkout: {named}; let them end, or `scancel {named}`, "
            "and run again"
        )


def await_jobs(folder: Path) -> None:
    """Wait for jobs of an earlier run that was killed without them: they would write what this run's jobs write."""
    for mark in sorted((folder / ".jobs").glob("*")):
        with suppress(FileNotFoundError), mark.open("r+") as file:
            if not _free(file):
                print(
                    f"ntkbench: process {mark.name} of an earlier run still makes {file.read()}: waiting for it, what it "
                    f"finishes is kept; `kill {mark.name.rpartition('-')[2]}` there ends it at once",
                    file=sys.stderr,
                    flush=True,
                )
                fcntl.flock(file, fcntl.LOCK_EX)
            mark.unlink()


def sweep(*folders: Path) -> None:
    """Remove what was being written when a run was killed; no job may be at work."""
    for folder in folders:
        for file in folder.rglob(".*.tmp"):
            file.unlink()


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
        last = "Not finished: what failed is named above. Mend it and run again; finished work is kept."
        text = "\n".join([*_killed(results), last])
    if (results / "verdicts.csv").exists():
        text += f"\nThe tables in {results} and the paper may be of an earlier run."
    return text


def _killed(results: Path) -> Iterator[str]:
    """A line for each job that ended without a word."""
    for mark in sorted((results.parent / ".jobs").glob("*")):
        with suppress(FileNotFoundError), mark.open("r+") as file:
            if _free(file):
                yield (
                    f"Killed: the job that makes {file.read()} (process {mark.name}). Unless somebody ended it, the system did "
                    f"for want of memory (`dmesg` tells): take fewer --cores, a smaller memory_gib or smaller widths in "
                    f"workflow/config/{results.name}.yaml, or other programs off the machine."
                )


def _free(file: IO[str]) -> bool:
    """Whether the process that wrote a mark has ended; holds the mark if so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _marked(makes: str) -> Iterator[None]:
    """Hold the mark of a job; outside of a run there is none.

    Processes that are forked from this one hold it too. The mark is held before the run's lock is read, the next run writes its
    lock before it looks for marks: one of the two sees the other.
    """
    if RUN not in os.environ:
        yield
        return
    owner, _, folder = os.environ[RUN].partition(" ")
    mark = Path(folder) / ".jobs" / f"{platform.node()}-{os.getpid()}"
    try:
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(makes, encoding="utf-8")
    except OSError as error:
        raise RecordError(cannot_write(mark, error)) from error
    with mark.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if (Path(folder) / ".lock").read_text(encoding="utf-8").strip() != owner:
                raise AlreadyRunning(f"the run that started this job has ended, and another works in {folder}")
            yield
        finally:
            mark.unlink(missing_ok=True)


@contextmanager
def job(threads: int, makes: str, gpus: int = 0) -> Iterator[None]:
    """What a job's script runs in: its threads and GPUs alone, a mark that says what it `makes`, and known errors in one line.

    On Ctrl-C, which all processes of a run get, it ends by the signal once its mark is gone: the run itself says what to do.
    A node may show all jobs its GPUs: who was given none is to see none.
    Enter it before numpy is imported, which reads its thread count then; a backend looks after its framework's threads.
    """
    for library in THREAD_VARIABLES:
        os.environ[library] = str(threads)
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        with _marked(makes):
            yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except Exception as error:
        from ntkbench.backends.base import BackendUnavailable
        from ntkbench.performance.timing import TimingFailed
        from ntkbench.stages.crosscheck import CrosscheckFailed
        from ntkbench.stages.measure import MeasurementFailed

        known = (AlreadyRunning, BackendUnavailable, CrosscheckFailed, MeasurementFailed, RecordError, TimingFailed)
        if isinstance(error, MemoryError):
            told = f"{makes} cannot be made in the memory there is ({error}): take fewer --cores, or smaller widths"
        elif isinstance(error, known):
            told = str(error)
        else:
            raise
        print(f"{type(error).__name__}: {told}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
