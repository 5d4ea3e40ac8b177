"""A comparison of two runs sees every kind of difference, and nothing in what belongs to a run alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ntkbench import records
from tests.slurm.compare import compared, differences

RECORD = Path("results/tiny/measurements/a/b/plain/torch.npz")
FIGURE = Path("paper/figures/a-b.svg")
TIMED = Path("results/tiny/performance.csv")
FITTED = Path("results/tiny/scaling.csv")
NOTE = Path("results/tiny/verdicts.csv.json")


def write(path: Path, number: float = 1.0, **facts: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_record(path, {"16/f": np.array([number, 2.0])}, {"code": "c", "seconds": {"16": 1.0}, **facts})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one / RECORD)
    for path, text in (
        (FIGURE, "<svg/>"),
        (TIMED, "curve,size,seconds\nntk,4,0.5\n"),
        (FITTED, "curve,measure,smallest,exponent\nntk,seconds,4,1.5\nntk,peak_bytes,4,2.0\n"),
        (NOTE, "{}"),
        (Path("results/tiny/verdicts.csv"), "claim,verdict\na/b,supported\n"),
    ):
        (one / path).parent.mkdir(parents=True, exist_ok=True)
        (one / path).write_text(text, encoding="utf-8")
    shutil.copytree(one, other)
    return one, other


def test_equal_runs_are_equal(pair: tuple[Path, Path]) -> None:
    one, other = pair
    assert list(differences("tiny", one, other)) == []
    assert compared("tiny", one) == 5


def test_what_belongs_to_a_run_may_differ(pair: tuple[Path, Path]) -> None:
    one, other = pair
    write(other / RECORD, seconds={"16": 7.0}, environment={"host": "node7"}, peak_memory_bytes=5)
    (other / TIMED).write_text("curve,size,seconds\nntk,4,0.7\n", encoding="utf-8")
    # A process that did not grow leaves no row of its memory.
    (other / FITTED).write_text("curve,measure,smallest,exponent\nntk,seconds,4,1.7\n", encoding="utf-8")
    (other / NOTE).write_text('{"made": "later"}', encoding="utf-8")
    assert list(differences("tiny", one, other)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: write(root / RECORD, np.nextafter(1.0, 2.0)), f"{RECORD}: the array 16/f differs"),
        (lambda root: write(root / RECORD, code="d"), f"{RECORD}: code is 'c' and 'd'"),
        (lambda root: write(root / RECORD, more=1), f"{RECORD}: more is 'absent' and 1"),
        (lambda root: (root / FIGURE).write_text("<svg />"), f"{FIGURE}: the bytes differ"),
        (lambda root: (root / TIMED).write_text("curve,size,seconds\nntk,8,0.5\n"), f"{TIMED}: other sizes were timed"),
        (lambda root: (root / FITTED).write_text("curve,measure,smallest,exponent\n"), f"{FITTED}: other sizes were timed"),
        (lambda root: (root / NOTE).unlink(), f"{NOTE} is only in "),
        (lambda root: write(root / RECORD.with_name("jax.npz")), f"{RECORD.with_name('jax.npz')} is only in "),
    ],
    ids=["last bit", "code", "fact", "figure", "size", "exponent", "lacking", "extra"],
)
def test_a_difference_is_named(pair: tuple[Path, Path], change: Callable[[Path], object], told: str) -> None:
    one, other = pair
    change(other)
    (found,) = differences("tiny", one, other)
    assert found.startswith(told)


def test_an_array_of_another_type_differs(pair: tuple[Path, Path]) -> None:
    one, other = pair
    records.write_record(other / RECORD, {"16/f": np.array([1, 2])}, {"code": "c", "seconds": {"16": 1.0}})
    assert list(differences("tiny", one, other)) == [f"{RECORD}: the array 16/f differs"]
