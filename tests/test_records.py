"""Files are whole or refused by name: missing, damaged, foreign, unwritable."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkbench import files, records, tables
from ntkbench.files import RecordError, read_json, write_json
from ntkbench.records import read_record, write_record
from ntkbench.tables import read_table, write_table

ARRAYS = {"16/f": np.linspace(-1, 1, 12).reshape(3, 4), "16/K2": np.arange(6, dtype=np.float32), "32/f": np.full(2, np.nan)}
FACTS = {
    "kind": "measurement",
    "claim": "family/name",
    "case": "a",
    "backend": "torch",
    "code": "c0",
    "config": "f0",
    "inputs": "i0",
}
VERDICT = {
    "claim": "family/name",
    "expectation": "rate",
    "kind": "Rate",
    "source": "somebody, Theorem 1",
    "backend": "torch",
    "expected": "-1 +- 0.2",
    "estimate": -1 / 3,
    "ci_low": -0.4,
    "ci_high": -1e-300,
    "verdict": "supported",
    "control": "rejected",
    "seeds": "8",
    "range": "16..64",
    "case": "a",
    "margin": 0.2,
    "p_value": None,
    "reason": 'two, "quoted"\nlines',
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "torch.npz"
    write_record(path, ARRAYS, FACTS)
    return path


def test_what_is_written_is_read(written: Path) -> None:
    record = read_record(written, FACTS)
    assert set(record.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert record.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(record.arrays[name], array)
    assert {name: record.facts[name] for name in FACTS} == FACTS


def test_divergence_is_data_and_is_counted(written: Path) -> None:
    assert read_record(written).facts["nonfinite"] == {"32/f": 2}


def test_equal_contents_have_equal_bytes_and_hash(written: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "again.npz", ARRAYS, FACTS)
    assert (tmp_path / "again.npz").read_bytes() == written.read_bytes()
    changed = {**ARRAYS, "16/f": ARRAYS["16/f"].copy()}
    changed["16/f"][1, 1] = np.nextafter(ARRAYS["16/f"][1, 1], 1)
    write_record(tmp_path / "changed.npz", changed, FACTS)
    assert read_record(tmp_path / "changed.npz").content != read_record(written).content


def test_flatten_and_unflatten_are_inverse() -> None:
    measurement = records.unflatten(ARRAYS)
    assert {width: set(arrays) for width, arrays in measurement.items()} == {16: {"f", "K2"}, 32: {"f"}}
    assert records.flatten(measurement).keys() == ARRAYS.keys()


def test_objects_and_infinite_facts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="objects cannot be recorded: a"):
        write_record(tmp_path / "x.npz", {"a": np.array([{}], dtype=object)}, {})
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "x.npz", {}, {"seconds": float("inf")})
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=400)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, position: float, flip: int) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    write_record(path, ARRAYS, FACTS)
    payload = bytearray(path.read_bytes())
    payload[int(position * len(payload))] ^= flip
    path.write_bytes(payload)
    try:
        record = read_record(path)
    except RecordError as error:
        assert str(path) in str(error)
        assert "delete it and run again" in str(error)
        return
    assert set(record.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(record.arrays[name], array)
    assert {name: record.facts[name] for name in FACTS} == FACTS


def test_a_flipped_byte_of_an_array_is_refused(written: Path) -> None:
    payload = bytearray(written.read_bytes())
    payload[payload.find(ARRAYS["16/f"].tobytes()) + 9] ^= 1
    written.write_bytes(payload)
    with pytest.raises(RecordError, match="damaged"):
        read_record(written)


def test_an_array_that_was_replaced_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_record(path, ARRAYS, FACTS)
    with np.load(path) as file:
        contents = dict(file)
    np.savez(path, **{**contents, "16/f": contents["16/f"] * (1 + 1e-8)})
    with pytest.raises(RecordError, match="do not have the hash"):
        read_record(path)


@pytest.mark.parametrize("kept", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(written: Path, kept: float) -> None:
    payload = written.read_bytes()
    written.write_bytes(payload[: max(1, int(kept * len(payload)))])
    with pytest.raises(RecordError, match=r"torch\.npz is (damaged|no npz)"):
        read_record(written)


@pytest.mark.parametrize("name", ["claim", "case", "backend", "code", "config", "inputs", "kind"])
def test_a_foreign_file_is_refused(written: Path, name: str) -> None:
    with pytest.raises(RecordError, match=f"torch.npz is foreign: its {name} is .* expected 'other'; delete it"):
        read_record(written, {**FACTS, name: "other"})


def test_what_is_no_record_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="absent.npz is missing; run again"):
        read_record(tmp_path / "absent.npz")
    with pytest.raises(RecordError, match="is a folder"):
        read_record(tmp_path)
    empty = tmp_path / "empty.npz"
    empty.touch()
    with pytest.raises(RecordError, match=r"empty\.npz is empty; delete it"):
        read_record(empty)
    text = tmp_path / "text.npz"
    text.write_text("claim,case\n")
    with pytest.raises(RecordError, match=r"text\.npz is no npz archive"):
        read_record(text)
    plain = tmp_path / "plain.npz"
    np.savez(plain, a=np.ones(2))
    with pytest.raises(RecordError, match=r"plain\.npz is damaged"):
        read_record(plain)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, a=np.array([{}], dtype=object))
    with pytest.raises(RecordError, match=r"pickled\.npz is damaged"):
        read_record(pickled)


def test_no_permission_is_named(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As root, permissions do not bind: the operating system's answer is played.
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RecordError, match=r"torch\.npz may not be read by this user"):
        read_record(written)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "read-only: work in a writable copy"),
        (errno.EACCES, "may not be written by this user"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failed_write_is_clear_and_leaves_the_old_file(
    written: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    before = written.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordError, match=f"torch.npz cannot be written.*{message}"):
        write_record(written, {"16/f": np.zeros(3)}, FACTS)
    assert written.read_bytes() == before
    assert [file.name for file in written.parent.iterdir()] == ["torch.npz"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match="a folder and a file are in each other's place"):
        write_json(tmp_path / "results" / "x.json", {})


def test_a_full_disk_is_named() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:
        full.write(b"x")
    assert "the disk is full" in files.cannot_write(Path("x.npz"), caught.value)


def test_tables_keep_every_digit_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    write_table(path, "verdicts", [VERDICT, {**VERDICT, "estimate": np.float64(np.inf), "seeds": "3"}])
    frame = read_table(path, "verdicts")
    assert list(frame.columns) == list(tables.COLUMNS["verdicts"])
    assert frame["estimate"].tolist() == [-1 / 3, np.inf]
    assert frame["ci_high"][0] == -1e-300
    assert frame["reason"][0] == VERDICT["reason"]
    assert np.isnan(frame["p_value"]).all()
    assert frame["seeds"].tolist() == ["8", "3"]


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "c.csv", "crosscheck", [])
    frame = read_table(tmp_path / "c.csv", "crosscheck")
    assert list(frame.columns) == ["claim", "case", "quantity", "max_abs", "max_rel", "allowed", "agrees"]
    assert len(frame) == 0


def test_a_row_of_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a row of verdicts has the columns"):
        write_table(tmp_path / "v.csv", "verdicts", [{**VERDICT, "extra": 1}])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("claim,", "claims,", "has the columns claims"),
        ("\n", "", "truncated|has the columns"),
        (",True", ",perhaps", "'perhaps' is not True or False"),
        ("1e-12", "1e-1x2", "damaged"),
        (",True\n", "", "truncated"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "crosscheck.csv"
    row = {"claim": "f/n", "case": "a", "quantity": "f", "max_abs": 1e-12, "max_rel": 2e-12, "allowed": 1e-10, "agrees": True}
    write_table(path, "crosscheck", [row])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecordError, match=f"crosscheck.csv.*({message}).*delete it"):
        read_table(path, "crosscheck")


@pytest.mark.parametrize("verdict", ["supported", "contradicted", "inconclusive", "invalid"])
def test_verdicts_are_read(tmp_path: Path, verdict: str) -> None:
    write_table(tmp_path / "verdicts.csv", "verdicts", [{**VERDICT, "verdict": verdict}])
    assert read_table(tmp_path / "verdicts.csv", "verdicts")["verdict"].tolist() == [verdict]


@pytest.mark.parametrize("verdict", ["refuted", "Supported", "supported ", ""])
def test_an_unknown_verdict_is_refused(tmp_path: Path, verdict: str) -> None:
    path = tmp_path / "verdicts.csv"
    write_table(path, "verdicts", [VERDICT])
    path.write_text(path.read_text().replace(",supported,", f",{verdict},"))
    known = "supported or contradicted or inconclusive or invalid"
    with pytest.raises(RecordError, match=f"verdicts.csv is damaged: '{verdict}' is not {known}; delete it and run again"):
        read_table(path, "verdicts")


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    write_json(path, {"b": 1, "a": [1.5]})
    assert read_json(path) == {"a": [1.5], "b": 1}
    assert json.loads(path.read_text()) == {"a": [1.5], "b": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    path.write_text('{"a": ')
    with pytest.raises(RecordError, match=r"environment\.json is damaged"):
        read_json(path)


def test_the_mode_of_a_file_follows_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_json(tmp_path / "x.json", {})
    finally:
        os.umask(mask)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640
