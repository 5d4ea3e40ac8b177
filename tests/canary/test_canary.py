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
from tests.canary.study import HERE, HISTORY, PARTS, STORED, digest, files, history, run
from tests.scratch import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RECORD = Path("measurements", "hierarchy", "truncation", "plain", "jax.npz")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of what is stored and of its history."""
    for part in PARTS:
        shutil.copytree(HERE / part, tmp_path / part)
    shutil.copyfile(HERE / HISTORY, tmp_path / HISTORY)
    return tmp_path


def scale(path: Path, factor: float) -> None:
    """Multiply every array of a record."""
    record = read_record(path)
    write_record(path, {name: array * factor for name, array in record.arrays.items()}, record.facts)


@pytest.mark.parametrize("part", PARTS)
def test_no_result_has_moved(tmp_path: Path, part: str) -> None:
    measured = run(tmp_path, part)
    found = moved(measured, HERE / part)
    assert found == [], (
        f"results differ from those of version {RESULTS_VERSION} by more than rounding. If that is meant, {MEND}"
    )
    assert {claim for claim, _, _ in read_run(measured).measurements} == set(PARTS[part])


def test_the_stored_canary_is_of_this_version() -> None:
    assert faults(RESULTS_VERSION, CHANGELOG) == []


def test_rounding_is_let_pass_and_more_is_named(copy: Path) -> None:
    stored = copy / "stored"
    scale(stored / RECORD, 1 + 1e-12)
    assert moved(stored, STORED) == []
    scale(stored / RECORD, 1 + 1e-3)
    found = moved(stored, STORED)
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
        (lambda stored: (stored / RECORD).unlink(), "not in this run"),
    ],
)
def test_analysis_that_moved_is_named_where_the_verdict_is_invalid_too(
    copy: Path, edit: Callable[[Path], None], reason: str
) -> None:
    edit(copy / "stored")
    (line,) = moved(copy / "stored", STORED)
    assert reason in line


def test_a_bump_without_renewal_fails() -> None:
    found = " ".join(faults(RESULTS_VERSION + 1, CHANGELOG))
    assert f"the canary is of results version {RESULTS_VERSION} in stored, the code is of {RESULTS_VERSION + 1}" in found


def not_asked(part: str) -> Path:
    raise AssertionError(f"{part} was measured")


@pytest.mark.parametrize("part", PARTS)
def test_renewal_without_a_bump_fails(copy: Path, part: str) -> None:
    with pytest.raises(Refused, match="nothing is stored"):
        renew(not_asked, RESULTS_VERSION, copy)
    assert (copy / HISTORY).read_bytes() == (HERE / HISTORY).read_bytes()
    # By hand, past the command.
    scale(next((copy / part).rglob("jax.npz")), 1.5)
    (fault,) = faults(RESULTS_VERSION, CHANGELOG, copy)
    assert f"the canary {part} is not that of history.csv: it was renewed without a new results version" in fault


def test_a_version_is_not_left_out(copy: Path) -> None:
    with pytest.raises(Refused, match="nothing is stored"):
        renew(not_asked, RESULTS_VERSION + 2, copy)
    write_bytes(copy / HISTORY, b"results_version,part,sha256\n1,stored,a\n3,stored,b\n")
    assert "without a gap" in faults(3, CHANGELOG, copy)[0]


def test_a_part_is_added_to_the_version_that_is_there(copy: Path) -> None:
    *others, (version, part, hashed) = history(copy)
    write_bytes(copy / HISTORY, "".join((copy / HISTORY).read_text().splitlines(keepends=True)[:-1]).encode())
    shutil.rmtree(copy / part)
    other, lost = faults(version, CHANGELOG, copy)
    assert f"has other parts of version {version} than {', '.join(PARTS)}" in other
    assert lost.startswith(f"the canary has lost {part}: ")
    assert renew(lambda name: HERE / name, version, copy) == [part]
    assert history(copy) == [*others, (version, part, hashed)]
    assert faults(version, CHANGELOG, copy) == []


def test_a_part_may_not_be_stored_twice_in_a_version(copy: Path) -> None:
    scale(copy / STORED.name / RECORD, 1.5)
    with (copy / HISTORY).open("a", encoding="utf-8") as file:
        file.write(f"{RESULTS_VERSION},{STORED.name},{digest(copy / STORED.name)}\n")
    (fault,) = faults(RESULTS_VERSION, CHANGELOG, copy)
    assert "each once" in fault


def test_the_right_way_passes_once_the_changelog_says_so(copy: Path) -> None:
    """What was stored stands for a run of the next version."""
    made, version = copy / "made", RESULTS_VERSION + 1
    old, new = (f'"results_version": {number}' for number in (RESULTS_VERSION, version))
    for part in PARTS:
        shutil.copytree(HERE / part, made / part)
        text = (made / part / "environment.json").read_text(encoding="utf-8")
        assert old in text
        write_bytes(made / part / "environment.json", text.replace(old, new).encode())
    scale(made / STORED.name / RECORD, 1.5)
    assert renew(lambda part: made / part, version, copy) == list(PARTS)
    for part in PARTS:
        assert all((made / part / file).read_bytes() == (copy / part / file).read_bytes() for file in files(made / part))
    assert faults(version, CHANGELOG, copy) == [f"CHANGELOG.md says nothing of results version {version}"]
    assert faults(version, f"{CHANGELOG}- Results version {version}: half as much again.", copy) == []
