"""Every command with arguments that it cannot use: exit code 2, one line that begins with its name, no traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from ntkbench import tables
from ntkbench.cli import app
from tests.test_records import VERDICT
from tests.tiny import TINY

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
CLAIM = "hierarchy/truncation"
LATIN1 = os.fsdecode(b"caf\xe9")

RUNS = {
    "missing": "is missing",
    "file": "is a file",
    "empty": "is missing",
    "damaged": "damaged",
    "cut": "truncated",
    "binary": "damaged",
    "folder": "is a folder",
    "[/b]": "is missing",
    LATIN1: "is missing",
}
"""Folders that hold no run, by name, and what is said of them."""

STUDIES = {
    "missing": "is missing",
    "empty": "is missing",
    "dream.yaml": "is missing",
    "broken.yaml": "no valid YAML",
    "binary.yaml": "no text in UTF-8",
    "unsound.yaml": "has 1 problem:",
    f"{LATIN1}.yaml": "is missing",
}

Cases = list[tuple[tuple[str, ...], str]]


def of_runs(*pattern: str, whole: bool = False) -> Cases:
    """The pattern with each bad run in the place of `RUN`; who needs a `whole` run may miss other files before the verdicts."""
    return [(tuple(part.replace("RUN", run) for part in pattern), "" if whole else words) for run, words in RUNS.items()]


CASES: dict[str, Cases] = {
    "claims": [],
    "schema": [],
    "catalogue": [],
    "show": [((name,), "unknown") for name in ("dream/claim", "", LATIN1, "[/b]")] + [(("hierarchy",), "choose one of")],
    "cite": [((name,), "claim or method") for name in ("dream/claim", LATIN1)],
    "validate": [((study,), words) for study, words in STUDIES.items()],
    "plan": [((study,), words) for study, words in STUDIES.items()],
    "scaleout": [((study,), words) for study, words in STUDIES.items()],
    "verdicts": of_runs("RUN"),
    "quantities": [
        *of_runs("RUN", CLAIM, "error_p3"),
        (("good", "dream/claim", "error_p3"), "unknown"),
        (("good", CLAIM, "dream"), "has no quantity dream"),
        (("good", CLAIM, "error_p3"), "is missing"),
    ],
    "compare": [
        *of_runs("RUN", "good"),
        *of_runs("good", "RUN"),
        (("good", "good", "--html", "file/page.html"), "cannot"),
    ],
    "publish": of_runs("RUN", whole=True),
    "trace": [
        *of_runs(CLAIM, "--results", "RUN", whole=True),
        (("dream/claim", "--results", "good"), ""),
        (("0.5", "--paper", "none"), ""),
    ],
    "crate": of_runs("RUN", whole=True),
}
"""By command: arguments, and a word of the answer. Commands without arguments have no bad ones, but for options."""

EXPLAINS = {"doctor": "what it cannot use is a finding of its own: exit code 1, and every check is made"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is no checkout, with good and bad runs and studies in it."""
    tables.write_table(tmp_path / "good" / "verdicts.csv", "verdicts", [VERDICT])
    whole = (tmp_path / "good" / "verdicts.csv").read_bytes()
    for name, content in {"damaged": b"claim,expectation\n1,2\n", "cut": whole[:-9], "binary": b"\xff\xfe\x00" + whole}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdicts.csv").write_bytes(content)
    (tmp_path / "folder" / "verdicts.csv").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "broken.yaml").write_text("study: [")
    (tmp_path / "binary.yaml").write_bytes(b"study: \xff\n")
    (tmp_path / "unsound.yaml").write_text(yaml.safe_dump({**TINY, "study": "unsound", "seed": -1}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "250"})


def refusal_faults(result: Any, words: str) -> list[str]:
    """What is wrong with the way in which a command refused."""
    found = []
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return [f"a traceback: {type(result.exception).__name__}: {result.exception}"]
    if result.exit_code != 2:
        found.append(f"exit code {result.exit_code}: {result.output[:300]}")
    first, *others = result.stderr.splitlines() or [""]
    if not first.startswith("ntkbench: "):
        found.append(f"does not begin with the command's name: {first}")
    # A study's problems stand below each other.
    if others and " problem" not in first:
        found.append(f"more than one line: {result.stderr}")
    if words not in result.stderr:
        found.append(f"does not say {words!r}: {result.stderr}")
    return found


def test_every_command_has_its_bad_arguments_here() -> None:
    assert set(COMMANDS) == set(CASES) | set(EXPLAINS)
    assert all(CASES[name] or name in ("claims", "schema", "catalogue") for name in CASES)


