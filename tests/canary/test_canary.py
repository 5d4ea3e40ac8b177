"""Results move only with their version; each way to forget that is tried."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ntkbench.comparison import read_run
from ntkbench.files import write_bytes
from ntkbench.provenance import RESULTS_VERSION
from ntkbench.records import read_record, write_record
from ntkbench.tables import read_rows, write_table
from tests.canary.rule import MEND, Refused, faults, moved, renew
from tests.canary.study import CASES, HISTORY, STORED, files, run
from tests.scratch import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RECORD = Path("measurements", "hierarchy", "truncation", "plain", "jax.npz")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("canary"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of what is stored, as `stored`, and of its history."""
    shutil.copytree(STORED, tmp_path / "stored")
    shutil.copyfile(HISTORY, tmp_path / "history.csv")
    return tmp_path


def scale(path: Path, factor: float) -> None:
    """Multiply every array of a record."""
    record = read_record(path)
    write_record(path, {name: array * factor for name, array in record.arrays.items()}, record.facts)


def test_no_result_has_moved(measured: Path) -> None:
    found = moved(measured)
    assert found == [], (
        f"results differ from those of version {RESULTS_VERSION} by more than rounding. If that is meant, {MEND}"
    )
    assert {claim for claim, _, _ in read_run(measured).measurements} == set(CASES)


def test_the_stored_canary_is_of_this_version() -> None:
    assert faults(RESULTS_VERSION, CHANGELOG) == []


def test_rounding_is_let_pass_and_more_is_named(copy: Path) -> None:
    stored = copy / "stored"
    scale(stored / RECORD, 1 + 1e-12)
    assert moved(stored) == []
    scale(stored / RECORD, 1 + 1e-3)
    found = moved(stored)
    assert any(line.startswith("hierarchy/truncation plain jax, f: it is off by 0.001") for line in found)
    assert all("hierarchy/truncation plain jax" in line for line in found)


def edited(column: str, value: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def edit(stored: Path) -> None:
        rows = read_rows(stored / "verdicts.csv", "verdicts")
        invalid = next(row for row in rows if row["verdict"] == "invalid")
        invalid[column] = value(invalid)
        write_table(stored / "verdicts.csv", "verdicts", rows)

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (edited("estimate", lambda row: float(str(row["estimate"])) + 0.001), "the same draws, yet rounding allows"),
        (edited("control", lambda row: "another: supported"), "invalid ("),
        (edited("verdict", lambda row: "supported"), "supported ("),
        (lambda stored: (stored / RECORD).unlink(), "only in one of the two"),
    ],
)
def test_analysis_that_moved_is_named_where_the_verdict_is_invalid_too(
    copy: Path, edit: Callable[[Path], None], reason: str
) -> None:
    edit(copy / "stored")
    (line,) = moved(copy / "stored")
    assert reason in line


def test_a_bump_without_renewal_fails() -> None:
    found = " ".join(faults(RESULTS_VERSION + 1, CHANGELOG))
    assert f"the canary is of results version {RESULTS_VERSION}, the code is of {RESULTS_VERSION + 1}" in found


def test_renewal_without_a_bump_fails(copy: Path) -> None:
    stored, ledger = copy / "stored", copy / "history.csv"
    with pytest.raises(Refused, match="nothing is stored"):
        renew(STORED, RESULTS_VERSION, stored, ledger)
    assert ledger.read_bytes() == HISTORY.read_bytes()
    # By hand, past the command.
    scale(stored / RECORD, 1.5)
    (fault,) = faults(RESULTS_VERSION, CHANGELOG, stored, ledger)
    assert "renewed without a new results version" in fault


def test_a_version_is_not_left_out(copy: Path) -> None:
    with pytest.raises(Refused, match="nothing is stored"):
        renew(STORED, RESULTS_VERSION + 2, copy / "stored", copy / "history.csv")
    write_bytes(copy / "history.csv", b"results_version,sha256\n1,a\n3,b\n")
    assert "without a gap" in faults(3, CHANGELOG, copy / "stored", copy / "history.csv")[0]


def test_the_right_way_passes_once_the_changelog_says_so(copy: Path) -> None:
    """What was stored stands for a run of the next version."""
    made, stored, ledger = copy / "made", copy / "stored", copy / "history.csv"
    shutil.copytree(STORED, made)
    version = RESULTS_VERSION + 1
    text = (made / "environment.json").read_text(encoding="utf-8")
    old, new = (f'"results_version": {number}' for number in (RESULTS_VERSION, version))
    assert old in text
    write_bytes(made / "environment.json", text.replace(old, new).encode())
    scale(made / RECORD, 1.5)
    renew(made, version, stored, ledger)
    assert [(made / file).read_bytes() == (stored / file).read_bytes() for file in files(made)].count(False) == 0
    assert faults(version, CHANGELOG, stored, ledger) == [f"CHANGELOG.md says nothing of results version {version}"]
    assert faults(version, f"{CHANGELOG}- Results version {version}: half as much again.", stored, ledger) == []
