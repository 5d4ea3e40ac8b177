"""`ntkbench doctor` on machines, tools and surroundings that do not suffice: every bad state is shown to be found."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ntkbench.doctor import machine, tools
from ntkbench.performance import planning
from ntkbench.performance.calibration import ONE_CORE
from ntkbench.report import paper
from tests.doctor.test_doctor import problems
from tests.scratch import ROOT

SMOKE = ROOT / "workflow" / "config" / "smoke.yaml"


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of four idle processors, as fast as the published one, with room; its results folder."""
    monkeypatch.setattr(machine, "calibrate", lambda: ONE_CORE)
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.3, 0.3, 0.3))
    monkeypatch.setattr(planning, "available_bytes", lambda: 2**36)
    give(monkeypatch, free=2**40)
    return tmp_path / "results"


def give(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """A disk with so many free bytes."""
    usage = shutil.disk_usage(Path.cwd())._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)


def states(results: Path, study: Path = SMOKE) -> dict[str, str]:
    return {finding.check: finding.state for finding in machine.check(study, results)}


def test_a_machine_that_suffices_is_sound_and_nothing_is_left_behind(calm: Path) -> None:
    assert states(calm) == dict.fromkeys(("processors", "speed", "memory", "results folder", "disk"), "ok")
    assert list(calm.parent.iterdir()) == []


def test_a_busy_machine_is_told(calm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.3, 0.3))
    assert states(calm)["processors"] == "note"


def test_processors_that_a_container_withholds_are_told(calm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.QUOTA.write_text("max 100000\n")
    assert machine.usable_cores() == 4
    machine.QUOTA.write_text("200000 100000\n")
    (told, *_) = machine.check(SMOKE, calm)
    assert (told.state, told.found[:29]) == ("note", "2 of 4 processors may be used")
    assert "CORES=2" in told.mend
    machine.QUOTA.unlink()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert machine.usable_cores() == 1


def test_a_slow_machine_is_told(calm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "calibrate", lambda: replace(ONE_CORE, interpreter=4 * ONE_CORE.interpreter))
    assert states(calm)["speed"] == "note"


def test_too_little_memory_is_found(calm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 2**28)
    (found,) = problems(machine.check(SMOKE, calm))
    assert found.startswith("memory: ")
    assert "available are 0.2 GiB" in found


def test_a_study_that_is_not_here_or_not_valid_is_told(calm: Path, tmp_path: Path) -> None:
    assert states(calm, tmp_path / "none.yaml")["memory"] == "note"
    (tmp_path / "broken.yaml").write_text("study: broken\n")
    (found,) = problems(machine.check(tmp_path / "broken.yaml", calm))
    assert "broken.yaml has" in found


@pytest.mark.parametrize(("free", "state"), [(2**29, "problem"), (2**31, "note")])
def test_a_full_disk_is_found(calm: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    give(monkeypatch, free)
    assert states(calm)["disk"] == state


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the folder in which not even root can write is Linux's /proc")
def test_a_folder_that_cannot_be_written_is_found(calm: Path) -> None:
    (found,) = problems(machine.check(SMOKE, Path("/proc/results")))
    assert found.startswith("results folder: /proc cannot be written to:")


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory with Snakefile and profile, and none of the variables that are heeded."""
    (tmp_path / "Snakefile").touch()
    (tmp_path / tools.PROFILE).parent.mkdir(parents=True)
    (tmp_path / tools.PROFILE).touch()
    monkeypatch.chdir(tmp_path)
    for name in tools.HEEDED:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_sound_tools_are_sound(checkout: Path) -> None:
    found = {finding.check: finding.state for finding in tools.check()}
    assert found == {"typesetting": "ok", "workflow": "ok", "surroundings": "ok"}


def test_a_font_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "DOCUMENT", '#set text(font: "No Such Serif")\nA line.\n')
    (found,) = problems([tools._typesetting()])
    assert "unknown font family" in found


def test_a_paper_that_cannot_be_typeset_for_lack_of_a_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ntkbench.report.paper", None)
    (found,) = problems([tools._typesetting()])
    assert found.startswith("typesetting: the paper's code cannot be imported")


def test_a_typst_that_does_not_know_what_it_is_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(source: str, *, root: str) -> tuple[bytes, list[str]]:
        return b"", []

    monkeypatch.setattr(paper.typst, "compile_with_warnings", older)
    (found,) = problems([tools._typesetting()])
    assert "unexpected keyword argument" in found


def test_a_workflow_without_profile_or_snakemake_is_found(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / tools.PROFILE).unlink()
    (found,) = problems([tools._workflow()])
    assert found.endswith("profiles/default/config.yaml is missing")
    (checkout / "Snakefile").unlink()
    assert tools._workflow().state == "note"
    monkeypatch.setattr(sys, "executable", "false")
    assert problems([tools._workflow()]) == ["workflow: snakemake does not start: no word"]


def test_variables_that_frameworks_heed_are_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = tools._surroundings()
    assert (found.state, found.found) == ("note", "JAX_PLATFORMS=cpu")
