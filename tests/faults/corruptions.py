"""Ways in which a file goes wrong. Each takes the path of a file of the study `tiny`, and spoils it."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench import files, records
from ntkbench.records import PROVENANCE, read_record, write_record

Corruption = Callable[[Path], None]
DAMAGED = "is (damaged|no npz archive)"
FOREIGN = "is foreign"


def cut(share: float) -> Corruption:
    def spoil(path: Path) -> None:
        payload = path.read_bytes()
        path.write_bytes(payload[: min(len(payload) - 1, max(1, int(share * len(payload))))])

    return spoil


def flip(share: float) -> Corruption:
    """One bit, at a share of the file's length."""

    def spoil(path: Path) -> None:
        payload = bytearray(path.read_bytes())
        payload[int(share * (len(payload) - 1))] ^= 1
        path.write_bytes(payload)

    return spoil


def flip_at(mark: bytes, beyond: int = 0) -> Corruption:
    """One bit of an archive, so far beyond the first place of `mark`."""

    def spoil(path: Path) -> None:
        payload = bytearray(path.read_bytes())
        payload[payload.index(mark) + beyond] ^= 1
        path.write_bytes(payload)

    return spoil


def flip_in_array(path: Path) -> None:
    record = read_record(path)
    flip_at(max(record.arrays.values(), key=lambda array: array.nbytes).tobytes(), 5)(path)


def replaced(old: str, new: str) -> Corruption:
    """Of a text, once."""

    def spoil(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def no_estimate(path: Path) -> None:
    """Of the first verdict, which is decided all the same."""
    header, first, *rows = csv.reader(path.read_text().splitlines())
    place = header.index("estimate")
    assert first[place] != ""
    first[place] = ""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, first, *rows])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def absent(path: Path) -> None:
    path.unlink()


def recoded(path: Path) -> None:
    path.write_bytes(path.read_text().encode("utf-16"))


def other_study(path: Path) -> None:
    """With what stands beside it."""
    _copy(Path(str(path).replace("tiny", "other")), path)


def other_case(path: Path) -> None:
    _copy(path.with_name(path.name.replace("plain", "flat")) if path.stem == "plain" else _moved(path, "plain", "flat"), path)


def other_backend(path: Path) -> None:
    _copy(path.with_name(path.name.replace("jax", "torch")), path)


def _moved(path: Path, old: str, new: str) -> Path:
    return Path(str(path).replace(f"/{old}/", f"/{new}/"))


def _copy(source: Path, path: Path) -> None:
    assert source != path
    path.write_bytes(source.read_bytes())
    if files.note_of(source).exists():
        files.note_of(path).write_bytes(files.note_of(source).read_bytes())


def note_lost(path: Path) -> None:
    files.note_of(path).unlink()


def note_cut(path: Path) -> None:
    cut(0.5)(files.note_of(path))


def note_changed(**facts: Any) -> Corruption:
    """The note says something else, in proper form."""

    def spoil(path: Path) -> None:
        note = asdict(files.read_note(path)) | facts
        files.note_of(path).write_text(json.dumps(note))

    return spoil


def remade(path: Path) -> None:
    """All that was measured was measured anew since."""
    for measured in Path("results/tiny/measurements").rglob("*.npz"):
        record = read_record(measured)
        write_record(measured, record.arrays, record.facts | {"seconds": {"16": 2.0}})


def facts(**changed: Any) -> Corruption:
    """A record of other facts, with the hash of what it holds."""

    def spoil(path: Path) -> None:
        record = read_record(path)
        write_record(path, record.arrays, record.facts | changed)

    return spoil


def unrecorded_nan(path: Path) -> None:
    """A number that is none, in a record with a true hash that does not mention it."""
    record = read_record(path)
    arrays = {name: array.copy() for name, array in record.arrays.items()}
    next(iter(arrays.values())).flat[0] = np.nan
    told = record.facts | {"nonfinite": {}}
    _archive(path, arrays, told | {"content": records._digest(arrays, told)})


