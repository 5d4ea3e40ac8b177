"""The command line answers, and errs in one line with exit code 2."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ntkbench import claims, records
from ntkbench.cli import app
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
    records.write_table(tmp_path / "run" / "verdicts.csv", "verdicts", rows)
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


def test_verdicts_are_printed(results: Path) -> None:
    output = run("verdicts", str(results)).output
    assert "-0.333 [-0.4, -1e-300]" in output
    assert "2 verdicts: 1 supported, 0 contradicted, 1 inconclusive, 0 invalid" in output


def test_a_study_is_validated_and_planned(study: Path) -> None:
    assert "1 claims, 3 cases" in run("validate", str(study)).output
    output = run("plan", str(study)).output
    assert "8 16 32" in output
    assert "3 cases, 6 measurements (torch and jax)" in output


def test_the_schema_is_json() -> None:
    assert json.loads(run("schema").output)["properties"]["seed"]["minimum"] == 0


def test_a_run_agrees_with_itself(results: Path) -> None:
    run("compare", str(results), str(results))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "dream/claim"), "unknown claim 'dream/claim'"),
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


@pytest.mark.parametrize("command", ["claims", "show", "verdicts", "validate", "plan", "schema", "compare"])
def test_every_command_has_help(command: str) -> None:
    assert len(run(command, "--help").output.splitlines()) > 3
    assert command in run("--help").output
