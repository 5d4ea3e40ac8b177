"""The command line answers, and errs in one line with exit code 2."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from scipy import stats
from typer.testing import CliRunner

import ntkbench
from ntkbench import claims, config, files, tables
from ntkbench.cli import app, findings, runs
from ntkbench.cli.runs import STUDIES
from ntkbench.performance import calibration, planning
from ntkbench.units import counted, duration
from tests.test_costs import RATES
from tests.test_records import VERDICT
from tests.tiny import TINY


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "250"})
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = [
        VERDICT,
        {**VERDICT, "backend": "jax", "verdict": "inconclusive", "estimate": None, "ci_low": None, "ci_high": None},
    ]
    tables.write_table(tmp_path / "run" / "verdicts.csv", "verdicts", rows)
    return tmp_path / "run"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_claims_are_listed() -> None:
    assert all(claim in run("claims").output for claim in claims.all_claims())
    lines = run("claims", "--markdown").output.splitlines()
    assert len(lines) == 2 + len(claims.all_claims())
    assert all(line.startswith("|") and line.endswith("|") for line in lines)


def test_a_claim_is_shown() -> None:
    claim = claims.get("hierarchy/truncation")
    output = run("show", claim.id).output
    assert claim.statement in output
    assert all(expectation.name in output for expectation in claim.expectations)
    assert all(control in output for control in claim.controls)


def test_rival_readings_are_told_from_contradicted_claims(verdicts_of: Callable[..., Path]) -> None:
    of = {"claim": "hierarchy/truncation", "verdict": "contradicted"}
    of |= {"kind": "rate", "expected": "-1", "margin": 0.2}
    rows = [{**of, "expectation": name} for name in ("error_p3", "formula_read_at_p3", "formula_read_at_p5")]
    rows[2]["verdict"] = "inconclusive"
    output = run("verdicts", str(verdicts_of(*rows))).output
    assert "3 verdicts: 0 supported, 2 contradicted, 1 inconclusive, 0 invalid" in output
    assert "1 of the contradicted is a rival reading: no source states it, and the claims expect it to fail" in output
    assert "formula_read_at_p3: slope -1 +- 0.2 (rival reading)" in output
    assert "error_p3: slope -1 +- 0.2 (rival" not in output
    assert "rival" not in run("verdicts", str(verdicts_of(rows[0]))).output
    assert "a rival reading, set against error_p3)" in run("show", "hierarchy/truncation").output


def test_verdicts_are_printed(results: Path) -> None:
    output = run("verdicts", str(results)).output
    assert "-0.333 [-0.4, -1e-300]" in output
    assert "2 verdicts: 1 supported, 0 contradicted, 1 inconclusive, 0 invalid" in output


@pytest.fixture
def verdicts_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run's folder with a row per given change."""

    def write(*changes: dict[str, Any], name: str = "run") -> Path:
        folder = tmp_path / "results" / name
        tables.write_table(folder / "verdicts.csv", "verdicts", [{**VERDICT, **change} for change in changes])
        return folder

    return write


def test_backends_that_agree_share_a_row(verdicts_of: Callable[..., Path]) -> None:
    slope = {"estimate": -0.5, "ci_low": -0.6, "ci_high": -0.4}
    close = {**slope, "estimate": -0.50001}
    other = {**slope, "estimate": -0.51}
    rows = [{"case": case, "backend": backend, **slope} for backend in ("torch", "jax") for case in ("alike", "apart", "split")]
    rows[3] |= close
    rows[4] |= other
    rows[5] |= {"verdict": "invalid"}
    lines = run("verdicts", str(verdicts_of(*rows))).output.splitlines()
    table = [line.split() for line in lines if line.startswith("    ")]
    assert table == [
        ["alike", "-0.5", "[-0.6,", "-0.4]", "supported"],
        ["apart", "torch", "-0.5", "[-0.6,", "-0.4]", "supported"],
        ["apart", "jax", "-0.51", "[-0.6,", "-0.4]", "supported"],
        ["split", "torch", "-0.5", "[-0.6,", "-0.4]", "supported"],
        ["split", "jax", "-0.5", "[-0.6,", "-0.4]", "invalid"],
    ]
    assert lines[-1] == "6 verdicts: 5 supported, 0 contradicted, 0 inconclusive, 1 invalid (3 torch, 3 jax)"