def pickled(path: Path) -> None:
    record = read_record(path)
    arrays = dict(record.arrays) | {next(iter(record.arrays)): np.array([{}], dtype=object)}
    _archive(path, arrays, record.facts)


def bomb(path: Path) -> None:
    """A member that is small in the file and large in the memory."""
    record = read_record(path)
    member = io.BytesIO()
    np.save(member, np.zeros(2**22))
    _archive(path, record.arrays, record.facts)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", member.getvalue())
    assert path.stat().st_size < 2**20


def oversized(path: Path) -> None:
    """An array whose header asks for more than any machine has."""
    record = read_record(path)
    _archive(path, record.arrays, record.facts)
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**60,)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", member.getvalue())


def _archive(path: Path, arrays: dict[str, np.ndarray], told: dict[str, Any]) -> None:
    text = np.frombuffer(json.dumps(told, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(path, **arrays, **{PROVENANCE: text})  # type: ignore[arg-type]


ANY: dict[str, tuple[Corruption, str]] = {
    "cut to a byte": (cut(0), DAMAGED),
    "cut to a third": (cut(0.3), DAMAGED),
    "cut by a byte": (cut(1), DAMAGED),
    "empty": (empty, "is empty"),
    "a folder in its place": (folder, "is a folder, expected a file"),
    "a link to itself": (circle, r"cannot be read \(Too many levels of symbolic links\)"),
    "a link to nowhere": (dangling, "is missing"),
    "gone": (absent, "is missing"),
    "another study's": (other_study, FOREIGN),
}
"""Of every kind of file: what is done, and how it is named."""
RECORD: dict[str, tuple[Corruption, str]] = {
    "a bit of an array": (flip_in_array, DAMAGED),
    "a bit of an array's header": (flip_at(b"'descr'", 11), DAMAGED),
    "a bit of the provenance": (flip_at(b'"config": "', 14), DAMAGED),
    "a bit of the signature": (flip(0), "is no npz archive"),
    "a bit of a member's name": (flip_at(b".npy", 1), DAMAGED),
    "another case's": (other_case, FOREIGN),
    "other code's": (facts(code="0" * 64), "is foreign: its code is '0000"),
    "of another version of the case": (facts(config="0" * 64), "is foreign: its config is"),
    "a NaN that it does not mention": (unrecorded_nan, "does not hold as many numbers that are not finite as it says"),
    "Python objects inside": (pickled, "Object arrays cannot be loaded"),
    "a member that unpacks to a thousand times its size": (bomb, "members unpack to"),
    "an array larger than any memory": (oversized, DAMAGED),
}
TEXT: dict[str, tuple[Corruption, str]] = {
    "the first bit": (flip(0), DAMAGED),
    "a bit at a third": (flip(0.3), DAMAGED),
    "a bit at two thirds": (flip(0.6), DAMAGED),
    "the last bit": (flip(1), DAMAGED),
    "another encoding": (recoded, DAMAGED),
    "its note lost": (note_lost, "has lost .*provenance.json"),
    "its note cut": (note_cut, "is damaged"),
    "other code's": (note_changed(code="0" * 64), "is foreign: other code of the stage"),
    "of a stage that there is not": (note_changed(stage="guess"), "is foreign: other code of the stage guess"),
}
"""Of tables, JSON and figures, which a note describes."""
MEASURED: dict[str, tuple[Corruption, str]] = {"of earlier measurements": (remade, "was made from another .*npz than is there")}
"""Of what was made from measurements."""
JUDGED: dict[str, tuple[Corruption, str]] = {
    "another verdict": (replaced(",supported,", ",contradicted,"), DAMAGED),
    "no verdict that there is": (replaced(",supported,", ",proven,"), DAMAGED),
    "an estimate of NaN": (no_estimate, DAMAGED),
    "a column less": (replaced(",margin,", ","), DAMAGED),
}
