"""The command that checks a GPU, on a machine without one: what it refuses, what it calls a failure, what it writes."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.environments import core

command = importlib.import_module("tests.gpu.__main__")
SOUND = core.Outcome({"passed": 3, "skipped": 1}, (), "", 2.0)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What stands for the tests, for the comparisons and for the doctor."""
    told: dict[str, Any] = {"tests": SOUND, "float64": {"told": "so"}, "float32": {"told": "so"}, "variables": {}}

    def tests(python: Path, workers: int, limit: float, options: Any, **variables: str) -> core.Outcome:
        told["variables"] = variables
        found: core.Outcome = told["tests"]
        return found

    monkeypatch.setattr(core, "run", tests)
    monkeypatch.setattr(command, "deviations", lambda device, precision, workers: told[precision])
    monkeypatch.setattr(command, "doctor", lambda: [{"check": "typesetting", "state": "problem", "found": "", "mend": ""}])
    return told


def run(monkeypatch: pytest.MonkeyPatch, output: Path, device: str = "cpu") -> int:
    monkeypatch.setattr(sys, "argv", ["tests.gpu", "--device", device, "--output", str(output)])
    code: int = command.main()
    return code


def test_without_a_gpu_nothing_is_tested_and_nothing_written(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "gpu_present", lambda: False)
    assert run(monkeypatch, tmp_path / "results.json", "cuda") == 1
    assert "no NVIDIA GPU answers" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


def test_the_backends_of_the_tests_compute_there_and_all_is_written(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "gpu_present", lambda: True)
    assert run(monkeypatch, tmp_path / "results.json", "cuda") == 0
    assert parts["variables"]["NTKBENCH_TEST_DEVICE"] == "cuda"
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["device"], written["core_tests"]["counts"]["passed"]) == ("cuda", 3)
    assert written["deviations"]["float32"] == {"told": "so"}
    assert "torch" in written["environment"]["versions"]


@pytest.mark.parametrize(
    "changed",
    [
        {"tests": core.Outcome({"passed": 3}, ("tests/a.py::b",), "", 2.0)},
        {"tests": core.Outcome({"passed": 3}, (), "ended after 200 s", 2.0)},
        {"tests": core.Outcome({"skipped": 3}, (), "", 2.0)},
        {"float32": {"unfinished": "ended after 110 s"}},
    ],
)
def test_what_fails_or_does_not_end_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], tmp_path: Path, changed: dict[str, Any]
) -> None:
    parts |= changed
    assert run(monkeypatch, tmp_path / "results.json") == 1


def test_a_comparison_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "DEVIATIONS", 0.1)
    assert command.deviations("cpu", "float32", 1) == {"unfinished": "ended after 0.1 s"}
