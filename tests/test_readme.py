"""What the README shows is what the code does."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ntkbench.backends.base import Backend
from ntkbench.claims import all_claims
from ntkbench.cli import app
from ntkbench.data.files import FOLDER_VARIABLE
from ntkbench.hierarchy.truncation_error import FACTORS
from tests.hierarchy.test_truncation_error import ASKED, HIGH_ORDERS, ON_FOUR, ON_MANY
from tests.scratch import copy_checkout

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
EXAMPLE = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.S).group(1)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_example_runs_in_either_backend(backend):
    code = EXAMPLE.replace('load("torch"', f'load("{backend}"')
    assert f'load("{backend}", threads=1)' in code
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert 1e-7 < float(result.stdout) < 1e-3


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_example_of_a_prediction_runs_and_its_estimates_hold(backend, tmp_path):
    code = re.search(r"<!-- example: prediction -->\n```python\n(.*?)```", README, re.S).group(1)
    code = code.replace('load("torch"', f'load("{backend}"')
    assert f'load("{backend}", threads=1)' in code
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"order (\d), t = +(\S+): error (\S+), estimate (\S+), inside", result.stdout)
    assert len(rows) == 24
    assert all(1 / 15 < float(error) / float(estimate) < 15 for _, _, error, estimate in rows)
    said = re.search(r"At t = 32 the frozen NTK errs by (\S+), order 3 by (\S+), order 4 by (\S+)\.\s", README).groups()
    assert [float(error) for _, t, error, _ in rows if t == "32.00"] == [float(error) for error in said]
    assert (tmp_path / "prediction.png").stat().st_size > 10_000


def test_what_is_said_of_the_estimate_is_what_is_tested() -> None:
    said = " ".join(README.split())
    factors = re.search(r"a factor of (\d+) of it for orders 2, 3 and 5 and of (\d+) for orders 4 and 6\.", said).groups()
    assert {order: float(factors[order in (4, 6)]) for order in range(2, 7)} == FACTORS
    low, many, four = re.search(
        r"Orders 2 to 4 must keep to it in (\d+)% of cases, .*? points \((\d+) architectures, .*?\) and on four \((\d+) arch",
        said,
    ).groups()
    high, few = re.search(r"Orders 5 and 6 must in (\d+)%, on four points \((\d+) architectures\)", said).groups()
    assert {order: int(low if order < 5 else high) / 100 for order in range(2, 7)} == ASKED
    assert [int(count) for count in (many, four, few)] == [len(of) for of in (ON_MANY, ON_FOUR, HIGH_ORDERS)]


def test_usage_comes_before_the_claims() -> None:
    heads = re.findall(r"^## (.*)$", README, re.M)
    assert heads[0] == "Two commands"
    assert max(map(heads.index, ("Your own study", "As a library", "Predicting training", "Any model"))) < heads.index(
        "The claims"
    )


def test_a_study_of_ones_own_is_copied_validated_planned_and_run(tmp_path: Path) -> None:
    commands = re.search(r"<!-- example: study -->\n```\n(.*?)```", README, re.S).group(1).splitlines()
    run = commands.pop()
    assert run.startswith("make reproduce STUDY=mine ")
    copy_checkout(tmp_path / "checkout")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-ec", "\n".join([*commands, "snakemake --dry-run --config study=mine"])],
        capture_output=True, text=True, cwd=tmp_path / "checkout", env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "workflow/config/mine.yaml is valid: " in result.stdout
    assert " measurements (torch and jax)" in result.stdout
    assert re.search(r"Job stats:.*\ntotal +\d{2}", result.stdout + result.stderr, re.S)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_example_of_any_model_runs(backend):
    code = re.search(rf"<!-- example: {backend} -->\n```python\n(.*?)```", README, re.S).group(1)
    code += "\nassert K2.shape == (20, 20) and abs(K2 - K2.T).max() == 0 and K2[0, 0] > 0"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_the_claims_table_is_the_one_that_the_command_prints():
    printed = subprocess.run(
        [sys.executable, "-m", "ntkbench", "claims", "--markdown"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    shown = re.search(r"<!-- claims: .*? -->\n(.*?)<!-- /claims -->", README, re.S).group(1)
    assert shown.strip() == printed.strip()
    assert all(claim_id in shown for claim_id in all_claims())


@pytest.mark.parametrize("document", ["README.md", "docs/extending.md"])
def test_a_document_for_users_names_a_study_and_how_to_begin(document):
    code = _code(document)
    assert "smoke" in _studies(code)
    assert ". .venv/bin/activate" in code


def _code(document):
    text = (ROOT / document).read_text()
    return "\n".join(re.findall(r"```\n(.*?)```", text, re.S) + re.findall(r"(?<!`)`([^`]+)`(?!`)", text))


def _studies(code):
    return set(re.findall(r"(?:STUDY=|study=|ntkbench plan )([a-z]+)", code))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/extending.md"])
def test_commands_that_are_documented_exist(document):
    code = _code(document)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    asked = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert {"test"} < asked <= targets
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    asked = set(re.findall(r"\bntkbench ([a-z]+)", code))
    assert asked
    assert asked <= commands
    studies = {file.stem for file in (ROOT / "workflow" / "config").glob("*.yaml")}
    assert _studies(code) <= studies | {"mine"}  # which is the reader's own


def test_settings_of_a_backend_that_are_documented_exist():
    written = re.search(r"`load\(name, ([^`]*)\)`", README).group(1)
    asked = set(re.findall(r"(\w+)=", written))
    assert asked == set(inspect.signature(Backend.__init__).parameters) - {"self"}


def test_a_report_is_of_a_study_that_is_up_to_date():
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "report", "STUDY=smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    run, report = [line for line in done.stdout.splitlines() if "snakemake" in line and "study=smoke" in line][-2:]
    assert "--cores" in run
    assert "--cores" in report  # the rules ask how many there are, though nothing runs
    assert run.endswith("summary=False")
    assert report.endswith("--report results/smoke/report.html")


def test_make_refuses_a_misspelt_variable_and_takes_those_it_has():
    known = set(re.search(r"^KNOWN := (.*)$", MAKEFILE, re.M)[1].split())
    assert known == set(re.findall(r"^(\w+) \?=", MAKEFILE, re.M))
    for given, status in (("STDUY=smoke", 2), ("STUDY=smoke", 0), ("PYTHON=a python", 0)):
        done = subprocess.run(["make", "--dry-run", "plan", given], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert ("there is no variable STDUY: give one of STUDY" in done.stderr) == (status == 2)


def test_the_installation_ends_by_saying_how_to_use_it():
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "environment", "VENV=nowhere/env"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    echoed = [line for line in done.stdout.splitlines() if line.startswith("echo")]
    assert "Installing" in echoed[0]
    assert ". nowhere/env/bin/activate" in echoed[-1]
    assert done.stdout.splitlines()[-1] == echoed[-1]


def test_the_installation_echoes_no_pip_command():
    recipes = re.findall(r"^\t(.*)", MAKEFILE.partition("reproduce: $(STAMP)")[0], re.M)
    first = [line for line, before in zip(recipes[1:], recipes, strict=False) if not before.endswith("\\")]
    assert all(line.startswith("@") for line in first)


def test_no_placeholder_is_left() -> None:
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", README)) <= {FOLDER_VARIABLE}