def test_claims_and_expectations_are_named_once(verdicts_of: Callable[..., Path]) -> None:
    rows = [
        {"claim": "a/first", "expectation": "one", "kind": "rate", "expected": "-1", "margin": 0.2, "case": "x"},
        {"claim": "a/first", "expectation": "one", "kind": "rate", "expected": "-1", "margin": 0.2, "case": "y"},
        {"claim": "b/second", "expectation": "one", "kind": "paired", "expected": "> 0", "margin": 0.6931, "case": "x"},
    ]
    lines = [line.rstrip() for line in run("verdicts", str(verdicts_of(*rows))).output.splitlines()]
    heads = [line for line in lines[1:] if not line.startswith("    ")]
    assert heads[:4] == ["a/first", "  one: slope -1 +- 0.2", "b/second", "  one: > 0.693"]


@pytest.mark.parametrize(
    ("kind", "expected", "margin", "shown"),
    [
        ("rate", "-0.5", 0.05, "slope -0.5 +- 0.05"),
        ("equivalence", "2", 0.15, "2 +- 0.15"),
        ("bound", "<= -1", 0.1, "slope <= -1 + 0.1"),
        ("identity", "0", 1e-6, "<= 1e-06"),
        ("paired", "> 0", 0.0, "> 0"),
        ("paired", "> 0", -0.01, "> -0.01"),
        ("paired", "< 0", 0.01, "< -0.01"),
        ("paired", "< 0", 0.0, "< 0"),
        ("paired", "!= 0", 0.01, "beyond +-0.01"),
    ],
)
def test_what_is_expected_has_its_margin(kind: str, expected: str, margin: float, shown: str) -> None:
    assert findings._asked({"kind": kind, "expected": expected, "margin": margin}) == shown


def test_a_claim_is_shown_with_what_is_judged() -> None:
    lines = run("show", "gap/hierarchy").output.splitlines()
    at = max(index for index, line in enumerate(lines) if line.startswith("  classes_p4: "))
    assert lines[at + 1] == "    judged: classes_difference_p4, difference > 0, smallest width"
    at = max(index for index, line in enumerate(lines) if line.startswith("  gain_p3: "))
    assert lines[at + 1] == "    judged: gain_p3, difference > 0, largest width, antisymmetric False"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("gap/hierachy", "is unknown; did you mean 'gap/hierarchy'?"),
        ("constancy", "is a family of claims; choose one of constancy/"),
    ],
)
def test_an_unknown_claim_is_answered_with_the_nearest(given: str, told: str) -> None:
    assert f"claim {given!r} {told}" in run("show", given, code=2).stderr


def test_a_run_is_known_by_its_study(verdicts_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = verdicts_of({}, name="tiny")
    monkeypatch.chdir(folder.parent.parent)
    assert run("verdicts", "tiny").output == run("verdicts", "results/tiny").output
    assert "a published one keeps none" in run("quantities", "tiny", "gap/hierarchy", "gain_p4", code=2).stderr


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((-1.0, -math.inf, math.inf), "-1 unbounded"),
        ((-1.0, -math.inf, -0.5), "-1 [unbounded, -0.5]"),
        ((None, -math.inf, math.inf), "no estimate"),
        ((None, None, None), "no estimate"),
    ],
)
def test_what_has_no_bound_or_estimate_is_said(verdicts_of: Callable[..., Path], numbers: tuple[Any, ...], shown: str) -> None:
    row = dict(zip(("estimate", "ci_low", "ci_high"), numbers, strict=True))
    output = run("verdicts", str(verdicts_of(row))).output
    assert shown in output
    assert "inf" not in output
    assert "nan" not in output


def test_names_are_whole_in_a_terminal_of_80_columns(verdicts_of: Callable[..., Path]) -> None:
    names = {"claim": "convergence/initialization", "expectation": "distance_without_f0"}
    slope = {"estimate": -0.0381, "ci_low": -0.0503, "ci_high": -0.0202}
    row = {**names, **slope, "case": "relu-1-fashion-128-antisymmetric", "verdict": "inconclusive"}
    result = CliRunner().invoke(app, ["verdicts", str(verdicts_of(row))], env={"COLUMNS": "80"})
    lines = result.output.splitlines()
    words = ["relu-1-fashion-128-antisymmetric", "-0.0381", "[-0.0503,", "-0.0202]", "inconclusive"]
    assert words in [line.split() for line in lines]
    assert all(len(line) <= 80 for line in lines[:5])


