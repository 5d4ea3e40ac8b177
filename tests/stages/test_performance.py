"""Every size of every curve is timed in a process of its own; a size that fails is named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ntkbench import files, lineage, tables
from ntkbench.performance.workloads import Curve, Workload
from ntkbench.report.costs import scaling_entries
from ntkbench.stages.scaling import scaling
from tests.figures import timings

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from ntkbench.performance.workloads import Curve
from ntkbench.stages.session import job
with job(1, "torch.csv"):
    from ntkbench.stages.performance import performance
    curves = [Curve.make(**curve) for curve in json.loads(sys.argv[1])]
    performance(curves, "torch", 2, Path(sys.argv[2]), device="cpu", precision="float64", threads=1, memory_bytes=2**30)
"""


def run(output: Path, *curves: Curve) -> "subprocess.CompletedProcess[str]":
    """In a fresh interpreter, since the stage forks: no framework may have been started before."""
    given = json.dumps([curve.as_dict() for curve in curves])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, given, str(output)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_size_has_a_row(tmp_path: Path) -> None:
    wide = Curve("wide", "width", (4, 8), Workload("ntk", 3, width=1))
    large = Curve("large", "points", (64, 2048), Workload("limiting", 1, activation="relu"))
    done = run(tmp_path / "torch.csv", wide, large)
    assert done.returncode == 0, done.stderr
    rows = tables.read_rows(tmp_path / "torch.csv", "performance")
    assert [(row["curve"], row["size"], row["width"], row["points"]) for row in rows] == [
        ("wide", 4, 4, 3),
        ("wide", 8, 8, 3),
        ("large", 64, 1, 64),
        ("large", 2048, 1, 2048),
    ]
    assert all(row["seconds"] > 0 and row["ratio"] > 0 and row["rounds"] == 2 for row in rows)
    assert "wide torch: width 8, " in done.stderr
    if sys.platform.startswith("linux"):
        # The two kernels alone are 64 MiB; a small size grows the process by little.
        assert rows[3]["peak_bytes"] >= 2**26
        assert rows[2]["peak_bytes"] < 2**24


def test_what_two_curves_share_is_measured_once(tmp_path: Path) -> None:
    alike = Workload("ntk", 3, width=4)
    done = run(tmp_path / "torch.csv", Curve("wide", "width", (4, 8), alike), Curve("many", "points", (3, 6), alike))
    assert done.returncode == 0, done.stderr
    shared, other = (
        [row for row in tables.read_rows(tmp_path / "torch.csv", "performance") if row["size"] in sizes]
        for sizes in ((4, 3), (8, 6))
    )
    assert [row["curve"] for row in shared] == ["wide", "many"]
    assert shared[0]["seconds"] == shared[1]["seconds"]
    assert other[0]["seconds"] != other[1]["seconds"]


def test_a_size_that_fails_is_named_in_one_line(tmp_path: Path) -> None:
    done = run(
        tmp_path / "torch.csv", Curve("k4", "points", (2, 3), Workload("hierarchy", 1, width=4, order=4, activation="relu"))
    )
    assert done.returncode == 1
    assert "TimingFailed: Workload(quantity='hierarchy', points=2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "torch.csv").exists()


def test_a_curve_is_itself_after_a_trip_through_plain_values() -> None:
    for curve in timings.curves():
        assert Curve.make(**json.loads(json.dumps(curve.as_dict()))) == curve


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    rows: list[dict[str, Any]] = timings.rows("smoke")
    for backend in ("torch", "jax"):
        of_backend = [row for row in rows if row["backend"] == backend]
        tables.write_table(tmp_path / f"{backend}.csv", "performance", of_backend)
        lineage.note(tmp_path / f"{backend}.csv", "performance", (), backend=backend)
    return [tmp_path / f"{backend}.csv" for backend in ("torch", "jax")]


def test_timings_are_joined_fitted_and_drawn(parts: list[Path], tmp_path: Path) -> None:
    scaling(parts, tmp_path / "performance.csv", tmp_path / "scaling.csv", tmp_path / "figure")
    joined = tables.read_rows(tmp_path / "performance.csv", "performance")
    assert [row["backend"] for row in joined] == ["torch"] * (len(joined) // 2) + ["jax"] * (len(joined) // 2)
    fitted = tables.read_rows(tmp_path / "scaling.csv", "scaling")
    assert {(row["curve"], row["backend"]) for row in fitted} == {(row["curve"], row["backend"]) for row in joined}
    assert (tmp_path / "figure.svg").exists()
    assert (tmp_path / "figure.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "holds no timings"),
        ({"seconds": -1.0}, "seconds -1.0, not a positive number"),
        ({"seconds": float("nan")}, "seconds nan, not a positive number"),
        ({"roofline_seconds": float("inf")}, "roofline_seconds inf"),
        ({"size": 0}, "size 0, not a positive number"),
        ({"quantity": "foo"}, "quantity 'foo'"),
        ({"axis": "foo"}, "axis 'foo'"),
        ({"peak_bytes": -1.0}, "negative memory"),
        ({}, "there twice"),
    ],
)
def test_timings_of_which_nothing_can_be_made_are_refused_with_the_mend(
    parts: list[Path], tmp_path: Path, change: dict[str, Any] | None, message: str
) -> None:
    """By the stage and by the paper: no rows, a row changed, or one that is there twice."""
    rows = tables.read_rows(parts[1], "performance")
    changed = [] if change is None else [*rows[1:], rows[0] | change] if change else [*rows, rows[0]]
    for path in (parts[1], tmp_path / "performance.csv"):
        tables.write_table(path, "performance", changed)
        lineage.note(path, "performance", (), backend="jax")
    match = rf"{{}}.* {message}.*; delete it and run again"
    with pytest.raises(files.RecordError, match=match.format("jax.csv")):
        scaling(parts, tmp_path / "joined.csv", tmp_path / "scaling.csv", tmp_path / "figure")
    with pytest.raises(files.RecordError, match=match.format("performance.csv")):
        scaling_entries(tmp_path)
