"""What runs again after a change, and what is refused before anything runs."""

import copy
import json
import re
import subprocess

import pytest

from ntkbench import tables
from tests.workflow.conftest import STUDY, Checkout

AFTER = {"crosscheck plain", "crosscheck flat", "analyse", "collect", "figure", "paper", "all"}
TIMED = {"performance torch", "performance jax", "scaling"}
INPUTS = {"inputs plain", "inputs flat"}
TORCH = {"measure plain torch", "measure flat torch"}
JAX = {"measure plain jax", "measure flat jax"}


def test_from_nothing_everything_is_planned(fresh: Checkout) -> None:
    assert fresh.planned() == INPUTS | TORCH | JAX | AFTER | TIMED


def test_timings_come_after_all_measurements_with_all_cores(fresh: Checkout) -> None:
    output = fresh.run("--dry-run", "--quiet", "host")
    blocks = [block for block in re.split(r"\n(?=(?:local)?rule )", output) if block.startswith("rule performance:")]
    assert [re.findall(r"threads: (\d+)", block) for block in blocks] == [["2"], ["2"]]
    assert [len(set(re.findall(r"measurements/\S+?\.npz", block))) for block in blocks] == [4, 4]


def test_inputs_come_first_and_then_the_longest_measurements(fresh: Checkout) -> None:
    """The stub says nothing of its cost: both of its jobs may be long."""
    output = fresh.run("--dry-run", "--quiet", "host")
    blocks = re.split(r"\n(?=(?:local)?rule )", output)
    found = {
        match[1]: int(match[2])
        for block in blocks
        if (match := re.match(r"rule (\w+):.*priority: (-?\d+)\n", block, re.DOTALL))
    }
    stages = {"inputs": 2, "measure": 1}
    assert {name: priority for name, priority in found.items() if priority > 0} == {
        f"{stage}_convergence_stub_{batch}": priority for stage, priority in stages.items() for batch in (1, 2)
    }


def test_timings_are_taken_last(finished: Checkout) -> None:
    results = finished.root / "results" / "tiny"
    before = max(path.stat().st_mtime_ns for path in (*results.rglob("*.npz"), results / "verdicts.csv"))
    assert min(path.stat().st_mtime_ns for path in (results / "performance").glob("*.csv")) > before


def test_a_finished_study_has_nothing_to_do(finished: Checkout) -> None:
    assert finished.planned() == set()


def test_a_finished_study_has_its_tables(finished: Checkout) -> None:
    results = finished.root / "results" / "tiny"
    verdicts = tables.read_table(results / "verdicts.csv", "verdicts")
    assert set(verdicts["backend"]) == {"torch", "jax"}
    assert set(verdicts["verdict"]) == {"supported"}
    crosscheck = tables.read_table(results / "crosscheck.csv", "crosscheck")
    assert crosscheck["agrees"].all()
    assert set(crosscheck["case"]) == {"plain", "flat"}
    facts = json.loads((results / "environment.json").read_text())
    assert facts["study"] == "tiny"
    assert facts["backends"]["jax"][0]["device"] == "cpu"
    quantities = tables.read_table(results / "quantities" / "convergence" / "stub.csv", "quantities")
    assert len(quantities) == 2 * 2 * 4 * 4 * 3  # cases, backends, widths, seeds, one scalar and two times
    timings = tables.read_table(results / "performance.csv", "performance")
    assert list(timings["size"]) == [2, 3, 4] * 2
    assert (timings["seconds"] > 0).all()
    assert set(tables.read_table(results / "scaling.csv", "scaling")["measure"]) >= {"flops", "seconds"}
    assert (finished.root / "paper" / "main.pdf").read_bytes().startswith(b"%PDF")
    assert not list(results.rglob("*.parts"))
    assert not list(results.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("file", "planned"),
    [
        ("ntkbench/backends/jax/__init__.py", JAX | AFTER | TIMED),
        ("ntkbench/backends/torch/__init__.py", TORCH | AFTER | TIMED),
        ("ntkbench/verdicts/fit.py", AFTER - {"crosscheck plain", "crosscheck flat"} | {"scaling"}),
        ("ntkbench/stages/measure.py", TORCH | JAX | AFTER | TIMED),
        ("ntkbench/seeding.py", INPUTS | TORCH | JAX | AFTER | TIMED),
        ("ntkbench/performance/timing.py", TIMED | {"paper", "all"}),
        ("ntkbench/figures/scaling.py", {"scaling", "paper", "all"}),
        ("ntkbench/figures/claim.py", {"figure", "paper", "all"}),
        ("ntkbench/report/paper.py", {"paper", "all"}),
    ],
)
def test_a_changed_module_plans_what_depends_on_it(finished: Checkout, file: str, planned: set[str]) -> None:
    finished.append(file, "\n# changed\n")
    assert finished.planned() == planned


