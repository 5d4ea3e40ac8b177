"""What the check says of a machine on which no cluster starts, and of one on which something went otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import contextlib, pathlib, sys
from tests.slurm import check, cluster, machine

machine.slurm = contextlib.nullcontext
machine.executor = lambda folder: folder
check.on_this_machine = lambda root, study: None
check.copy_checkout = lambda root: None

class Started(cluster.Cluster):
    def _start(self):
        {start}

check.Cluster = Started
sys.argv = ["check", "--study", "smoke", "--folder", {folder!r}]
sys.exit(check.main())
"""


@pytest.mark.parametrize(
    ("start", "code", "says"),
    [
        ("self._daemon('no-such-daemon')", 77, "slurm-check skipped: no-such-daemon is not installed"),
        ("raise check.Disproved('a result differs')", 1, "slurm-check failed: a result differs"),
    ],
)
def test_a_machine_without_a_cluster_is_no_failure_and_a_difference_is(
    tmp_path: Path, start: str, code: int, says: str
) -> None:
    program = PROGRAM.format(start=start, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (code, says), done.stderr
