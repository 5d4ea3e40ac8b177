"""One run at a time, and what a job's script runs in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ntkbench.backends.base import BackendUnavailable
from ntkbench.files import RecordError
from ntkbench.performance.timing import TimingFailed
from ntkbench.stages import session
from ntkbench.stages.crosscheck import CrosscheckFailed
from ntkbench.stages.measure import MeasurementFailed

ROOT = Path(__file__).resolve().parent.parent.parent
HOLDER = "import sys, time\nfrom pathlib import Path\nfrom ntkbench.stages.session import lock\nlock(Path(sys.argv[1]))\n"


def test_a_lock_is_refused_to_others_and_dies_with_its_process(tmp_path: Path) -> None:
    program = HOLDER + "print('held', flush=True)\ntime.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(session.AlreadyRunning, match=f"another run \\(process {holder.pid}\\)"):
            session.lock(tmp_path)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    done = subprocess.run([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_folders_are_made_or_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.check_writable(tmp_path / "results" / "tiny")
    assert (tmp_path / "results" / "tiny").is_dir()
    (tmp_path / "paper").touch()
    with pytest.raises(session.NotWritable, match=f"{tmp_path}/paper cannot be made: File exists"):
        session.check_writable(tmp_path, tmp_path / "paper")
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode & os.W_OK))
    with pytest.raises(session.NotWritable, match=f"{tmp_path} is read-only; a run writes there: `chmod -R u"):
        session.check_writable(tmp_path / "results", tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told_from_a_failure(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda received, frame: seen.append(received))
    monkeypatch.setattr(session, "_interrupted", [])
    try:
        session.note_interruptions()
        assert session.farewell(tmp_path).startswith("Not finished: what failed is named above.")
        os.kill(os.getpid(), number)
        assert seen == [number]
        told = session.farewell(tmp_path)
    finally:
        signal.signal(number, before)
    assert told == f"Interrupted ({number.name}). Run the same command again: it goes on from here, finished work is kept."
    (tmp_path / "verdicts.csv").touch()
    assert "may be of an earlier run" in session.farewell(tmp_path)


def test_a_job_has_the_threads_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    with session.job(3, "a.npz"):
        assert {os.environ[name] for name in session.THREAD_VARIABLES} == {"3"}


@pytest.mark.parametrize(
    "error",
    [
        RecordError("x.npz is empty"),
        CrosscheckFailed("they differ"),
        MeasurementFailed("the kernel is not positive definite"),
        BackendUnavailable("no GPU"),
        TimingFailed("it ended without a result"),
    ],
)
def test_a_known_error_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit) as caught, session.job(1, "a.npz"):
        raise error
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"


def test_a_job_that_gets_ctrl_c_ends_by_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("7\n")
    heed = "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    work = (
        "from ntkbench.stages.session import job\nwith job(1, 'a.npz'):\n    print('at work', flush=True)\n    time.sleep(60)"
    )
    environment = os.environ | {session.RUN: f"7 {tmp_path}"}
    command = [sys.executable, "-c", heed + work]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "at work\n"
        assert len(list((tmp_path / ".jobs").iterdir())) == 1
        started.send_signal(signal.SIGINT)
        _, told = started.communicate(timeout=60)
    assert (started.returncode, told) == (-signal.SIGINT, "")
    assert list((tmp_path / ".jobs").iterdir()) == []


def test_an_unknown_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    with pytest.raises(ZeroDivisionError), session.job(1, "a.npz"):
        raise ZeroDivisionError


def run_in(folder: Path, owner: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if this process were a job of the run of `owner`; where the marks are."""
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv(session.RUN, f"{owner} {folder}")
    (folder / ".lock").write_text("7\n")
    return folder / ".jobs"


def test_a_job_has_a_mark_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = run_in(tmp_path, 7, monkeypatch)
    with session.job(1, "a.npz"):
        (mark,) = marks.iterdir()
        assert mark.read_text() == "a.npz"
        assert mark.name.endswith(f"-{os.getpid()}")
        assert "Killed" not in session.farewell(tmp_path / "tiny")
    assert list(marks.iterdir()) == []


def test_a_job_whose_run_has_made_way_for_another_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = run_in(tmp_path, 6, monkeypatch)
    with pytest.raises(SystemExit), session.job(1, "a.npz"):
        pytest.fail("the job went on")
    assert (
        capsys.readouterr().err == f"AlreadyRunning: the run that started this job has ended, and another works in {tmp_path}\n"
    )
    assert list(marks.iterdir()) == []


WORKER = """
import time
from ntkbench.stages.session import job
with job(1, "a.npz"):
    print(flush=True)
    time.sleep(60)
"""


def test_a_job_that_was_killed_is_named_and_its_mark_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = run_in(tmp_path, 7, monkeypatch)
    with subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert "Killed" not in session.farewell(tmp_path / "tiny")
        worker.kill()
    told = session.farewell(tmp_path / "tiny").splitlines()
    assert told[0].startswith("Killed: the job that makes a.npz (process ")
    assert "`dmesg` tells" in told[0]
    assert "workflow/config/tiny.yaml" in told[0]
    session.await_jobs(tmp_path)
    assert list(marks.iterdir()) == []


def test_memory_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit), session.job(1, "a.npz"):
        raise MemoryError("8 GiB")
    told = capsys.readouterr().err
    assert told == "MemoryError: a.npz cannot be made in the memory there is (8 GiB): take fewer --cores, or smaller widths\n"
