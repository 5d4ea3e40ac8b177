"""A file that went wrong is refused by name wherever it is read, with the mend, and nothing is made of it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench.files import RecordError
from ntkbench.records import read_record, write_record
from ntkbench.stages.cell import Cell
from ntkbench.stages.measure import measure
from tests.faults import corruptions
from tests.faults.corruptions import ANY, JUDGED, MEASURED, RECORD, TEXT, Corruption
from tests.faults.stages import CLAIM_ID, Cheap, Places, contents
from tests.workflow.stub_claim import StubCase

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("crosscheck", "analyse", "collect", "figure", "scaling", "paper")
T = Places()
BACKEND = {"another backend's": (corruptions.other_backend, "is foreign")}
DIGIT = {"another digit": (corruptions.replaced("1", "7"), "is damaged")}
KINDS: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[Corruption, str]]]] = {
    "inputs": (T.inputs[0], ("crosscheck", "analyse"), RECORD),
    "measurement": (T.measured["jax"][0], ("crosscheck", "analyse"), RECORD | BACKEND),
    "cross-check of a case": (T.crosschecks[0], ("analyse", "collect"), TEXT | MEASURED | DIGIT),
    "quantities": (T.quantities, ("figure", "paper"), TEXT | MEASURED | DIGIT),
    "judgements": (T.judgements, ("figure", "collect"), TEXT | MEASURED | JUDGED),
    "verdicts": (T.verdicts, ("paper",), TEXT | MEASURED | JUDGED),
    "cross-check": (T.crosscheck, ("paper",), TEXT | MEASURED | DIGIT),
    "environment": (T.environment, ("paper",), TEXT | MEASURED | DIGIT),
    "timings of a backend": (T.timings[1], ("scaling", "paper"), TEXT | DIGIT | BACKEND),
    "timings": (T.performance, ("paper",), TEXT | DIGIT),
    "exponents": (T.exponents, ("paper",), TEXT | DIGIT),
    "figure": (f"{T.figure}.svg", ("paper",), TEXT | MEASURED | DIGIT),
}
"""The file, the stages that read it, and how it goes wrong beyond `ANY`."""


CORRUPTIONS = [
    pytest.param(Path(file), name, spoil, words, id=f"{kind}, {way}: {name}")
    for kind, (file, stages, ways) in KINDS.items()
    for way, (spoil, words) in (ANY | ways).items()
    for name in stages
]


@pytest.mark.parametrize("name", STAGES)
def test_an_undisturbed_study_passes(made: Places, name: str) -> None:
    made.run(name)


@pytest.mark.parametrize(("file", "name", "spoil", "words"), CORRUPTIONS)
def test_a_corruption_is_named(
    made: Places, capsys: pytest.CaptureFixture[str], file: Path, name: str, spoil: Corruption, words: str
) -> None:
    spoil(file)
    before = contents(Path())
    with pytest.raises(SystemExit):
        made.run(name)
    told = capsys.readouterr().err
    assert re.fullmatch(r"RecordError: [^\n]+\n", told)
    assert re.search(words, told)
    assert named(told, file, made)
    assert re.search(r"(delete \S+ and run again|; run again)\n$", told)
    assert contents(Path()) == before


def named(told: str, file: Path, made: Places) -> bool:
    """Where all files are whole and do not fit together, another one of the chain may be named."""
    others = (made.judgements, *made.crosschecks) if "made from another" in told else ()
    return any(str(path) in told for path in (file, *others))


def test_another_type_is_a_disagreement(made: Places, capsys: pytest.CaptureFixture[str]) -> None:
    """In a record with a true hash, which no reader can tell: the other backend's has the right one."""
    retype(Path(made.measured["jax"][0]))
    before = contents(Path())
    with pytest.raises(SystemExit):
        made.run("crosscheck")
    told = capsys.readouterr().err
    assert told.startswith("CrosscheckFailed: ")
    assert f"{CLAIM_ID}, plain: " in told
    assert "float32" in told
    assert contents(Path()) == before


