"""A full disk, a read-only one, too little memory, a worker that is killed for it: one line says what and how to go on."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ntkbench.records import read_record
from ntkbench.stages import session
from tests.faults import kills
from tests.faults.stages import Places, contents
from tests.workflow.conftest import Checkout

ROOT = Path(__file__).resolve().parents[2]
VERDICTS = "results/tiny/verdicts.csv"
FULL = r"RecordError: results/\S+ cannot be written: the disk is full: free some space and run again\n"
Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a file system in memory at a folder, or changes it; needs root."""
    mounted: list[Path] = []

    def at(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        change = "remount," if folder in mounted else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", change + options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield at
    for folder in set(mounted):
        subprocess.run(["umount", str(folder)], check=True)


def results(checkout: Checkout) -> dict[str, bytes]:
    """The tables that hold no times."""
    folder = checkout.root / "results" / "tiny"
    return {
        name: (folder / name).read_bytes() for name in ("verdicts.csv", "crosscheck.csv", "quantities/convergence/stub.csv")
    }


def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_space(
    fresh: Checkout, finished_once: Checkout, mount: Mount
) -> None:
    mount(fresh.root / "results", "size=52k")
    told = fresh.run(VERDICTS, fails=True)
    assert re.search(FULL, told)
    assert "Traceback" not in told
    kept = [path for path in kills.files(fresh.root) if path.suffix == ".npz"]
    assert kept
    assert [problem for path in kept for problem in kills.unreadable(path)] == []
    mount(fresh.root / "results", "size=64m")
    before = len(fresh.calls())
    fresh.run(VERDICTS)
    assert len(fresh.calls()) - before < 16
    assert results(fresh) == results(finished_once)


def test_every_stage_on_a_full_disk_leaves_what_was_there(
    made: Places, capsys: pytest.CaptureFixture[str], mount: Mount
) -> None:
    for name in ("crosscheck", "analyse", "collect", "figure"):
        made.run(name)
    whole = contents(Path(made.folder))
    shutil.move(made.folder, "kept")
    mount(Path(made.folder), "size=1m")
    shutil.copytree("kept", made.folder, dirs_exist_ok=True)
    with Path(made.folder, "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                break
    for name in ("crosscheck", "analyse", "collect"):
        with pytest.raises(SystemExit):
            made.run(name)
        told = capsys.readouterr().err
        assert re.fullmatch(FULL, told)
    with pytest.raises(session.NotWritable, match=f"{made.folder}/.lock cannot be written: the disk is full: free some space"):
        session.lock(Path(made.folder))
    Path(made.folder, ".lock").unlink()
    Path(made.folder, "filler").unlink()
    assert contents(Path(made.folder)) == whole
    for name in ("crosscheck", "analyse", "collect"):
        made.run(name)
    assert contents(Path(made.folder)) == whole


def test_a_run_in_a_read_only_folder_is_refused_before_any_job(finished: Checkout, mount: Mount) -> None:
    shutil.rmtree(finished.root / "results")
    before = finished.calls()
    mount(finished.root / "results", "ro,size=1m")
    told = finished.run(VERDICTS, fails=True)
    assert told.splitlines()[-1].startswith(
        "ntkbench: results is read-only; a run writes there: `chmod -R u+w results`, or work in"
    )
    assert "Traceback" not in told
    assert finished.calls() == before


def test_a_disk_that_becomes_read_only_is_named(made: Places, capsys: pytest.CaptureFixture[str], mount: Mount) -> None:
    shutil.move(made.folder, "kept")
    mount(Path(made.folder), "size=1m")
    shutil.copytree("kept", made.folder, dirs_exist_ok=True)
    mount(Path(made.folder), "ro,size=1m")
    with pytest.raises(SystemExit):
        made.run("crosscheck")
    told = capsys.readouterr().err
    assert (
        told == f"RecordError: {made.crosschecks[0]} cannot be written: the file system is read-only: work in a writable copy\n"
    )
    mount(Path(made.folder), "rw,size=1m")
    made.run("crosscheck")


def test_a_worker_that_is_killed_is_named_and_the_run_goes_on_from_there(fresh: Checkout, finished_once: Checkout) -> None:
    """By SIGKILL, as the kernel does for want of memory."""
    (fresh.root / "broken").write_text("measure killed", encoding="utf-8")
    told = fresh.run(VERDICTS, fails=True)
    for case in ("plain", "flat"):
        for backend in ("torch", "jax"):
            record = f"results/tiny/measurements/convergence/stub/{case}/{backend}.npz"
            (line,) = [line for line in told.splitlines() if line.startswith(f"Killed: the job that makes {record} (process ")]
            assert line.endswith(
                "Unless somebody ended it, the system did for want of memory (`dmesg` tells): take fewer --cores, a smaller "
                "memory_gib or smaller widths in workflow/config/tiny.yaml, or other programs off the machine."
            )
    assert "Not finished: what failed is named above." in told
    (fresh.root / "broken").unlink()
    assert "Killed" not in fresh.run(VERDICTS)
    assert results(fresh) == results(finished_once)


GREEDY = """
import resource, sys
from pathlib import Path
import numpy as np
from ntkbench import claims
from ntkbench.stages.session import job
from tests.faults.stages import CLAIM_ID, Cheap, Places

class Greedy(Cheap):
    def measure(self, backend, case, data, width, root):
        np.ones(2**26 if width == 64 else 1)
        return super().measure(backend, case, data, width, root)

place = Places()
claims.get = lambda name: Greedy()
place.run("inputs")
with job(1, place.measured["torch"][0]):
    from ntkbench import backends
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.measure import measure
    backends.load("torch", threads=1)
    if sys.argv[1] == "little":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))
    measure([Cell.make(**place.cells()[0])], "torch", 1, 2**30, [Path(place.inputs[0])], [Path(place.measured["torch"][0])])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size of a process is read from /proc")
def test_a_measurement_without_memory_is_named_and_keeps_its_widths(tmp_path: Path) -> None:
    def measured(memory: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", GREEDY, memory], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    failed = measured("little")
    assert failed.returncode == 1
    line = failed.stderr.splitlines()[-1]
    assert line.startswith("MeasurementFailed: convergence/initialization plain torch, width 64: Unable to allocate 512. MiB")
    assert line.endswith(": take fewer --cores, a smaller memory_gib, fewer seeds or smaller widths; finished widths are kept")
    assert "Traceback" not in failed.stderr
    parts = tmp_path / Places().measured["torch"][0].replace("torch.npz", "torch.parts")
    assert sorted(path.name for path in parts.iterdir()) == ["16.npz", "32.npz"]
    done = measured("enough")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("kept from an interrupted run") == 2
    assert not parts.exists()


BUDGET = """
import sys
from pathlib import Path
from ntkbench.stages.session import job
from tests.tiny import TINY

with job(1, "torch.npz"):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.measure import measure
    from ntkbench.stages.prepare import prepare
    case = TINY["claims"]["hierarchy/truncation"]["defaults"] | {"depth": 2, "widths": [8, 16, 512]}
    cells = [Cell.make("hierarchy/truncation", "tiny", case, 1, "cpu", "float64")]
    prepare(cells, [Path("inputs.npz")])
    measure(cells, "torch", 1, int(sys.argv[1]), [Path("inputs.npz")], [Path("torch.npz")])
"""


def test_a_budget_that_is_too_small_is_named_and_another_one_will_do(tmp_path: Path) -> None:
    def measured(budget: int) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", BUDGET, str(budget)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    failed = measured(2**20)
    assert failed.returncode == 1
    line = failed.stderr.splitlines()[-1]
    assert line.startswith("MeasurementFailed: hierarchy/truncation tiny torch, width 512: ")
    assert re.search(r"need \d+ bytes per seed, memory_bytes is 1048576: raise it, or take fewer points$", line)
    assert not (tmp_path / "torch.npz").exists()
    done = measured(2**30)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("kept from an interrupted run") == 2
    assert read_record(tmp_path / "torch.npz").arrays
