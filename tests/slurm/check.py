"""That a Slurm cluster computes what one machine does, whatever is killed on the way: `make slurm-check`.

A cluster of one node is started on the loopback address. A study runs there through `profiles/slurm/`, in a copy of the
checkout. Meanwhile a job's process is killed, another job is cancelled (both are to be tried again), then the whole run is
killed. The next run is to refuse while the cluster still has jobs of the first, and the one after that to go on without
measuring again what was measured. Then every result is compared with a run of the same code on this machine.

Exit codes: 0 proven, 1 not so, 77 it cannot run here (the last line says why).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil

from ntkbench import config
from tests.scratch import FOLDERS, ROOT, copy_checkout
from tests.slurm import machine
from tests.slurm.cluster import Cluster, NotStarted
from tests.slurm.compare import compared, differences

SKIPPED = 77
MEMORY_MIB = 2**16
"""What the node claims to have: Slurm's book-keeping is not to decide what this machine can run."""
OPTIONS = (
    "--slurm-no-account",
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
    "--latency-wait=10",
)
"""What differs from a real cluster: there is no accounting, and nobody wants to wait."""
GROUPS = ("inputs=30", "claims=9", "measurements=2")
"""So that the starts of the study's many short jobs do not take longer than what they do."""
PATIENCE = 600.0


class Disproved(Exception):
    """Something that the check is about did not happen, or happened otherwise."""


class Run:
    """Snakemake in a copy of the checkout, its jobs on the cluster."""

    def __init__(self, root: Path, cluster: Cluster, site: Path, *options: str) -> None:
        self.log = Path(tempfile.mkstemp(suffix=".log", dir=cluster.folder)[1])
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "slurm", *OPTIONS, *options]
        with self.log.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                command,
                cwd=root,
                env={**cluster.environment(), "PYTHONPATH": str(site)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def told(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, fails: bool) -> None:
        """Until its end.

        Raises:
            Disproved: if it ends well and should fail, or the other way round.
        """
        if (self.process.wait() != 0) is not fails:
            raise Disproved(f"the run ended with {self.process.returncode}:\n" + "\n".join(self.told().splitlines()[-30:]))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """While it runs; Disproved if it ends before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                last = "\n".join(self.told().splitlines()[-30:])
                raise Disproved(f"before the run ended or {PATIENCE:.0f} s were over, not seen: {what}\n{last}")
            time.sleep(0.2)

    def kill(self) -> None:
        """As a power cut on the machine that started it would; its jobs stay on the cluster."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def measuring() -> dict[str, psutil.Process]:
    """The processes that measure, by the number of their Slurm job."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
            if len(words) > 1 and words[1].endswith("measure.py"):
                found[process.environ()["SLURM_JOB_ID"]] = process
        except (psutil.NoSuchProcess, KeyError):
            continue
    return found


def disturb(run: Run, cluster: Cluster) -> None:
    """Kill a process that measures and cancel the job of another one; both have to be tried again."""
    run.until(lambda: len(measuring()) > 0, "a process that measures")
    number, process = next(iter(measuring().items()))
    process.kill()
    say(f"killed the process of job {number}")
    run.until(lambda: len(measuring().keys() - {number}) > 0, "another job that measures")
    other = next(iter(measuring().keys() - {number}))
    cluster.ask("scancel", other)
    say(f"cancelled job {other}")
    run.until(lambda: run.told().count("Trying to restart job") >= 2, "both jobs tried again")


def interrupt(run: Run, cluster: Cluster, root: Path, jobs: int, again: Callable[[], Run]) -> dict[Path, bytes]:
    """Kill the whole run when a quarter of its measurements are there.

    Args:
        jobs: that measure, in the whole study.
        again: starts the next run.

    Returns:
        The measurements that were complete, with what they held.
    """
    run.until(lambda: len(_complete(root)) >= jobs / 4 and len(measuring()) > 0, "a quarter of the measurements")
    run.kill()
    left = cluster.jobs("running,pending")
    say(f"killed the run; the cluster still has {len(left)} of its jobs")
    refused = again()
    refused.wait(fails=True)
    if "Slurm still has jobs of an earlier run in this checkout" not in refused.told():
        raise Disproved(f"the next run was not refused for the jobs that were left:\n{refused.told()}")
    cluster.ask("scancel", *left)
    while cluster.jobs("running,pending,completing"):
        time.sleep(0.5)
    return {path: path.read_bytes() for path in _complete(root)}


def _complete(root: Path) -> list[Path]:
    """Measurements whose job has succeeded: it leaves a mark beside its first case's."""
    marks = root.glob("results/*/measurements/*/*/*/*.done")
    return [record for mark in marks if (record := mark.with_suffix(".npz")).exists()]


def on_this_machine(root: Path, study: str) -> None:
    """Run the study here, unless that has been done with the sources as they are."""
    if (root / "paper" / "main.pdf").exists() and _made_of_these_sources(root):
        return
    shutil.rmtree(root, ignore_errors=True)
    say(f"runs {study} on this machine, to compare with, in {root}")
    copy_checkout(root)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", f"study={study}", "summary=False"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Disproved(f"the run on this machine failed:\n{done.stderr[-3000:]}")


def _made_of_these_sources(root: Path) -> bool:
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".smk", ".yaml")]
    copies = [root / path.relative_to(ROOT) for path in sources]
    return all(copy.exists() and copy.read_bytes() == path.read_bytes() for path, copy in zip(sources, copies, strict=True))


