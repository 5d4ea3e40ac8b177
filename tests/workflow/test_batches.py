"""Cases that share a process: each is measured once, whatever happens to the others or to the process."""

import copy
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from ntkbench import records, tables
from tests.workflow.conftest import STUB, STUDY, Checkout, make
from tests.workflow.test_survival import VERDICTS, kill, wait_until

RESULTS = Path("results/tiny")
MEASURED = RESULTS / "measurements" / STUB
CASES = ("flat", "plain", "twice")
TORCH = [str(MEASURED / case / "torch.npz") for case in CASES]
WIDTHS = STUDY["claims"][STUB]["defaults"]["widths"]


def study(**changed: dict[str, Any]) -> dict[str, Any]:
    """Three cases, in the order of their names, two in a process."""
    batched = copy.deepcopy(STUDY) | {"cases_per_job": 2}
    cases = batched["claims"][STUB]["cases"] | {"twice": {"scale": 2.0}}
    batched["claims"][STUB]["cases"] = {name: case | changed.get(name, {}) for name, case in cases.items()}
    return batched


def times(checkout: Checkout, control: str) -> list[int]:
    """How often torch measured each width of the cases of one control."""
    return [checkout.calls().count(f"{control} torch {width}") for width in WIDTHS]


def measure(checkout: Checkout, *more: str, fails: bool = False) -> str:
    return checkout.run(*TORCH, *more, options="study=tiny summary=False", fails=fails)


@pytest.fixture
def batched(fresh: Checkout) -> Checkout:
    fresh.write_study(study())
    return fresh