def test_reasons_are_grouped_and_counted(verdicts_of: Callable[..., Path]) -> None:
    control = "the negative control tanh-1-shuffled came out inconclusive, not contradicted"
    rows = [
        {"verdict": "invalid", "reason": f"{control} (curvature 2.1 [1, 3])"},
        {"verdict": "inconclusive", "reason": "the slope changes along the widths: curvature 0.13 [0.02, 0.23]"},
        {"verdict": "invalid", "reason": f"{control}; at width 16 the loss fell to 0.61; at width 32 the loss fell to 0.7"},
        {"verdict": "inconclusive", "reason": ""},
        {"verdict": "supported", "reason": "the slope changes"},
    ]
    output = run("verdicts", str(verdicts_of(*rows))).output
    claim = VERDICT["claim"]
    assert f"invalid, because\n  2 x {claim}: {control}\n  1 x {claim}: at width … the loss fell to …\n" in output
    assert "inconclusive, because\n  2 x the interval lies neither within what is expected nor outside\n" in output
    assert "the slope changes" not in output


def test_a_reason_keeps_its_numbers_where_all_have_the_same(verdicts_of: Callable[..., Path]) -> None:
    row = {"verdict": "invalid", "reason": "at width 16 the loss fell to 0.61"}
    same = run("verdicts", str(verdicts_of(row, row))).output
    assert f"  2 x {VERDICT['claim']}: at width 16 the loss fell to 0.61\n" in same


def test_the_smoke_study_says_what_it_is_for(verdicts_of: Callable[..., Path]) -> None:
    words = "sizes are for checking the machinery, not for verdicts"
    assert words in run("verdicts", str(verdicts_of({}, name="smoke"))).output
    assert words not in run("verdicts", str(verdicts_of({}))).output


def test_a_paper_is_shown_to_the_study_that_it_is_of(
    verdicts_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "STUDIES", tmp_path)
    (tmp_path / "smoke.yaml").touch()
    folder = verdicts_of({}, name="smoke")
    assert "paper" not in run("verdicts", str(folder)).output
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "main.pdf").touch()
    files.write_json(tmp_path / "paper" / "generated" / "study.json", {"study": "smoke"})
    assert f"The paper: {tmp_path / 'paper' / 'main.pdf'}" in run("verdicts", str(folder)).output
    files.write_json(tmp_path / "paper" / "generated" / "study.json", {"study": "default"})
    output = run("verdicts", str(folder)).output
    assert f"The paper in {tmp_path / 'paper'} is of the study default; `make reproduce STUDY=smoke` makes this one's" in output
    assert "main.pdf" not in output
    assert "makes this one's" not in run("verdicts", str(verdicts_of({}, name="reference"))).output


def test_missing_verdicts_of_a_study_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    STUDIES.mkdir(parents=True)
    (STUDIES / "default.yaml").touch()
    words = "results/default/verdicts.csv is missing: run `make reproduce STUDY=default`"
    assert words in run("verdicts", "results/default", code=2).stderr
    tables.write_table(Path("results/mine/verdicts.csv"), "verdicts", [VERDICT])
    for command in (("verdicts", "nowhere"), ("trace", "--results", "nowhere", "0.5"), ("crate", "nowhere")):
        assert "folders with verdicts: results/mine" in run(*command, code=2).stderr


def test_a_file_in_the_place_of_a_folder_is_not_to_be_deleted(verdicts_of: Callable[..., Path]) -> None:
    folder = verdicts_of({})
    message = run("verdicts", str(folder / "verdicts.csv"), code=2).stderr
    assert f"give the folder that it lies in: {folder}" in message
    assert "delete" not in message


