"""What a job costs on the cluster beside what it does: `python -m tests.slurm.overhead`, prints a Markdown table.

Eight measurements that compute nothing, each in an allocation of its own, then all in one, then on this machine without Slurm.
Counted are the seconds for which the allocation is held, by Slurm's clock, which knows whole seconds.
"""

import copy
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.slurm import machine
from tests.slurm.check import MEMORY_MIB, Run
from tests.slurm.cluster import Cluster
from tests.workflow.conftest import STUB, STUDY, Checkout, make

CASES = 8
TARGETS = [f"results/tiny/measurements/{STUB}/c{number}/torch.done" for number in range(CASES)]


def study() -> dict[str, Any]:
    """Of cases that cost nothing, each a job of its own."""
    found = copy.deepcopy(STUDY)
    found["claims"][STUB]["cases"] = {
        f"c{number}": {"scale": 1.0 + number, "control": "flat" if number else None} for number in range(CASES)
    }
    return found


def held(cluster: Cluster, kind: str) -> float:
    """Seconds for which the jobs of a kind have held their allocations, all together."""
    lines = cluster.ask("squeue", "--noheader", "--states=completed", "--format=%S %e %k").splitlines()
    spans = [line.split()[:2] for line in lines if kind in line]
    return sum((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() for start, end in spans)


def checkout(root: Path) -> Checkout:
    """With the study, its inputs prepared."""
    made = make(root)
    made.write_study(study())
    prepared = [f"results/tiny/inputs/{STUB}/c{number}.done" for number in range(CASES)]
    made.run(*prepared, options="study=tiny summary=False")
    return made


def main() -> None:
    """See the module."""
    with machine.slurm(), tempfile.TemporaryDirectory(prefix="ntkbench-") as folder:
        site = machine.executor(Path("build/slurm/site").resolve())
        print("| measurements in an allocation | seconds that it is held, per measurement |\n|---|---|")
        for number, together in enumerate((1, CASES)):
            root = Path(folder) / f"checkout{number}"
            checkout(root)
            with tempfile.TemporaryDirectory(prefix="ntkbench-") as own, Cluster(Path(own), 2, MEMORY_MIB) as cluster:
                options = (
                    "--cores",
                    "1",
                    "--group-components",
                    f"measurements={together}",
                    "--config",
                    "study=tiny",
                    "summary=False",
                )
                Run(root, cluster, site, *TARGETS, *options).wait(fails=False)
                print(f"| {together} | {held(cluster, 'measure') / CASES:.1f} |", flush=True)
        here = checkout(Path(folder) / "here")
        start = time.monotonic()
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *TARGETS, "--config", "study=tiny", "summary=False"]
        subprocess.run(command, cwd=here.root, env=here.environment(), capture_output=True, check=True)
        print(f"| without Slurm, one core, the run's own start included | {(time.monotonic() - start) / CASES:.1f} |")


if __name__ == "__main__":
    main()
