"""A study whose run is killed again and again, against one that nobody disturbs: `python -m tests.faults.kills --help`.

The moments are drawn from a seed, and so is what dies: the whole run, as in a power cut, or its main process alone, whose jobs
then live on. Whatever was done until then, what comes out in the end must be the same to the last bit, timings apart.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from ntkbench.files import NOTE
from ntkbench.records import read_record
from tests.scratch import copy_checkout

TIMED = ("performance", "performance.csv", "scaling.csv", "environment.json")
"""What says how long something took differs from run to run."""
MEASURED = ("inputs", "measurements")
"""What kills of the later stages leave alone."""
FOLLOW = f"""
from pathlib import Path
from ntkbench import lineage
for note in [*Path("results").rglob("*{NOTE}"), *Path("paper").rglob("*{NOTE}")]:
    lineage.check(note.with_name(note.name.removesuffix("{NOTE}")))
"""


@dataclass
class Kills:
    """What was done to a study.

    Attributes:
        whole, alone: how often the whole run and its main process alone were killed.
        making: how often a kill met a job of each stage; `none` where no job was at work.
        finished: how often the study came to its end before it was killed; it then began anew.
        waited: how often a run waited for jobs that outlived the run before.
    """

    whole: int = 0
    alone: int = 0
    making: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    waited: int = 0


def start(root: Path, study: str, cores: int, log: Path) -> "subprocess.Popen[str]":
    """A run in a session of its own, so that it can be killed as a whole."""
    options = ["--cores", str(cores), "--config", f"study={study}", "summary=False"]
    outside = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "SNAKEMAKE_PROFILE")
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    with log.open("w") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *options],
            cwd=root,
            env=environment,
            stdout=told,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def finish(root: Path, study: str, cores: int, log: Path) -> None:
    """Let a run come to its end.

    Raises:
        AssertionError: if it fails; the message is what it printed.
    """
    status = start(root, study, cores, log).wait()
    assert status == 0, log.read_text()


def disturb(
    root: Path,
    study: str,
    cores: int,
    moments: Iterator[tuple[float, bool]],
    reference: Path,
    done: Kills,
    kept: tuple[str, ...] = (),
) -> None:
    """Kill a study once for each of `moments`, and let it finish.

    Args:
        root: the checkout, in which an earlier call may have begun.
        moments: seconds after a run has taken the lock, when its jobs begin, and whether all of it dies.
        reference: the results of an undisturbed run.
        done: to be updated.
        kept: what of the results is not made again where the study comes to its end before it is killed.

    Raises:
        AssertionError: if anything is wrong: a file that is not whole, a process that outlives its killed group, other results.
    """
    log = root / "run.log"
    for seconds, whole in moments:
        process = start(root, study, cores, log)
        try:
            _begun(process, root)
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill(process, root, whole, done)
            assert [problem for file in files(root) for problem in unreadable(file)] == []
        else:
            assert process.returncode == 0, log.read_text()
            assert differences(reference, root / "results" / study) == []
            assert unfollowed(root) == ""
            forget(root, study, kept)
            done.finished += 1
        done.waited += "waiting for it" in log.read_text()
    finish(root, study, cores, log)
    done.waited += "waiting for it" in log.read_text()
    assert differences(reference, root / "results" / study) == []
    assert unfollowed(root) == ""


def forget(root: Path, study: str, kept: tuple[str, ...]) -> None:
    """Remove what a study has made, but for what is `kept` of its results."""
    made = [*(root / "results" / study).iterdir(), *(root / "paper" / name for name in ("figures", "generated", "main.pdf"))]
    for path in made:
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _begun(process: "subprocess.Popen[str]", root: Path) -> None:
    """Wait for the lock, or for the end of a run that has nothing left to do: a slow machine takes long to come so far."""
    lock = root / "results" / ".lock"
    while process.poll() is None and not (lock.exists() and lock.read_text().strip() == str(process.pid)):
        time.sleep(0.05)


def _kill(process: "subprocess.Popen[str]", root: Path, whole: bool, done: Kills) -> None:
    marks = [_read(mark) for mark in (root / "results" / ".jobs").glob("*")]
    stages = {Path(made).parts[2].removesuffix(".csv") if made.startswith("results") else "paper" for made in marks if made}
    done.making.update(stages or {"none"})
    if whole:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(list(of_session(process.pid)), timeout=10)
        assert alive == []
        done.whole += 1
    else:
        process.kill()
        process.wait()
        done.alone += 1


def _read(mark: Path) -> str:
    try:
        return mark.read_text()
    except FileNotFoundError:
        return ""


def of_session(leader: int) -> Iterator[psutil.Process]:
    """The processes of a session that have not ended."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