def test_quantities_are_means_over_seeds_with_intervals(verdicts_of: Callable[..., Path]) -> None:
    folder = verdicts_of({"claim": "gap/hierarchy", "verdict": "invalid", "reason": "too coarse"})
    draw = np.random.default_rng(0)
    values = {"torch": np.exp(draw.normal(-2.0, 0.1, 8)), "jax": np.full(8, 0.25)}
    shared = {"claim": "gap/hierarchy", "case": "coats", "control": None, "width": 64, "along": None}
    rows = [
        {**shared, "backend": backend, "quantity": quantity, "seed": seed, "value": factor * value}
        for quantity, factor in (("left_p3", 10.0), ("left_p4", 1.0))
        for backend, of in values.items()
        for seed, value in enumerate(of)
    ]
    tables.write_table(folder / "quantities" / "gap" / "hierarchy.csv", "quantities", rows)
    output = run("quantities", str(folder), "gap/hierarchy", "left_p4", "--geometric").output
    (line,) = [line for line in output.splitlines() if "left_p4" in line]
    logs = np.log(values["torch"])
    centre, low, high = map(float, re.findall(r"[\d.]+", line.split("64")[1])[:3])
    half = stats.t.ppf(0.975, 7) * logs.std(ddof=1) / np.sqrt(8)
    assert centre == pytest.approx(np.exp(logs.mean()), rel=5e-3)
    # The larger of Student's and the bootstrap's interval.
    assert np.exp(logs.mean() - 1.6 * half) < low <= np.exp(logs.mean() - half) * 1.005
    assert np.exp(logs.mean() + half) * 0.995 <= high < np.exp(logs.mean() + 1.6 * half)
    assert "0.25 [0.25, 0.25]" in line
    assert "left_p3" not in output
    assert "1 x too coarse" in output
    assert "Means of logarithms over seeds" in output
    assert (
        "Arithmetic means, for ratios rather --geometric;" in run("quantities", str(folder), "gap/hierarchy", "left_p4").output
    )
    assert "has no quantity left_p5" in run("quantities", str(folder), "gap/hierarchy", "left_p5", code=2).stderr


def test_verdicts_say_in_how_much_the_frameworks_agree(results: Path) -> None:
    assert "torch and jax agree" not in run("verdicts", str(results)).output
    shared = {"claim": VERDICT["claim"], "case": "a", "max_abs": 1e-9, "allowed": 1e-10}
    rows = [
        {**shared, "quantity": name, "max_rel": worst, "agrees": worst < 1e-10} for name, worst in (("K2", 2e-14), ("f", 4e-9))
    ]
    tables.write_table(results / "crosscheck.csv", "crosscheck", rows)
    assert "torch and jax agree in 1 of 2 observables, to 4e-09 of the largest at worst" in run("verdicts", str(results)).output