def test_another_type_after_the_cross_check_is_foreign(made: Places, capsys: pytest.CaptureFixture[str]) -> None:
    retype(Path(made.measured["jax"][0]))
    with pytest.raises(SystemExit):
        made.run("analyse")
    assert f"{made.crosschecks[0]} is foreign: it was made from another {made.measured['jax'][0]}" in capsys.readouterr().err


def retype(path: Path) -> None:
    record = read_record(path)
    write_record(path, {name: array.astype(np.float32) for name, array in record.arrays.items()}, record.facts)


PARTS = ANY | {way: RECORD[way] for way in RECORD if way != "another case's"}


@pytest.mark.parametrize("way", [way for way in PARTS if way not in ("another study's", "a folder in its place")])
def test_a_part_that_went_wrong_is_measured_again(made: Places, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    part = interrupted(made, monkeypatch)
    PARTS[way][0](part)
    measured = resume(made)
    assert measured.count("None torch 32") == 2
    assert measured.count("None torch 16") == 1
    assert not part.parent.exists()
    again, undisturbed = (read_record(Path(made.measured[backend][0])).arrays for backend in ("torch", "jax"))
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in undisturbed.items()
    }


def test_a_part_that_is_whole_is_kept(made: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(made, monkeypatch)
    assert resume(made).count("None torch 32") == 1


def test_a_folder_in_the_place_of_a_part_is_named(made: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    part = interrupted(made, monkeypatch)
    corruptions.folder(part)
    with pytest.raises(RecordError, match=f"{part} cannot be written: a folder and a file are in each other's place"):
        resume(made)


def interrupted(made: Places, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The part of the second of three widths; the third was not begun."""
    Path(made.measured["torch"][0]).unlink()
    monkeypatch.setenv("STUB_LOG", "calls.log")
    whole = Cheap.measure

    def killed(self: Cheap, backend: Any, case: StubCase, data: Any, width: int, root: int) -> dict[str, np.ndarray]:
        if width == 64:
            raise KeyboardInterrupt
        return whole(self, backend, case, data, width, root)

    monkeypatch.setattr(Cheap, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        resume(made)
    monkeypatch.setattr(Cheap, "measure", whole)
    return Path(made.measured["torch"][0]).parent / "torch.parts" / "32.npz"


def resume(made: Places) -> list[str]:
    """Which widths were measured until now."""
    measure([Cell.make(**made.cells()[0])], "torch", 1, 2**30, [Path(made.inputs[0])], [Path(made.measured["torch"][0])])
    return Path("calls.log").read_text().split("\n")


UNREADABLE = """
import os, sys
from pathlib import Path
from ntkbench import files, records

def told(name):
    try:
        records.read_record(Path(name)) if name.endswith("npz") else files.read_whole(Path(name))
        return f"{name} is read"
    except files.RecordError as error:
        return error

# All that reading imports is imported while everything may be read.
assert all(told(name) == f"{name} is read" for name in sys.argv[1:])
os.setuid(65534)
for name in sys.argv[1:]:
    print(told(name))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become a user who may not read a file")
def test_a_file_that_may_not_be_read_is_named(made: Places) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = [Path(made.measurements[0]), Path(made.verdicts), Path(made.environment)]
        copies = [folder / f"{kind}{file.suffix}" for file in files for kind in (f"{file.stem}-open", f"{file.stem}-closed")]
        for copy, file in zip(copies, (file for file in files for _ in range(2)), strict=True):
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o644 if copy.stem.endswith("open") else 0o200)
        done = subprocess.run(
            [sys.executable, "-c", UNREADABLE, *map(str, copies)], cwd=ROOT, capture_output=True, text=True, check=True
        )
    told = done.stdout.splitlines()
    assert told[::2] == [f"{copy} is read" for copy in copies[::2]]
    mend = "may not be read by this user; give read permission, or delete it and run again"
    assert told[1::2] == [f"{copy} {mend}" for copy in copies[1::2]]
