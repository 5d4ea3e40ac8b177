"""The worked example of CONTRIBUTING.md works: printed whole, typed, valid and measurable."""

import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import ntkbench.claims
from ntkbench import backends, config
from ntkbench.claims import Claim, all_claims
from tests.claims import test_contract as contract
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACE = "constancy/weights_movement"


def block(marker: str, language: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n +```{language}\n(.*?)\n +```\n", TEXT, re.S)
    assert found is not None, marker
    return textwrap.dedent(found[1]) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / f"{PLACE}.py"
    path.parent.mkdir()
    path.write_text(block("example", "python"), encoding="utf-8")
    return path


@pytest.fixture
def claim(file: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """The example, known to the package as if its file lay there."""
    name = f"ntkbench.claims.{PLACE.replace('/', '.')}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    known = {**all_claims(), PLACE: module.CLAIM}
    monkeypatch.setattr(ntkbench.claims, "all_claims", lambda: known)
    return module.CLAIM


def study(tmp_path: Path, **sizes: Any) -> config.Study:
    """The example's cases as a study, with other sizes where they are given."""
    cases = yaml.safe_load(block("cases", "yaml"))
    for case in cases[PLACE]["cases"].values():
        case.update(sizes)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "claims": cases}))
    return config.load(path)


def test_the_example_is_a_complete_claim(claim: Claim) -> None:
    assert claim.id == PLACE
    assert f"ntkbench/claims/{PLACE}.py" in TEXT
    contract.test_claims_are_complete(claim)
    contract.test_expectations_and_panels_speak_of_declared_things(claim)
    assert f"@inproceedings{{{claim.source.split(',')[0]}," in (ROOT / "paper" / "references.bib").read_text(encoding="utf-8")


def test_the_example_s_cases_are_valid(claim: Claim, tmp_path: Path) -> None:
    cases = study(tmp_path).cases[PLACE]
    assert [case.control for case in cases.values()] == [None, "mean_field"]
    with pytest.raises(config.ConfigError, match="take depth 2 or more"):
        study(tmp_path, depth=1)


def test_the_example_measures_what_it_says(claim: Claim, tmp_path: Path) -> None:
    """Slopes of the movement: about -1, and about -1/2 in the control."""
    cases = study(tmp_path, widths=[16, 256], seeds=4, train_size=3, times=[1.0]).cases[PLACE]
    torch = backends.load("torch", device="cpu", threads=1)
    fall = {}
    for case in cases.values():
        points = claim.prepare(case, 0)
        found = [claim.summarize(case, claim.measure(torch, case, points, m, 0), m)["movement"] for m in case.widths]
        assert all(values.shape == (4,) and (values > 0).all() for values in found)
        fall[case.control] = np.log(found[1] / found[0]).mean() / np.log(16)
    assert abs(fall[None] + 1) < 0.25
    assert abs(fall["mean_field"] + 0.5) < 0.25


def test_the_example_passes_the_linters(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        named = ["--stdin-filename", f"ntkbench/claims/{PLACE}.py", "-"]
        ruff = [sys.executable, "-m", "ruff", *command, *named]
        done = subprocess.run(ruff, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_example_is_typed(file: Path, tmp_path: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), str(file)]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:ntkbench|tests|paper|workflow)/[\w/.-]*)`", TEXT)) - {f"ntkbench/claims/{PLACE}.py"}
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_steps_after_the_file_are_named_in_order() -> None:
    steps = [
        "`ntkbench validate", "`make schema`", "`ntkbench claims --markdown`", "`make test`", "`make reproduce STUDY=smoke`",
    ]  # fmt: skip
    worked = TEXT[TEXT.index("## Adding a claim, worked") :]
    places = [worked.index(step) for step in steps]
    assert places == sorted(places)
