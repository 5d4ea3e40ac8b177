"""A copy of the checkout in which a claim and two backends that cost nothing stand for the real ones."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scratch import copy_checkout

STUB_BACKEND = '''"""Stands for a framework."""

import numpy as np


class Stub:
    name = "{name}"
    device = "cpu"
    factor = 1.0

    def __init__(self, device, precision, threads, memory_bytes):
        self.settings = {{"device": "cpu", "precision": precision, "threads": threads, "numpy": np.__version__}}

    def facts(self):
        return self.settings

    def synchronize(self):
        pass

    def ntk(self, net, theta, x1, x2=None, *, outputs="one"):
        return np.zeros((1, len(x1), len(x1)))

    def matrix_products(self, shapes):
        return lambda: None


backend = Stub
'''
STUB = "convergence/stub"
BATCHED = ("inputs", "measure", "crosscheck")
STUDY: dict[str, Any] = {
    "study": "tiny",
    "seed": 1,
    "backends": ["torch", "jax"],
    "device": "cpu",
    "claims": {
        STUB: {
            "defaults": {
                "dataset": "sphere",
                "train_size": 3,
                "input_dim": 4,
                "activation": "tanh",
                "depth": 1,
                "widths": [4, 8, 16, 32],
                "seeds": 4,
            },
            "cases": {"plain": {}, "flat": {"control": "flat"}},
        }
    },
    "performance": {"rounds": 1, "curves": {"ntk": {"quantity": "ntk", "axis": "points", "sizes": [2, 3, 4]}}},
}


@dataclass(frozen=True)
class Checkout:
    """A copy to run the workflow in."""

    root: Path

    def command(self, *arguments: str, options: str = "study=tiny") -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--config", *options.split()]

    def environment(self) -> dict[str, str]:
        # A copy is of the test: what is compiled of it once need not be again in each of its jobs.
        outside = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "SNAKEMAKE_PROFILE", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if name not in outside}
        return {**kept, "STUB_LOG": str(self.root / "calls.log"), "COLUMNS": "200"}

    def start(self, *arguments: str, options: str = "study=tiny", stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        """In a session of its own, so that it can be killed as a whole."""
        return subprocess.Popen(
            self.command(*arguments, options=options),
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, options: str = "study=tiny", fails: bool = False) -> str:
        """What Snakemake printed."""
        done = subprocess.run(
            self.command(*arguments, options=options),
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *arguments: str) -> set[str]:
        """What the jobs of a dry run would do, for instance `measure plain jax`; a job of several cases does several things."""
        output = self.run(*arguments, "--dry-run", "--quiet", "host")
        jobs = set()
        for block in re.split(r"\n(?=(?:local)?rule )", output)[1:]:
            rule = re.match(r"(?:local)?rule (\w+):", block)
            outputs = re.search(r"    output: (.*)", block)
            assert rule is not None
            stage = next((name for name in BATCHED if rule[1].startswith(f"{name}_")), rule[1])
            if stage in BATCHED:
                made = re.findall(rf"{STUB}/([\w-]+)/?(\w*)\.(?:npz|csv)", outputs[1] if outputs else "")
                jobs |= {" ".join(filter(None, (stage, *case))) for case in made}
            else:
                backend = re.search(r"wildcards: backend=(\w+)", block)
                jobs.add(" ".join([stage, *(backend.groups() if backend else ())]))
        return jobs

    def write_study(self, study: dict[str, Any]) -> None:
        (self.root / "workflow" / "config" / f"{study['study']}.yaml").write_text(yaml.safe_dump(study))

    def append(self, file: str, text: str) -> None:
        with (self.root / file).open("a", encoding="utf-8") as opened:
            opened.write(text)

    def calls(self) -> list[str]:
        """What the stub claim measured, in order."""
        log = self.root / "calls.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def make(root: Path) -> Checkout:
    copy_checkout(root)
    package = root / "ntkbench"
    for name in ("torch", "jax"):
        shutil.rmtree(package / "backends" / name)
        (package / "backends" / name).mkdir()
        (package / "backends" / name / "__init__.py").write_text(STUB_BACKEND.format(name=name))
        (package / "backends" / name / "naive.py").touch()
    shutil.copy(Path(__file__).with_name("stub_claim.py"), package / "claims" / "convergence" / "stub.py")
    checkout = Checkout(root)
    checkout.write_study(STUDY)
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """Nothing has run yet."""
    return make(tmp_path / "checkout")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Only read: the workers of one run of the tests share it, the first that asks makes it."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root, done = folder / "finished" / "checkout", folder / "finished.done"
    with (folder / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(root.parent, ignore_errors=True)
            make(root).run()
            done.touch()
    return Checkout(root)


@pytest.fixture
def finished(finished_once: Checkout, tmp_path: Path) -> Checkout:
    """The tiny study has run to its end; a copy for each test."""
    shutil.copytree(finished_once.root, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")