@pytest.mark.parametrize(("names", "compared"), [(("small", "small"), 3), (("small", "large"), 1)])
def test_of_different_studies_only_what_both_ask_is_compared(results: Path, names: tuple[str, str], compared: int) -> None:
    other = results.parent / "other"
    rows = [VERDICT, {**VERDICT, "case": "only there"}]
    tables.write_table(other / "verdicts.csv", "verdicts", rows)
    for folder, name in zip((results, other), names, strict=True):
        files.write_json(folder / "environment.json", {"study": name})
    output = run("compare", str(results), str(other), code=int(compared == 3)).output
    assert f"{counted(compared, 'verdict')} compared" in output
    assert ("of 3 verdicts both have 1, and only these are compared" in output) == (compared == 1)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A machine of known speed; called with the memory that it has."""
    monkeypatch.setattr(calibration, "calibrate", lambda precision: RATES)

    def has(memory: int) -> None:
        monkeypatch.setattr(planning, "available_bytes", lambda: memory)

    has(2**34)
    return has


def test_a_plan_says_what_a_study_takes(study: Path, machine: Callable[[int], None]) -> None:
    output = run("plan", str(study), "--cores", "1").output
    assert re.search(r"│ measure +│ 6 +│ [\d.]+ (s|min) +│ 0.\d+ +│", output)
    assert re.search(r"about [\d.]+ (s|min) with 1 core; 16 GiB are available", output)


def test_a_plan_is_whole_in_a_terminal_of_80_columns(machine: Callable[[int], None]) -> None:
    lines = CliRunner().invoke(app, ["plan", "default"], env={"COLUMNS": "80"}).output.splitlines()
    end = next(index for index, line in enumerate(lines) if "cases, " in line and " measurements (" in line)
    study = config.load(STUDIES / "default.yaml")
    assert max(map(len, lines[:end])) <= 80
    assert not any("…" in line for line in lines)
    said = [line.strip() for line in lines[:end]]
    for claim_id, cases in study.cases.items():
        at = next(index for index in range(end) if said[index].split()[:1] == [claim_id])
        for name, case in cases.items():
            at = next(index for index in range(at + 1, end) if said[index].split()[0] == name)
            assert re.search(
                r"(?:[\d.]+ (?:s|min|h)|not known) +(?:[\d.]+ (?:s|min|h)|not known) +([\d.]+|not known)$", said[at]
            )
            sizes = " ".join(said[at + 1 : at + 5])
            assert f"widths {' '.join(map(str, case.widths))}; seeds " in sizes
            assert f"{case.activation}, depth {case.depth}; " in sizes
            assert case.control is None or f"control {case.control}" in sizes


def test_a_plan_gives_each_claim_its_share_of_all_measuring(tmp_path: Path, machine: Callable[[int], None]) -> None:
    smoke = yaml.safe_load((STUDIES / "smoke.yaml").read_text())
    kept = ("constancy/gradient_flow", "gap/equivalence", "hierarchy/sizes")
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(smoke | {"claims": {id_: smoke["claims"][id_] for id_ in kept}}))
    parts = [part for job in planning.jobs(config.load(path), RATES, 2) for part in job.parts]
    whole = sum(part.seconds or 0.0 for part in parts)
    output = run("plan", str(path)).output
    for id_ in kept:
        share = sum(part.seconds or 0.0 for part in parts if part.claim == id_) / whole
        assert re.search(rf"^{id_} .* {share:.1%}", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (98.9, "99 s"), (99.7, "1.7 min"), (5930, "99 min"), (5990, "1.7 h"), (4.4e6, "1200 h"), (None, "not known")],
)
def test_durations_have_two_digits(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_plan_says_what_it_leaves_out(study: Path, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claims.get("hierarchy/truncation")
    known = run("plan", str(study)).output
    monkeypatch.setattr(type(claim), "calls", lambda self, case, width: None)
    output = run("plan", str(study)).output
    assert "not known" not in known
    assert re.search(r"with \d+ cores?, without \d+ jobs whose seconds and memory are not known", output)
    assert re.search(r"│ measure +│ 6 +│ not known +│ not known +│", output)
    assert re.search(r"^hierarchy/truncation +not known +not known +not known *$", output, re.MULTILINE)


def test_a_claim_of_which_one_case_is_not_known_has_no_sum(
    tmp_path: Path, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = yaml.safe_load((STUDIES / "smoke.yaml").read_text())
    kept = ("hierarchy/sizes", "hierarchy/truncation")
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(smoke | {"claims": {id_: smoke["claims"][id_] for id_ in kept}}))
    claim = claims.get("hierarchy/truncation")
    first, calls = next(iter(config.load(path).cases[claim.id].values())), claim.calls
    monkeypatch.setattr(type(claim), "calls", lambda self, case, width: None if case == first else calls(case, width))
    output = run("plan", str(path)).output
    assert re.search(r"^hierarchy/truncation +not known +not known +not known *$", output, re.MULTILINE)
    assert re.search(r"^hierarchy/sizes .* [\d.]+%", output, re.MULTILINE)
    assert re.search(r"│ measure +│ \d+ +│ [\d.]+ (s|min), without \d jobs? whose", output)


def test_a_study_that_does_not_fit_is_refused(study: Path, machine: Callable[[int], None]) -> None:
    machine(2**28)
    result = run("plan", str(study), code=2)
    assert "hierarchy/truncation plain torch needs about 0.4 GiB" in result.stderr
    assert "available are 0.2 GiB: lower" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_jobs_side_by_side_are_refused_with_the_cores_that_fit(study: Path, machine: Callable[[int], None]) -> None:
    machine(2**29)
    assert "run with --cores 1" in run("plan", str(study), "--cores", "2", code=2).stderr
    run("plan", str(study), "--cores", "1")


def test_a_plan_for_a_gpu_says_whose_seconds_it_gives(tmp_path: Path, machine: Callable[[int], None]) -> None:
    machine(2**20)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "device": "cuda"}))
    assert "speed and memory were not measured" in run("plan", str(path)).output


def test_a_plan_imports_no_framework(study: Path) -> None:
    program = (
        "import sys\nfor name in ('torch', 'jax'): sys.modules[name] = None\n"
        f"from ntkbench.cli import app\napp(['plan', {str(study)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 measurements" in done.stdout


def test_a_study_is_validated_and_planned(study: Path, machine: Callable[[int], None]) -> None:
    assert "1 claim, 3 cases" in run("validate", str(study)).output
    output = run("plan", str(study)).output
    assert "8 16 32" in output
    assert "3 cases, 6 measurements (torch and jax)" in output


def test_a_study_is_known_by_its_name(study: Path, monkeypatch: pytest.MonkeyPatch, machine: Callable[[int], None]) -> None:
    monkeypatch.setattr(runs, "STUDIES", study.parent)
    assert run("plan", "tiny").output == run("plan", str(study)).output
    assert "1 claim, 3 cases" in run("validate", "tiny").output
    assert f"dream.yaml is missing; studies in {study.parent}: tiny" in run("plan", "dream", code=2).stderr


def test_a_plan_counts_the_seeds_that_grow_with_the_width(tmp_path: Path, machine: Callable[[int], None]) -> None:
    shared = {"dataset": "sphere", "train_size": 3, "input_dim": 4, "activation": "tanh", "depth": 2, "seeds": 20}
    shared |= {"statistic": "bias", "widths": [4, 8, 16], "seeds_per_width": 4}
    cases = {"plain": {}, "correlated": {"control": "correlated_weights"}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "claims": {"convergence/initialization": {"defaults": shared, "cases": cases}}}))
    assert "20 32 64" in run("plan", str(path)).output


def test_the_version_is_printed() -> None:
    assert run("--version").output.strip() == ntkbench.__version__


def test_the_schema_is_json() -> None:
    assert json.loads(run("schema").output)["properties"]["seed"]["minimum"] == 0


def test_a_run_agrees_with_itself(results: Path) -> None:
    run("compare", str(results), str(results))


def test_levels_and_what_is_different_are_told(results: Path, tmp_path: Path) -> None:
    other = Path(changed(results, "-0.333", "-0.334"))
    for folder, version in ((results, "2.0"), (other, "2.1")):
        files.write_json(folder / "environment.json", {"study": "small", "versions": {"numpy": version}})
    page = tmp_path / "page.html"
    output = run("compare", str(other), str(results), "--html", str(page)).output
    assert re.search(rf"{VERDICT['claim']} +within interval +0 of 2 +reproduced", output)
    assert "Verdicts must agree within interval: a root was not recorded" in output
    assert "version of numpy: 2.1 here, 2.0 there" in output
    assert "2 reproduced (1 bitwise, 1 within interval)" in output
    assert "version of numpy" in page.read_text(encoding="utf-8")


def test_other_results_versions_are_compared_only_if_asked(results: Path, tmp_path: Path) -> None:
    other = Path(changed(results, ",supported,", ",supported,"))
    for folder, version in ((results, 1), (other, 2)):
        files.write_json(folder / "environment.json", {"study": "small", "results_version": version})
    refused = run("compare", str(other), str(results), code=2)
    assert "the results version is 2 here, 1 there" in refused.output
    assert "2 reproduced" in run("compare", str(other), str(results), "--across-versions").output


def changed(results: Path, old: str, new: str) -> str:
    """A copy of the run, with text replaced in its verdicts."""
    text = (results / "verdicts.csv").read_text()
    assert old in text
    folder = results.parent / "changed"
    folder.mkdir()
    (folder / "verdicts.csv").write_text(text.replace(old, new))
    return str(folder)


def test_a_run_that_differs_fails(results: Path) -> None:
    output = run("compare", changed(results, ",supported,", ",contradicted,"), str(results), code=1).output
    assert "2 verdicts compared" in output
    assert "1 differs" in output
    assert "lost" not in output


@pytest.mark.parametrize(
    ("root", "code", "row"), [(7, 1, "apart +0 of 2 +2 differs"), (8, 2, "2 of 2 +not comparable")], ids=["same", "other"]
)
def test_a_run_that_asks_otherwise_is_not_reproduced(results: Path, root: int, code: int, row: str) -> None:
    rows = tables.read_rows(results / "verdicts.csv", "verdicts")
    other = results.parent / "other"
    tables.write_table(other / "verdicts.csv", "verdicts", [{**row, "seeds": "99"} for row in rows])
    for folder, of in ((results, 7), (other, root)):
        files.write_json(folder / "environment.json", {"study": "small", "root": of})
    output = run("compare", str(other), str(results), code=code).output
    assert "seeds is 99 here" in output
    assert re.search(rf"{VERDICT['claim']} +{row}", output)
    assert "reproduced" not in output


def test_a_run_whose_verdicts_became_invalid_fails(results: Path) -> None:
    other = changed(results, ",supported,", ",invalid,")
    output = run("compare", other, str(results), code=1).output
    assert f"1 verdict is lost: valid in {results}, invalid in {other} or missing from it" in output
    # The other way round nothing is lost.
    assert "1 not comparable" in run("compare", str(results), other).output


@pytest.mark.parametrize("kept", [0, 1])
def test_a_run_that_lacks_verdicts_fails(results: Path, kept: int) -> None:
    rows = tables.read_rows(results / "verdicts.csv", "verdicts")
    cut = results.parent / "cut"
    tables.write_table(cut / "verdicts.csv", "verdicts", rows[:kept])
    lost = ("2 verdicts are lost", "1 verdict is lost")[kept]
    assert lost in run("compare", str(cut), str(results), code=1).output
    # The other way round nothing is lost; with no verdict in both there is nothing to say.
    other = run("compare", str(results), str(cut), code=0 if kept else 2)
    assert "lost" not in other.output
    assert ("can be compared" in other.stderr) is not kept


@pytest.mark.parametrize("command", [("verdicts",), ("compare", "{results}")])
def test_an_unknown_verdict_is_one_line(results: Path, command: tuple[str, ...]) -> None:
    name, *before = (part.format(results=results) for part in command)
    result = run(name, *before, changed(results, ",supported,", ",refuted,"), code=2)
    assert "changed/verdicts.csv is damaged: 'refuted' is not supported or contradicted" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "dream/claim"), "claim 'dream/claim' is unknown"),
        (("verdicts", "nowhere"), "nowhere/verdicts.csv is missing"),
        (("validate", "nowhere.yaml"), "nowhere.yaml is missing"),
        (("plan", "nowhere.yaml"), "nowhere.yaml is missing"),
        (("compare", "nowhere", "elsewhere"), "nowhere/verdicts.csv is missing"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, code=2)
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


HELPS = [(name, width) for name in sorted(typer.main.get_command(app).commands) for width in (80, 120)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("command", "width"), HELPS)
def test_the_help_of_every_command_flows(command: str, width: int) -> None:
    """No line of a paragraph ends where the next word would still fit."""
    output = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": str(width)}).output
    assert broken_lines(output.partition("╭")[0], width) == []


def broken_lines(text: str, width: int) -> list[str]:
    """Lines whose paragraph goes on below with a word for which there was room."""
    lines = [line.strip() for line in text.splitlines()]
    return [one for one, after in pairwise(lines) if one and after and len(f" {one} {after.split()[0]} ") <= width]


def test_a_line_that_ends_early_is_seen() -> None:
    early = " Seconds are those of one job after another,\n of the plan.\n"
    assert broken_lines(early, 80) == ["Seconds are those of one job after another,"]
    assert broken_lines(early, 45) == []
    assert broken_lines("A sentence.\n\nAnother one.", 80) == []


@pytest.mark.parametrize(("number", "shown"), [(0, "0 claims"), (1, "1 claim"), (2, "2 claims")])
def test_one_has_no_plural(number: int, shown: str) -> None:
    assert counted(number, "claim") == shown


@pytest.mark.parametrize("command", ["claims", "show", "verdicts", "quantities", "validate", "plan", "schema", "compare"])
def test_every_command_has_help(command: str) -> None:
    assert len(run(command, "--help").output.splitlines()) > 3
    assert command in run("--help").output
