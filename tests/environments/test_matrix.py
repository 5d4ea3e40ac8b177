"""The runner of the core tests tells apart what passes, fails, hangs or cannot be installed, and the page tells the same."""

import sys
import tomllib
from pathlib import Path

import pytest

from tests.environments import core, matrix
from tests.environments.matrix import Row
from tests.matrix.combinations import Combination, NotInstalled, combinations

ROOT = core.ROOT


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project of its own, whose core tests are those of one folder."""
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(core, "ROOT", tmp_path)
    monkeypatch.setattr(core, "PLACES", ("tests",))
    return tmp_path / "tests"


def run(limit: float = 60, workers: int = 1) -> core.Outcome:
    return core.run(Path(sys.executable), workers, limit, ("-p", "no:randomly"))


def test_every_place_of_the_core_tests_is_there() -> None:
    found = core.files()
    assert len(found) > 15
    assert all((ROOT / name).is_file() for name in found)
    assert all(any(name.startswith(place) for name in found) for place in core.PLACES)
    assert all((ROOT / name).is_file() for name in core.LEFT_OUT)


def test_passed_failed_and_skipped_are_counted(suite: Path) -> None:
    (suite / "test_a.py").write_text(
        "import pytest\ndef test_one(): pass\n@pytest.mark.skip(reason='x')\ndef test_two(): pass\n"
    )
    outcome = run()
    assert dict(outcome.counts) == {"passed": 1, "skipped": 1}
    assert (outcome.wrong, outcome.unfinished, outcome.passed) == ((), "", True)
    (suite / "test_b.py").write_text(
        "import pytest\n@pytest.mark.parametrize('x', ['a b'])\ndef test_three(x): assert x == 1\n"
    )
    outcome = run(workers=2)
    assert outcome.wrong == ("tests/test_b.py::test_three[a b]",)
    assert not outcome.passed
    assert matrix.judged(outcome)[0] == "failed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nonsense\n", "pytest ended with 2"),
        ("import os\ndef test_one(): os.abort()\n", "pytest ended with -6"),
        ("", "pytest ended with 5"),
    ],
    ids=["not collected", "crashed", "no tests"],
)
def test_what_does_not_come_to_its_end_has_not_passed(suite: Path, text: str, told: str) -> None:
    (suite / "test_a.py").write_text(text)
    found = run()
    assert told in found.unfinished
    assert not found.passed


def test_what_hangs_is_ended_with_all_that_it_has_started(suite: Path, tmp_path: Path) -> None:
    (suite / "test_a.py").write_text("import time\ndef test_one(): time.sleep(3600)\n")
    assert "ended after 1 s: tests/test_a.py" in run(limit=1).unfinished
    # A child that outlives its parent still holds the lock.
    lock = tmp_path / "lock"
    assert core.within(1, ["flock", str(lock), "sh", "-c", "sleep 3600 & wait"], tmp_path / "log", {}) is None
    assert core.within(60, ["flock", str(lock), "true"], tmp_path / "log", {}) == 0


def test_a_log_that_breaks_off_tells_what_it_can() -> None:
    log = "tests/a.py::one PASSED [ 10%]\ntests/a.py::two[x y] FAILED [ 20%]\ntests/a.py::three "
    found = core.outcome(log, "ended after 1 s", 1.0)
    assert (dict(found.counts), found.wrong, found.passed) == ({"passed": 1, "failed": 1}, ("tests/a.py::two[x y]",), False)
    assert not core.outcome("tests/a.py::one PASSED", "ended after 1 s", 1.0).passed


def test_what_cannot_be_installed_is_not_run_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(combination: Combination, folder: Path) -> Path:
        raise NotInstalled("no python3.12 on the path")

    monkeypatch.setattr(matrix, "install", refused)
    row = matrix.tried(combinations()[1], tmp_path, 1)
    assert (row.outcome, row.reason, row.python, row.passed) == ("not run", "no python3.12 on the path", "3.12", 0)
    assert "not run: no python3.12 on the path" in matrix.markdown([row])


@pytest.mark.parametrize(
    ("outcomes", "code"), [(["passed"], 0), (["passed", "not run"], 3), (["not run", "failed"], 1), (["failed", "passed"], 1)]
)
def test_the_exit_code_tells_failed_from_not_run(outcomes: list[str], code: int) -> None:
    assert matrix.exit_code([Row("a", "3.11", "2", "0", "2", outcome) for outcome in outcomes]) == code


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        Row("locked", "3.11.7", "2", "0", "2", "passed", 12, 0, 1, 60, "abc", ""),
        Row("newest", "3", "2", "0", "2", "not run"),
    ]
    matrix.write(tmp_path / "matrix.csv", rows)
    assert list(matrix.read(tmp_path / "matrix.csv").values()) == rows
    assert matrix.read(tmp_path / "none.csv") == {}


def test_the_page_has_the_table_of_every_combination() -> None:
    rows = matrix.read(matrix.TABLE)
    assert list(rows) == [combination.name for combination in combinations()]
    start, end = matrix.MARKS
    assert f"{start}\n{matrix.markdown(list(rows.values()))}\n{end}" in matrix.PAGE.read_text(encoding="utf-8")


def test_no_combination_is_published_that_failed() -> None:
    """A bound that does not hold is raised, or what is wrong is mended."""
    assert not [row for row in matrix.read(matrix.TABLE).values() if row.outcome == "failed"]


def test_the_combinations_reach_both_ends_of_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = {text.split()[-1] for text in project["classifiers"] if text.startswith("Programming Language :: Python :: 3.")}
    assert {combination.python for combination in combinations()} == supported
    assert project["requires-python"] == f">={min(supported, key=lambda text: int(text.split('.')[1]))}"
