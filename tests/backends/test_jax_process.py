"""What the jax backend settles for its whole process (in processes of their own), and its blocks."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.backends import load
from ntkbench.backends.jax.blocks import Stretches, blocks
from ntkbench.networks import FullyConnected

SETTINGS = ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE", "PJRT_NPROC")
"""What this process has set already and a new one must set by itself."""

NET = FullyConnected(3, 4, 1, "tanh")


def in_a_new_process(code: str) -> str:
    """What the code prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={name: value for name, value in os.environ.items() if name not in SETTINGS},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_asked_for_are_threads_had(threads: int) -> None:
    code = (
        "from pathlib import Path; from ntkbench.backends import load\n"
        f"facts = load('jax', device='cpu', threads={threads}).facts()\n"
        "names = [p.read_text() for p in Path('/proc/self/task').glob('*/comm')]\n"
        "print(facts['threads'], sum('XLAEigen' in n for n in names) if names else facts['threads'])"
    )
    assert in_a_new_process(code) == f"{threads} {threads}"


def test_another_number_of_threads_is_refused_and_none_takes_what_is_there() -> None:
    code = (
        "from ntkbench.backends import load\n"
        "load('jax', device='cpu', threads=2)\n"
        "print(load('jax', device='cpu').facts()['threads'])\n"
        "try: load('jax', device='cpu', threads=1)\n"
        "except ValueError as error: print(error)"
    )
    there, refusal = in_a_new_process(code).splitlines()
    assert there == "2"
    assert "threads 1" in refusal
    assert "new process" in refusal


def test_flags_are_set_before_jax_reads_them_and_those_of_the_user_stay() -> None:
    code = (
        "import os; os.environ['XLA_FLAGS'] = '--xla_cpu_enable_fast_math=false'\n"
        "from ntkbench.backends import load; b = load('jax', device='cpu')\n"
        "print(os.environ['XLA_FLAGS'], os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'], b.facts()['deterministic'])"
    )
    assert in_a_new_process(code) == "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true false True"


def test_jax_imported_before_is_noticed() -> None:
    code = "import jax; from ntkbench.backends.jax import runtime; print(runtime.flags_in_time)"
    assert in_a_new_process(code) == "False"


def test_float32_results_of_a_float64_backend_are_refused() -> None:
    backend = load("jax", device="cpu", threads=1)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="float32"):
        backend.forward(NET, NET.initialize(0, [0]), np.zeros((2, 3)))


@given(total=st.integers(0, 200), largest=st.integers(0, 200))
def test_blocks_cover_an_axis_once_in_equal_sizes(total: int, largest: int) -> None:
    found = blocks(total, largest)
    array = np.arange(total)
    assert [i for block in found for i in array[block.kept]] == list(range(total))
    assert len({block.size for block in found}) == min(1, total)
    for block in found:
        assert block.size <= max(1, largest)
        cut = block.cut(array)
        assert len(cut) == block.size
        assert (cut[: len(block)] == array[block.kept]).all()
        assert (block.cut_points(array[:, None]) == cut[:, None]).all()


@given(total=st.integers(1, 1000), parts=st.lists(st.integers(1, 50), max_size=5))
def test_stretches_are_reported_whole(total: int, parts: list[int]) -> None:
    seen: list[int] = []
    stretches = Stretches(lambda done, _: seen.append(done), total)
    for part in parts:
        calls = list(stretches.calls(part))
        assert sum(calls) == part
        assert max(calls) <= max(1, total // 100)
        for steps in calls:
            stretches.report(steps)
    assert (seen[-1] if seen else 0) == sum(parts)
