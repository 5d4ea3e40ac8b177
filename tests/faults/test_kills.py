"""A study that is killed at random moments ends as if nothing had happened; what would show that it did not, is shown to."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from ntkbench.records import read_record, write_record
from tests.faults import kills
from tests.scratch import ROOT
from tests.workflow.conftest import Checkout, make

MADE = {"figures", "generated", "main.pdf"}
MEASURED = "measurements/convergence/stub/plain/torch.npz"


def test_five_kills_change_nothing(finished_once: Checkout, tmp_path: Path) -> None:
    root = make(tmp_path / "checkout").root
    done = kills.Kills()
    drawn = kills.moments(seed=0, count=5, least=0, most=5)
    kills.disturb(root, "tiny", 2, drawn, finished_once.root / "results" / "tiny", done)
    assert done.whole + done.alone + done.finished == 5
    assert done.whole > 0
    assert done.alone > 0
    assert len(done.making) > 1


def flip(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)


def one_ulp(path: Path) -> None:
    record = read_record(path)
    arrays = {name: array.copy() for name, array in record.arrays.items()}
    arrays["16/number"][2] = np.nextafter(arrays["16/number"][2], 1)
    write_record(path, arrays, record.facts)


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        (MEASURED, one_ulp, [f"{MEASURED} differs"]),
        ("inputs/convergence/stub/flat.npz", Path.unlink, ["inputs/convergence/stub/flat.npz is in one run only"]),
        ("quantities/convergence/stub.csv", flip, ["quantities/convergence/stub.csv differs"]),
        ("verdicts.csv", flip, ["verdicts.csv differs"]),
        ("performance.csv", flip, []),
        ("performance.csv", Path.unlink, ["performance.csv is in one run only"]),
    ],
)
def test_what_differs_is_found(finished: Checkout, name: str, change: Callable[[Path], None], found: list[str]) -> None:
    results = finished.root / "results" / "tiny"
    shutil.copytree(results, finished.root / "other")
    assert kills.differences(results, finished.root / "other") == []
    change(finished.root / "other" / name)
    assert kills.differences(results, finished.root / "other") == found


def test_what_is_forgotten_is_all_but_what_is_kept(finished: Checkout) -> None:
    results = finished.root / "results" / "tiny"
    before = {path.name for path in results.iterdir()}
    assert before > set(kills.MEASURED)
    kills.forget(finished.root, "tiny", kills.MEASURED)
    assert {path.name for path in results.iterdir()} == set(kills.MEASURED)
    assert {path.name for path in (finished.root / "paper").iterdir()} == {
        path.name for path in (ROOT / "paper").iterdir()
    } - MADE


def test_what_was_left_and_what_is_not_whole_is_found(finished: Checkout) -> None:
    results = finished.root / "results" / "tiny"
    shutil.copytree(results, finished.root / "other")
    assert [problem for path in kills.files(finished.root) for problem in kills.unreadable(path)] == []
    assert kills.unfollowed(finished.root) == ""
    (results / "measurements" / "x.parts").mkdir()
    (results / ".x.csv.1.tmp").touch()
    told = kills.differences(finished.root / "other", results)
    assert sorted(line.rpartition("/")[2] for line in told) == [
        ".x.csv.1.tmp is in one run only",
        ".x.csv.1.tmp was left",
        "x.parts was left",
    ]
    flip(results / MEASURED)
    flip(results / "quantities/convergence/stub.csv")
    verdicts = results / "verdicts.csv"
    verdicts.write_bytes(verdicts.read_bytes()[:-3])
    problems = [problem for path in kills.files(finished.root) for problem in kills.unreadable(path)]
    assert len(problems) == 2
    assert "is damaged" in kills.unfollowed(finished.root)


def test_a_process_that_outlives_its_group_is_found() -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        assert len(list(kills.of_session(leader.pid))) == 2
        leader.kill()
        leader.wait()
        (alive,) = kills.of_session(leader.pid)
        alive.kill()
        psutil.wait_procs([alive], timeout=10)
        assert list(kills.of_session(leader.pid)) == []