@pytest.mark.parametrize("command", CASES)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(command: str, place: Path) -> None:
    found = {}
    for arguments, words in CASES[command]:
        if faults := refusal_faults(run(command, *arguments), words):
            found[arguments] = faults
    assert found == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_and_too_many_arguments_are_usage_errors(command: str, place: Path) -> None:
    for arguments in (("--dream",), ("a", "b", "c", "d", "--dream=1")):
        result = run(command, *arguments)
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 2 or command in EXPLAINS


def test_a_doctor_answers_whatever_study_it_is_given(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ntkbench import doctor

    seen = []
    monkeypatch.setattr(doctor, "examine", lambda study, results: seen.append(study) or [])
    assert run("doctor", "missing").exit_code == 0
    assert seen == [Path("workflow/config/missing.yaml")]


@pytest.mark.parametrize(
    ("raised", "code", "text", "fault"),
    [
        (ValueError("no"), 1, "", "a traceback"),
        (SystemExit(1), 1, "ntkbench: no", "exit code 1"),
        (SystemExit(2), 2, "no", "does not begin"),
        (SystemExit(2), 2, "ntkbench: no\nand no", "more than one line"),
        (SystemExit(2), 2, "ntkbench: yes", "does not say 'no'"),
        (SystemExit(2), 2, "ntkbench: no", None),
    ],
)
def test_the_check_of_refusals_can_fail(raised: BaseException, code: int, text: str, fault: str | None) -> None:
    class Result:
        exception, exit_code, stderr, output = raised, code, text, text

    found = refusal_faults(Result(), "no")
    assert (found == []) if fault is None else any(fault in one for one in found)


@pytest.mark.parametrize("target", ["good/verdicts.csv/page.html", "/proc/page.html"])
def test_an_output_that_cannot_be_written_is_one_line(place: Path, target: str) -> None:
    assert refusal_faults(run("compare", "good", "good", "--html", target), "cannot") == []


@pytest.mark.parametrize("command", [("verdicts",), ("quantities",), ("compare", "{other}")])
def test_what_a_table_holds_is_shown_as_it_is(place: Path, command: tuple[str, ...]) -> None:
    """Square brackets are no styles of the terminal's, and no style is an error."""
    odd = {
        **VERDICT,
        "claim": CLAIM,
        "case": "[/b]",
        "expectation": "[red]",
        "backend": "[/]",
        "reason": "[/i]",
        "verdict": "invalid",
    }
    folder = place / "[/dim]"
    for run_of in (folder, place / "other"):
        tables.write_table(run_of / "verdicts.csv", "verdicts", [odd if run_of == folder else {**odd, "verdict": "supported"}])
    quantity = {"claim": CLAIM, "case": "[/b]", "control": None, "backend": "[/]", "quantity": "error_p3"}
    rows = [{**quantity, "width": 8, "along": None, "seed": seed, "value": 1.0 + seed} for seed in range(3)]
    tables.write_table(folder / "quantities" / f"{CLAIM}.csv", "quantities", rows)
    name, *others = command
    more = [part.format(other=place / "other") for part in others] + ([CLAIM, "error_p3"] if name == "quantities" else [])
    result = run(name, str(folder), *more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "[/b]" in result.output


def interrupted(program: str, when: Callable[[], bool]) -> tuple[int, str]:
    """Exit code and stderr of a Python program that gets Ctrl-C once something is so."""
    # A shell's background jobs ignore it, and so would their children.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heed + program]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as started:
        while not when():
            assert started.poll() is None, started.stderr.read()
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        return started.wait(60), started.stderr.read() if started.stderr else ""


def test_ctrl_c_leaves_no_traceback(tmp_path: Path) -> None:
    mark = tmp_path / "measuring"
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    program = (
        "import time, pathlib\nfrom ntkbench.cli import app\nfrom ntkbench.performance import calibration\n"
        f"def calibrate(precision):\n    pathlib.Path({str(mark)!r}).touch()\n    time.sleep(60)\n"
        f"calibration.calibrate = calibrate\napp(['plan', {str(path)!r}])"
    )
    code, stderr = interrupted(program, mark.exists)
    assert code in (1, 130)
    assert "Traceback" not in stderr
    # Without the command line's care it would be one.
    mark.unlink()
    bare = program.rsplit("\n", 1)[0] + "\ncalibration.calibrate('float64')"
    assert "KeyboardInterrupt" in interrupted(bare, mark.exists)[1]
