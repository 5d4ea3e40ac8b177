"""Notes beside files are written, followed back and refused by name; without a note a file is read as it is."""

from pathlib import Path

import numpy as np
import pytest

from ntkbench import files, lineage
from ntkbench.files import RecordError, write_json
from ntkbench.records import read_facts, read_record, write_record


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A record, a first file made from it, and a second one made from the first."""
    write_record(tmp_path / "measurements" / "a.npz", {"x": np.arange(3.0)}, {"kind": "measurement"})
    write_json(tmp_path / "first.json", {"mean": 1.0})
    lineage.note(tmp_path / "first.json", "crosscheck", [tmp_path / "measurements" / "a.npz"], "hierarchy/truncation")
    write_json(tmp_path / "tables" / "second.json", {"mean": 1.0})
    lineage.note(tmp_path / "tables" / "second.json", "collect", [tmp_path / "first.json"])
    return tmp_path


def test_a_note_says_what_a_file_is_and_what_it_was_made_from(chain: Path) -> None:
    path = chain / "tables" / "second.json"
    assert lineage.check(path) == path
    note = files.read_note(path)
    assert (note.path, note.stage, note.claim, note.backend) == (path.as_posix(), "collect", None, None)
    assert note.made_from == {"../first.json": files.read_note(chain / "first.json").sha256}
    record = chain / "measurements" / "a.npz"
    assert files.read_note(chain / "first.json").made_from == {"measurements/a.npz": read_record(record).content}
    assert lineage.fingerprint(record) == read_record(record).content


@pytest.mark.parametrize("name", ["first.json", "tables/second.json"])
def test_a_changed_file_is_found_from_the_end_of_the_chain(chain: Path, name: str) -> None:
    path = chain / name
    path.write_text(path.read_text().replace("1.0", "2.0"))
    with pytest.raises(
        RecordError, match=f"{name} is damaged: its contents do not have the hash that .*provenance.json records"
    ):
        lineage.check(chain / "tables" / "second.json")
    with pytest.raises(RecordError, match=f"{name} is damaged"):
        files.read_json(path)


def test_another_record_is_found_from_the_end_of_the_chain(chain: Path) -> None:
    write_record(chain / "measurements" / "a.npz", {"x": np.arange(3.0)}, {"kind": "measurement", "seconds": 1})
    with pytest.raises(
        RecordError, match=r"first\.json is foreign: it was made from another \S+a\.npz than is there; delete it"
    ):
        lineage.check(chain / "tables" / "second.json")


def test_a_source_that_files_share_is_read_once(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(chain / "third.json", {"mean": 1.0})
    lineage.note(chain / "third.json", "collect", [chain / "first.json", chain / "measurements" / "a.npz"])
    read: list[Path] = []
    monkeypatch.setattr(lineage, "read_facts", lambda path: read.append(path) or read_facts(path))
    known: dict[Path, str] = {}
    for name in ("tables/second.json", "third.json"):
        lineage.check(chain / name, known)
    assert read == [chain / "measurements" / "a.npz"]
    assert known[read[0]] == read_record(read[0]).content
    lineage.check(chain / "third.json")
    assert len(read) == 2, "what another stage has seen counts for nothing"


def test_a_file_without_a_note_is_read_and_not_taken_for_a_result(chain: Path) -> None:
    path = chain / "tables" / "second.json"
    files.note_of(path).unlink()
    assert files.read_json(path) == {"mean": 1.0}
    with pytest.raises(RecordError, match=f"second.json has lost second.json.provenance.json.*delete {path} and run again"):
        lineage.check(path)


def test_a_file_that_was_never_made_has_not_lost_its_note(chain: Path) -> None:
    with pytest.raises(RecordError, match=r"never\.json is missing; run again"):
        lineage.check(chain / "never.json")


def test_a_file_can_be_made_from_noted_files_alone(chain: Path) -> None:
    files.note_of(chain / "first.json").unlink()
    with pytest.raises(RecordError, match=r"first\.json has lost"):
        lineage.note(chain / "tables" / "second.json", "collect", [chain / "first.json"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": "0"}', '{"sha256": NaN}'])
def test_a_damaged_note_is_named_with_the_mend(chain: Path, text: str) -> None:
    path = chain / "tables" / "second.json"
    files.note_of(path).write_text(text)
    for read in (lineage.check, files.read_json):
        with pytest.raises(RecordError, match=rf"second\.json\.provenance\.json is damaged.*delete {path} and run again"):
            read(path)


def test_facts_are_read_without_arrays_and_a_bad_record_is_named_as_elsewhere(chain: Path) -> None:
    path = chain / "measurements" / "a.npz"
    assert read_facts(path) == read_record(path).facts
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordError, match=r"a\.npz is damaged or truncated"):
        read_facts(path)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}'])
def test_numbers_that_are_not_finite_are_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(RecordError, match=r"environment\.json is damaged: (NaN|-Infinity) is no number of JSON; delete it"):
        files.read_json(tmp_path / "environment.json")


def test_a_file_that_is_written_again_has_no_note_until_it_gets_one(chain: Path) -> None:
    path = chain / "first.json"
    write_json(path, {"mean": 2.0})
    assert files.read_json(path) == {"mean": 2.0}
    with pytest.raises(RecordError, match=r"has lost first\.json\.provenance\.json"):
        lineage.check(path)
