"""What a cluster is asked for, as far as that can be seen without one; `make slurm-check` does the rest."""

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from ntkbench import config
from ntkbench.performance import planning
from ntkbench.performance.costs import ENGINES
from ntkbench.stages import session
from tests.workflow.conftest import STUDY, Checkout, fresh

__all__ = ["fresh"]

ROOT = Path(__file__).resolve().parent.parent.parent
PROFILES = {name: yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("default", "slurm")}
HERE_ONLY = {"resources"}
"""Of profiles/default: one GPU is one machine's."""


def asked(checkout: Checkout, *options: str) -> dict[str, dict[str, str]]:
    """What a job of each rule asks for, by the rule's name."""
    defaults = PROFILES["slurm"]["default-resources"]
    output = checkout.run("--dry-run", "--quiet", "host", "--default-resources", *defaults, *options)
    found = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", output, re.MULTILINE)
    return {rule: dict(part.split("=", 1) for part in resources.split(", ")) for rule, resources in found}


def test_a_cluster_is_run_by_the_rules_of_a_machine() -> None:
    """What decides which jobs run again, and what a failure does, is the same in both profiles."""
    shared = PROFILES["default"].keys() - HERE_ONLY
    assert {name: PROFILES["slurm"].get(name) for name in shared} == {name: PROFILES["default"][name] for name in shared}
    assert "resources" not in PROFILES["slurm"], "it would limit the GPUs of all nodes together"


def test_a_job_has_the_cores_of_every_study() -> None:
    """More threads than `cores` would be cut down to them."""
    studies = sorted((ROOT / "workflow" / "config").glob("*.yaml"))
    assert len(studies) >= 3
    assert max(config.load(path).threads for path in studies) <= PROFILES["slurm"]["cores"]


def test_every_job_asks_for_memory_and_time(fresh: Checkout) -> None:
    found = asked(fresh)
    assert {name.split("_")[0] for name in found} == {
        "inputs", "measure", "crosscheck", "analyse", "collect", "figure", "performance", "scaling", "paper", "all"
    }  # fmt: skip
    for name, resources in found.items():
        long = name.startswith(("measure", "performance", "all"))
        assert int(resources["runtime"]) == (1440 if long else 20), name
        assert int(resources["mem_mib"]) >= 2048, name


def test_a_process_has_more_memory_than_the_budget_of_its_backend(fresh: Checkout) -> None:
    found = asked(fresh)["measure_convergence_stub_1"]
    frameworks = max(engine.resident for engine in ENGINES.values()) // 2**20
    assert int(found["budget_mib"]) + frameworks <= int(found["mem_mib"])


def test_memory_that_is_counted_is_asked_for() -> None:
    study = config.load(ROOT / "workflow" / "config" / "paper.yaml")
    held = planning.host_memory(study)
    assert held.keys() == planning.priorities(study).keys()
    most = max(part.memory or 0 for job in planning.measurements(study, planning.ONE_CORE) for part in job)
    assert max(held.values()) == max(most, study.memory_bytes + max(engine.resident for engine in ENGINES.values()))


@pytest.mark.parametrize(("device", "gpus"), [("cpu", "0"), ("cuda", "1")])
def test_a_study_on_gpus_asks_for_them(fresh: Checkout, device: str, gpus: str) -> None:
    fresh.write_study({**STUDY, "device": device})
    found = asked(fresh)
    assert {name for name in found if "gpu" in found[name]} == {
        "measure_convergence_stub_1", "measure_convergence_stub_2", "performance"
    }  # fmt: skip
    assert found["measure_convergence_stub_1"]["gpu"] == found["performance"]["gpu"] == gpus


@pytest.mark.parametrize(("gpus", "seen"), [(0, ""), (1, "3")])
def test_a_job_sees_the_gpus_that_it_was_given(monkeypatch: pytest.MonkeyPatch, gpus: int, seen: str) -> None:
    for name in session.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with session.job(1, "a file", gpus):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def squeue(folder: Path, listed: str) -> None:
    """A stand-in that lists these jobs."""
    (folder / "squeue").write_text(f"#!{sys.executable}\nprint({listed!r}, end='')\n", encoding="utf-8")
    (folder / "squeue").chmod(0o755)


def test_jobs_of_an_earlier_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a checkout"
    squeue(tmp_path, f"12 rule_paper {place}\n13 rule_paper {tmp_path}\n14_2 rule_measurements_a_b {place}\n15 (null) {place}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(session.AlreadyRunning, match="in this checkout: 12 14_2; let them end, or `scancel 12 14_2`"):
        session.check_orphans(place)


@pytest.mark.parametrize("listed", ["", "12 rule_paper /another/checkout"])
def test_jobs_elsewhere_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    squeue(tmp_path, listed)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    session.check_orphans(tmp_path)


def test_the_executor_is_pinned_within_what_the_extra_allows() -> None:
    """Its list of pins, apart from the lock, against pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extra,) = map(Requirement, project["optional-dependencies"]["slurm"])
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+) ", (ROOT / "requirements" / "slurm.txt").read_text(), re.MULTILINE))
    assert extra.specifier.contains(pins[extra.name])
    assert set(pins) == {extra.name, f"{extra.name}-jobstep"}
