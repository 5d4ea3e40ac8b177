"""Killed, damaged, disagreeing, run twice: nothing half-made is read, and the next run goes on."""

import copy
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ntkbench import records, tables
from tests.workflow.conftest import STUDY, Checkout

VERDICTS = "results/tiny/verdicts.csv"
CASE = Path("results/tiny/measurements/convergence/stub/plain")
TORCH = str(CASE / "torch.npz")


def slow() -> dict[str, object]:
    study = copy.deepcopy(STUDY)
    study["claims"]["convergence/stub"]["cases"]["plain"]["seconds"] = 1.5
    return study


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within two minutes")


def kill(process: "subprocess.Popen[str]") -> None:
    """The main process and its jobs, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_is_resumed_at_the_next_width(fresh: Checkout) -> None:
    fresh.write_study(slow())
    process = fresh.start(VERDICTS)
    parts = fresh.root / CASE / "torch.parts"
    wait_until(lambda: (parts / "8.npz").exists(), "the second width")
    kill(process)
    assert not (fresh.root / CASE / "torch.npz").exists()
    before = fresh.calls()
    output = fresh.run(VERDICTS)
    done = [call for call in fresh.calls() if call.startswith("None torch")]
    assert done.count("None torch 4") == 1
    assert done.count("None torch 8") == 1
    assert done.count("None torch 32") == 1
    assert len(fresh.calls()) > len(before)
    assert not parts.exists()
    assert "convergence/stub plain torch: width 32 (4 of 4)" in output


def test_a_run_that_the_user_ends_says_so_and_not_that_something_failed(fresh: Checkout) -> None:
    fresh.write_study(slow())
    process = fresh.start(TORCH, stderr=subprocess.PIPE)
    wait_until(lambda: (fresh.root / CASE / "torch.parts" / "4.npz").exists(), "the first width")
    process.terminate()
    _, told = process.communicate()
    assert process.returncode != 0
    assert "Interrupted (SIGTERM). Run the same command again" in told
    assert "what failed" not in told


def test_a_run_that_fails_does_not_say_that_the_user_ended_it(fresh: Checkout) -> None:
    (fresh.root / "broken").write_text("inputs fails", encoding="utf-8")
    told = fresh.run(VERDICTS, fails=True)
    assert "Not finished: what failed is named above." in told
    assert "Interrupted" not in told


def test_a_folder_that_cannot_be_written_is_one_line_before_any_job(fresh: Checkout) -> None:
    shutil.rmtree(fresh.root / "paper")
    (fresh.root / "paper").touch()
    told = fresh.run(VERDICTS, fails=True)
    assert told.splitlines()[-1] == "ntkbench: paper cannot be made: File exists; a run writes there"
    assert "Traceback" not in told
    assert "Snakefile" not in told
    assert fresh.calls() == []


def test_parts_of_other_code_are_not_used(fresh: Checkout) -> None:
    fresh.write_study(slow())
    process = fresh.start(TORCH)
    wait_until(lambda: (fresh.root / CASE / "torch.parts" / "4.npz").exists(), "the first width")
    kill(process)
    fresh.append("ntkbench/seeding.py", "\n# changed\n")
    fresh.run(TORCH, options="study=tiny summary=False")
    assert fresh.calls().count("None torch 4") == 2


def test_a_second_run_is_refused_while_the_first_works(fresh: Checkout) -> None:
    fresh.write_study(slow())
    process = fresh.start(VERDICTS)
    try:
        wait_until(lambda: (fresh.root / CASE / "torch.parts" / "4.npz").exists(), "the first width")
        output = fresh.run(VERDICTS, fails=True)
        assert f"another run (process {process.pid}) works in this checkout" in output
    finally:
        kill(process)


def test_jobs_that_outlive_their_run_are_waited_for_and_not_disturbed(fresh: Checkout) -> None:
    fresh.write_study(slow())
    process = fresh.start(TORCH)
    wait_until(lambda: (fresh.root / CASE / "torch.parts" / "4.npz").exists(), "the first width")
    process.kill()
    process.wait()
    (mark,) = (fresh.root / "results" / ".jobs").iterdir()
    job = int(mark.name.rpartition("-")[2])
    os.kill(job, signal.SIGSTOP)  # however long the next run takes to start
    log = fresh.root / "told.log"
    with log.open("w") as file:
        process = fresh.start(TORCH, options="study=tiny summary=False", stderr=file.fileno())
    wait_until(lambda: f"`kill {job}` there ends it at once" in log.read_text(), "the message")
    assert f"ntkbench: process {mark.name} of an earlier run still makes {TORCH}: waiting for it" in log.read_text()
    os.kill(job, signal.SIGCONT)
    assert process.wait() == 0
    assert [call for call in fresh.calls() if call.startswith("None torch")] == [f"None torch {w}" for w in (4, 8, 16, 32)]
    assert not list((fresh.root / "results" / ".jobs").iterdir())


def test_what_was_being_written_when_a_run_was_killed_is_removed(fresh: Checkout) -> None:
    left = fresh.root / CASE / ".torch.npz.abc.tmp"
    left.parent.mkdir(parents=True)
    left.touch()
    fresh.run(TORCH, options="study=tiny summary=False")
    assert not left.exists()


def test_a_damaged_measurement_is_refused_by_name_and_remade(finished: Checkout) -> None:
    path = finished.root / CASE / "jax.npz"
    intact = records.read_record(path).arrays["16/number"]
    payload = bytearray(path.read_bytes())
    payload[payload.find(intact.tobytes())] ^= 1
    path.write_bytes(payload)
    output = finished.run(fails=True)
    assert "measurements/convergence/stub/plain/jax.npz is damaged" in output
    assert "delete it and run again" in output
    path.unlink()
    finished.run()
    assert (records.read_record(path).arrays["16/number"] == intact).all()


def test_a_measurement_of_another_case_is_refused(finished: Checkout) -> None:
    path = finished.root / CASE / "jax.npz"
    path.write_bytes((path.parent.parent / "flat" / "jax.npz").read_bytes())
    assert "plain/jax.npz is foreign: its case is 'flat', expected 'plain'" in finished.run(VERDICTS, fails=True)


def test_backends_that_disagree_fail_the_run_and_leave_the_evidence(fresh: Checkout) -> None:
    backend = fresh.root / "ntkbench" / "backends" / "jax" / "__init__.py"
    backend.write_text(backend.read_text().replace("factor = 1.0", "factor = 1.0 + 1e-8"))
    output = fresh.run(VERDICTS, fails=True)
    assert "convergence/stub plain: torch and jax disagree" in output
    assert "number: max_rel 1e-08, allowed 1e-10" in output
    assert not (fresh.root / VERDICTS).exists()
    kept = tables.read_table(fresh.root / "results/tiny/crosscheck/convergence/stub/plain.failed.csv", "crosscheck")
    assert kept["agrees"].tolist() == [False]
    backend.write_text(backend.read_text().replace("factor = 1.0 + 1e-8", "factor = 1.0"))
    fresh.run(VERDICTS)
    assert not list((fresh.root / "results").rglob("*.failed.csv"))


def test_divergence_is_recorded_and_makes_the_verdict_invalid(fresh: Checkout) -> None:
    claim = fresh.root / "ntkbench" / "claims" / "convergence" / "stub.py"
    claim.write_text(claim.read_text().replace("np.exp(0.1 * draws)", "np.where(draws > 1.2, np.nan, np.exp(0.1 * draws))"))
    fresh.run(VERDICTS)
    facts = records.read_record(fresh.root / CASE / "torch.npz").facts
    assert sum(facts["nonfinite"].values()) > 0
    verdicts = tables.read_table(fresh.root / VERDICTS, "verdicts")
    assert set(verdicts["verdict"]) == {"invalid"}