def files(root: Path) -> Iterator[Path]:
    """What stages have written, notes included; a file that is being written is none of it yet."""
    for folder in ("results", "paper/figures", "paper/generated"):
        yield from (path for path in (root / folder).rglob("*") if path.suffix in (".npz", ".csv", ".json"))


def unreadable(path: Path) -> Iterator[str]:
    """What is wrong with a file by itself."""
    try:
        if path.suffix == ".npz":
            read_record(path)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif not path.read_bytes().endswith(b"\n"):
            yield f"{path} is cut"
    except FileNotFoundError:  # by a job that outlives its run
        return
    except Exception as error:
        yield f"{path}: {error}"


def differences(reference: Path, results: Path) -> list[str]:
    """What two runs of a study do not have alike, timings apart, and what neither should have left behind."""
    names = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} for folder in (reference, results)
    ]
    found = [f"{name} is in one run only" for name in names[0] ^ names[1]]
    found += [f"{path} was left" for path in results.rglob("*") if path.suffix in (".tmp", ".parts") or ".failed." in path.name]
    compared = 0
    for name in sorted(names[0] & names[1]):
        if name.endswith(NOTE) or name.split("/")[0] in TIMED:
            continue
        compared += 1
        if not alike(reference / name, results / name):
            found.append(f"{name} differs")
    return found if compared else ["there is nothing to compare"]


def alike(one: Path, other: Path) -> bool:
    """Records: names, types, shapes and every bit of the arrays. Else: every byte."""
    if one.suffix != ".npz":
        return one.read_bytes() == other.read_bytes()
    ours, theirs = (
        {name: (array.dtype, array.shape, array.tobytes()) for name, array in read_record(path).arrays.items()}
        for path in (one, other)
    )
    return ours == theirs


def unfollowed(root: Path) -> str:
    """What is wrong with the notes of a finished run, by the code of its own checkout."""
    done = subprocess.run([sys.executable, "-c", FOLLOW], cwd=root, capture_output=True, text=True, check=False)
    return done.stderr


def moments(seed: int, count: int, least: float, most: float) -> Iterator[tuple[float, bool]]:
    """After how many seconds a run is killed, and whether as a whole, three times as likely as its main process alone."""
    drawn = np.random.default_rng(seed)
    for _ in range(count):
        yield float(drawn.uniform(least, most)), bool(drawn.random() < 0.75)


def main() -> None:
    """Kill a study in scratch copies of this checkout, and print what was done."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="for the copies; an undisturbed run that is there is used again")
    parser.add_argument("--study", default="smoke")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--late", type=int, default=15, help="more kills, after all that is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--between", type=float, nargs=2, default=(0.0, 20.0), help="seconds of work")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    undisturbed, disturbed = given.folder / "undisturbed", given.folder / "disturbed"
    began = time.monotonic()
    if not undisturbed.exists():
        copy_checkout(undisturbed)
    finish(undisturbed, given.study, given.cores, given.folder / "undisturbed.log")
    print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(disturbed, ignore_errors=True)
    copy_checkout(disturbed)
    for what, count, kept in (("disturbed", given.kills, ()), ("disturbed late", given.late, MEASURED)):
        done, began = Kills(), time.monotonic()
        drawn = moments(given.seed, count, *given.between)
        if kept:
            forget(disturbed, given.study, kept)
        disturb(disturbed, given.study, given.cores, drawn, undisturbed / "results" / given.study, done, kept)
        print(f"{what}, seed {given.seed}: {time.monotonic() - began:.0f} s; {done}", flush=True)
    print("every array, every verdict and every other number that is no time is the same")


if __name__ == "__main__":
    main()