def on_the_cluster(root: Path, study: str, site: Path) -> None:
    """Run it through Slurm, disturbed, killed and resumed."""
    copy_checkout(root)
    found = config.load(ROOT / "workflow" / "config" / f"{study}.yaml")
    jobs = sum(map(len, found.batches.values())) * len(found.backends)
    with tempfile.TemporaryDirectory(prefix="ntkbench-") as folder, Cluster(Path(folder), 2, MEMORY_MIB) as cluster:
        options = ("--cores", "1", "--group-components", *GROUPS, "--config", f"study={study}", "summary=False")
        first = Run(root, cluster, site, *options)
        disturb(first, cluster)
        kept = interrupt(first, cluster, root, jobs, lambda: Run(root, cluster, site, *options))
        last = Run(root, cluster, site, *options)
        last.wait(fails=False)
        say(f"resumed to its end; {len(cluster.jobs())} Slurm jobs in all")
        if again := [str(path.relative_to(root)) for path, held in kept.items() if path.read_bytes() != held]:
            raise Disproved(f"measured again though they were complete: {', '.join(again)}")
        say(f"{len(kept)} measurements of before were kept")
        rest = Run(root, cluster, site, *options)
        rest.wait(fails=False)
        if "Nothing to be done" not in rest.told():
            raise Disproved(f"a finished study has something to do:\n{rest.told()}")


def say(text: str) -> None:
    """With the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


STARTED = time.monotonic()


def _ended(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="smoke")
    parser.add_argument("--local", type=Path, default=Path("build/smoke"), help="a run on this machine, made if it is missing")
    parser.add_argument("--folder", type=Path, default=Path("build/slurm"), help="for the run through Slurm")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _ended)
    try:
        with machine.slurm():
            site = machine.executor((given.folder / "site").resolve())
            root = (given.folder / given.study).resolve()
            shutil.rmtree(root, ignore_errors=True)
            on_this_machine(given.local, given.study)
            on_the_cluster(root, given.study, site)
            found = list(differences(given.study, given.local, root))
    except (machine.Lacking, NotStarted) as reason:
        print(f"slurm-check skipped: {reason}")
        return SKIPPED
    except Disproved as disproved:
        print(f"slurm-check failed: {disproved}")
        return 1
    print("\n".join(found))
    say(f"{compared(given.study, root)} records, tables and figures compared, {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