@pytest.fixture(scope="module")
def measured_once(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make(tmp_path_factory.mktemp("measured") / "checkout")
    checkout.write_study(study())
    measure(checkout)
    return checkout


@pytest.fixture
def measured(measured_once: Checkout, tmp_path: Path) -> Checkout:
    """Torch has measured all cases; a copy for each test."""
    shutil.copytree(measured_once.root, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")


def test_cases_share_jobs_and_every_case_has_its_files(batched: Checkout) -> None:
    output = batched.run(VERDICTS)
    started = re.findall(r"Finished jobid: \d+ \(Rule: (inputs|measure|crosscheck)_convergence_stub_(\d)\)", output)
    assert Counter(started) == {
        (stage, batch): 2 if stage == "measure" else 1 for stage in ("inputs", "measure", "crosscheck") for batch in ("1", "2")
    }
    assert batched.planned(VERDICTS) == set()
    crosscheck = tables.read_table(batched.root / RESULTS / "crosscheck.csv", "crosscheck")
    assert set(crosscheck["case"]) == set(CASES)
    assert not list((batched.root / RESULTS).rglob("*.parts"))
    for case in CASES:
        assert records.read_record(batched.root / MEASURED / case / "jax.npz").facts["case"] == case


def test_a_changed_or_a_new_case_is_measured_alone(measured: Checkout) -> None:
    before = {path: (measured.root / path).read_bytes() for path in TORCH}
    changed = study(plain={"scale": 3.0})
    changed["claims"][STUB]["cases"]["another"] = {"scale": 4.0}
    measured.write_study(changed)
    marks = [str(MEASURED / first / "torch.done") for first in ("another", "plain")]  # as rule all asks for them
    output = measure(measured, str(MEASURED / "another" / "torch.npz"), *marks)
    assert times(measured, "flat") == [1] * len(WIDTHS)
    assert times(measured, "None") == [4] * len(WIDTHS)  # plain and twice, then plain and another
    assert "convergence/stub flat torch: kept, nothing that it depends on has changed" in output
    kept = [path for path in TORCH if (measured.root / path).read_bytes() == before[path]]
    assert kept == [TORCH[0], TORCH[2]]


@pytest.mark.parametrize("whole", [True, False], ids=["the whole run", "the job alone"])
def test_a_job_that_is_killed_in_its_second_case_goes_on_there(batched: Checkout, whole: bool) -> None:
    batched.write_study(study(plain={"seconds": 1.5}))
    process = batched.start(*TORCH)
    parts = batched.root / MEASURED / "plain" / "torch.parts"
    wait_until(lambda: (parts / "8.npz").exists(), "the second width of the second case")
    assert (batched.root / TORCH[0]).exists()
    if whole:
        kill(process)
    else:
        (job,) = [
            child for child in psutil.Process(process.pid).children(recursive=True) if "measure.py" in str(child.cmdline())
        ]
        job.send_signal(signal.SIGKILL)
        assert process.wait() != 0
        assert not (batched.root / TORCH[0]).exists()
    measure(batched)
    assert times(batched, "flat") == [1] * len(WIDTHS)
    assert times(batched, "None")[:2] == [2, 2]
    assert not parts.exists()


def test_after_a_case_that_fails_only_that_one_is_measured_again(batched: Checkout) -> None:
    batched.write_study(study(flat={"scale": -1.0}))
    output = measure(batched, fails=True)
    assert "MeasurementFailed: convergence/stub flat torch, width 4: the scale is -1.0" in output
    assert "plain torch, width" not in output
    assert times(batched, "flat") == [1, 0, 0, 0]
    assert times(batched, "None") == [2] * len(WIDTHS)
    batched.write_study(study())
    measure(batched)
    assert times(batched, "flat") == [2, 1, 1, 1]
    assert times(batched, "None") == [2] * len(WIDTHS)


def test_a_changed_case_that_fails_leaves_the_others_as_they_were(measured: Checkout) -> None:
    """What the workflow puts back is of before; what was measured since is kept beside it."""
    measured.write_study(study(flat={"scale": -1.0}, plain={"scale": 3.0}))
    measure(measured, fails=True)
    measured.write_study(study(plain={"scale": 3.0}))
    measure(measured)
    assert times(measured, "flat") == [2, 1, 1, 1]
    assert times(measured, "None") == [3] * len(WIDTHS)
    numbers = [records.read_record(measured.root / path).arrays["4/number"] for path in TORCH]
    assert numbers[1] / numbers[2] == pytest.approx([1.5] * 4)


@pytest.mark.parametrize(
    ("stage", "code", "ends"),
    [("inputs", "ntkbench/seeding.py", "fails"), ("measure", "ntkbench/backends/jax/__init__.py", "killed")],
)
def test_a_job_over_records_of_other_code_that_fails_runs_again(finished: Checkout, stage: str, code: str, ends: str) -> None:
    """What the workflow puts back is as young as a result: the same command must not take it for one.

    What comes after the measurements is planned, and is not run for this.
    """
    before = {path: path.read_bytes() for path in (finished.root / MEASURED).rglob("jax.npz")}
    finished.append(code, "\n# changed\n")
    (finished.root / "broken").write_text(f"{stage} {ends}", encoding="utf-8")
    finished.run(fails=True)
    (finished.root / "broken").unlink()
    assert {"measure plain jax", "measure flat jax", "crosscheck plain", "crosscheck flat"} <= finished.planned()
    marks = [str(MEASURED / case / f"{backend}.done") for case in ("plain", "flat") for backend in ("torch", "jax")]
    finished.run(*marks)
    assert len(before) == 2
    assert all(path.read_bytes() != old for path, old in before.items())
    assert all(finished.calls().count(f"flat jax {width}") == 2 for width in WIDTHS[1:])
    assert finished.planned(*marks) == set()
    assert not {job for job in finished.planned() if job.startswith(("inputs", "measure"))}


def test_a_damaged_measurement_is_measured_anew_and_the_others_are_kept(measured: Checkout) -> None:
    path = measured.root / TORCH[1]
    intact = records.read_record(path).arrays
    path.write_bytes(path.read_bytes()[:-100])
    (measured.root / TORCH[0]).unlink()
    measure(measured)
    assert times(measured, "flat") == [2] * len(WIDTHS)
    assert times(measured, "None") == [3] * len(WIDTHS)
    assert all((records.read_record(path).arrays[name] == array).all() for name, array in intact.items())


def test_all_cases_that_disagree_are_named(batched: Checkout) -> None:
    backend = batched.root / "ntkbench" / "backends" / "jax" / "__init__.py"
    backend.write_text(backend.read_text().replace("factor = 1.0", "factor = 1.0 + 1e-8"))
    output = batched.run(str(RESULTS / "crosscheck" / STUB / "plain.csv"), fails=True)
    assert all(f"convergence/stub {case}: torch and jax disagree" in output for case in ("flat", "plain"))
    failed = (batched.root / RESULTS / "crosscheck" / STUB).glob("*.failed.csv")
    assert sorted(path.name for path in failed) == ["flat.failed.csv", "plain.failed.csv"]
