"""The rule on this machine: no alarm between equal runs, and half as much work again is seen. About eight minutes, alone.

`make benchmark-rule`. Every run is a process of its own, as it is when two runs are compared.
"""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ntkbench.backends import BACKENDS
from tests.performance import compare, rounds
from tests.performance.primitives import PRIMITIVES

ROOT = Path(__file__).resolve().parent.parent.parent
PAIRS = 20
CHOSEN = [str(primitive) for primitive in PRIMITIVES if str(primitive).startswith(("ntk, n=16 ", "K3, n=8 ", "K4, n=8 "))]


def run(path: Path, work: float = 1.0) -> rounds.Run:
    """A few primitives in both frameworks, ours done `work` times."""
    speed = Path(__file__).with_name("test_speed.py")
    tests = [f"{speed}::test_speed[float64-{name}-{primitive}]" for name in BACKENDS for primitive in CHOSEN]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "performance", "--benchmark-enable", "--benchmark-quiet"]
    command += [f"--benchmark-json={path}", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]
    changes = {"NTKBENCH_BENCHMARK_QUICK": "1", "NTKBENCH_BENCHMARK_WORK": str(work)}
    subprocess.run(command, cwd=ROOT, env=os.environ | changes, check=True, stdout=subprocess.DEVNULL)
    return rounds.read(path)


@pytest.mark.performance
@pytest.mark.slow
def test_equal_runs_raise_no_alarm_and_half_as_much_work_again_does(tmp_path: Path) -> None:
    runs = [run(tmp_path / f"{i}.json") for i in range(PAIRS + 1)]
    found = [compare.compare(base, new) for base, new in pairwise(runs)]
    alarms = sum(any(change.slower for change in changes) for changes in found)
    largest = sorted(max(change.now / change.before for change in changes) for changes in found)
    slowed = compare.compare(runs[-1], run(tmp_path / "slowed.json", work=1.5))
    print(f"{alarms} alarms in {PAIRS} pairs of equal runs; largest change in each: {', '.join(f'{x:.2f}' for x in largest)}")
    print(f"half as much work again: {', '.join(f'x {c.now / c.before:.2f} (p {c.p:.0e})' for c in slowed)}")
    assert alarms <= 1
    assert len(slowed) == len(CHOSEN) * len(BACKENDS)
    assert all(change.slower for change in slowed)