def test_what_no_job_is_made_from_plans_nothing(finished: Checkout) -> None:
    """A claim that the study lacks, the plan, captions of the HTML report, and what only reads the study."""
    for file in (
        "ntkbench/claims/hierarchy/truncation.py",
        "ntkbench/performance/planning.py",
        "workflow/report/scaling.rst",
        "ntkbench/config/study.py",
    ):
        finished.append(file, "\n# changed\n")
    assert finished.planned() == set()


def test_a_changed_case_runs_again_alone(finished: Checkout) -> None:
    study = copy.deepcopy(STUDY)
    study["claims"]["convergence/stub"]["cases"]["plain"]["scale"] = 2.0
    finished.write_study(study)
    assert finished.planned() == {
        "inputs plain", "measure plain torch", "measure plain jax", "crosscheck plain",
        "analyse", "collect", "figure", "paper", "all", *TIMED,
    }  # fmt: skip


def test_a_new_case_leaves_the_others(finished: Checkout) -> None:
    study = copy.deepcopy(STUDY)
    study["claims"]["convergence/stub"]["cases"]["more"] = {"seeds": 5}
    finished.write_study(study)
    new = {"inputs more", "measure more torch", "measure more jax", "crosscheck more"}
    assert finished.planned() == new | TIMED | {"analyse", "collect", "figure", "paper", "all"}


def test_changed_sizes_are_timed_again_and_nothing_is_measured(finished: Checkout) -> None:
    study = copy.deepcopy(STUDY)
    study["performance"]["rounds"] = 2
    finished.write_study(study)
    assert finished.planned() == TIMED | {"paper", "all"}


def test_a_study_without_curves_times_nothing(fresh: Checkout) -> None:
    fresh.write_study({name: value for name, value in STUDY.items() if name != "performance"})
    assert fresh.planned() == INPUTS | TORCH | JAX | AFTER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sed": 1}, "sed = 1: unknown key; did you mean 'seed'?"),
        ({"seed": -1}, "seed = -1"),
        ({"backends": ["torch"]}, "a cross-check needs two"),
    ],
)
def test_a_wrong_study_is_refused_before_any_job(fresh: Checkout, change: dict[str, object], words: str) -> None:
    fresh.write_study({**STUDY, **change})
    assert words in fresh.run(fails=True)
    assert not (fresh.root / "results").exists()


def test_cuda_without_a_gpu_is_refused_at_once(fresh: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fresh.write_study({**STUDY, "device": "cuda"})
    assert "no NVIDIA GPU answers" in fresh.run(fails=True)
    assert not (fresh.root / "results").exists()
    fresh.run("--dry-run")


def test_an_unknown_study_and_an_unknown_option_are_named(fresh: Checkout) -> None:
    told = fresh.run("--dry-run", options="study=dream", fails=True)
    assert (
        told.splitlines()[-1]
        == "ntkbench: workflow/config/dream.yaml is missing; studies in workflow/config: default, paper, smoke, tiny"
    )
    assert "Snakefile" not in told
    assert "did you mean 'study'" in fresh.run(options="stdy=tiny", fails=True)


def test_the_html_report_holds_the_results(finished: Checkout) -> None:
    finished.run("--report", "report.html")
    report = (finished.root / "report.html").read_text(encoding="utf-8")
    for name in (
        "verdicts.csv",
        "crosscheck.csv",
        "convergence-stub.svg",
        "scaling.svg",
        "scaling.csv",
        "performance.csv",
        "main.pdf",
    ):
        assert name in report, name
    (categories,) = re.findall(r"var categories = (.*?)\s*;\n", report)
    assert {(name, *inner) for name, inner in json.loads(categories).items()} == {
        (name, "Study tiny") for name in ("Verdicts", "Cross-check", "Figures", "Performance", "Paper")
    }
    assert '"labels": {"claim": "A number falls"}' in report


def test_another_study_makes_the_paper_its_own_until_a_run_gives_it_back(finished: Checkout) -> None:
    """Figures and paper are shared by the studies: those of one must never pass for those of another.

    They are given back as by `make report`, after another study has taken the paper's folder.
    """

    def of() -> str:
        return json.loads((finished.root / "paper/generated/study.json").read_text())["study"]

    finished.write_study({**STUDY, "study": "other", "cases_per_job": 2})  # for fewer processes
    finished.run(options="study=other")
    assert of() == "other"
    assert {"figure", "scaling", "paper"} <= finished.planned()
    command = [*finished.command(), "summary=False"]
    done = subprocess.run(command, cwd=finished.root, env=finished.environment(), capture_output=True, text=True, check=True)
    assert of() == "tiny"
    assert "verdicts:" not in done.stdout
    assert finished.planned() == set()
    assert "2 verdicts: 2 supported" in finished.run("--force", "paper")


def test_a_summary_that_is_no_truth_value_is_refused(fresh: Checkout) -> None:
    command = [*fresh.command("--dry-run"), "summary=false"]
    done = subprocess.run(command, cwd=fresh.root, env=fresh.environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "--config summary=false: write summary=True or summary=False" in done.stdout + done.stderr
