"""The worked examples of docs/extending.md work: printed whole, typed, valid and measurable."""

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
from ntkbench.data import SOURCES, Source, load
from tests.claims import test_contract as contract
from tests.data import test_sources as promises
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
RULES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACE = "constancy/weights_movement"
SOURCE = "hypercube"


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


def module_of(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file, imported as if it lay in the package."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def claim(file: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """The example, known to the package."""
    module = module_of(file, f"ntkbench.claims.{PLACE.replace('/', '.')}", monkeypatch)
    known = {**all_claims(), PLACE: module.CLAIM}
    monkeypatch.setattr(ntkbench.claims, "all_claims", lambda: known)
    return module.CLAIM


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    path = tmp_path / f"{SOURCE}.py"
    path.write_text(block("example: data", "python"), encoding="utf-8")
    return path


@pytest.fixture
def source(source_file: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The example of a source, known to the package."""
    (found,) = module_of(source_file, f"ntkbench.data.{SOURCE}", monkeypatch).SOURCES
    monkeypatch.setitem(SOURCES, SOURCE, found)
    return found


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
    assert f"@inproceedings{{{claim.source.split(',')[0]}," in (ROOT / "ntkbench" / "references.bib").read_text(
        encoding="utf-8"
    )


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


def test_the_source_keeps_what_sources_promise(source: Source) -> None:
    assert f"`ntkbench/data/{SOURCE}.py`" in TEXT
    assert f"`*{SOURCE}.SOURCES`" in TEXT
    assert source.name == SOURCE
    for splits in (None, 3):
        promises.test_shapes_dtypes_and_norms(SOURCE, splits)
    promises.test_no_test_points_is_an_empty_array(SOURCE)
    promises.test_a_split_does_not_depend_on_how_many_are_asked_for(SOURCE)
    promises.test_training_sets_are_nested(SOURCE)
    promises.test_roots_give_other_data(SOURCE)
    promises.test_every_source_says_what_it_is()


def test_the_source_has_the_targets_it_says(source: Source) -> None:
    found = load(SOURCE, train_size=200, test_size=50, input_dim=6, root=0)
    assert set(np.unique(found.x)) == {-1.0, 1.0}
    np.testing.assert_array_equal(found.y[:, 0], found.x[:, 0] * found.x[:, 1])
    np.testing.assert_array_equal(found.y_test[:, 0], found.x_test[:, 0] * found.x_test[:, 1])


def test_a_claim_takes_the_source(claim: Claim, source: Source, tmp_path: Path) -> None:
    cases = study(tmp_path, dataset=SOURCE, train_size=4, widths=[16, 32], seeds=3, times=[0.5]).cases[PLACE]
    case = next(iter(cases.values()))
    torch = backends.load("torch", device="cpu", threads=1)
    found = claim.measure(torch, case, claim.prepare(case, 0), 16, 0)
    assert (claim.summarize(case, found, 16)["movement"] > 0).all()


@pytest.mark.parametrize("marker", ["example", "example: data"])
def test_the_examples_pass_the_linters(marker: str) -> None:
    place = {"example": f"ntkbench/claims/{PLACE}.py", "example: data": f"ntkbench/data/{SOURCE}.py"}[marker]
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", place, "-"]
        done = subprocess.run(ruff, input=block(marker, "python"), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_examples_are_typed(file: Path, source_file: Path, tmp_path: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run([*mypy, str(file), str(source_file)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("place", ["networks/residual.py", "backends/torch/residual.py", "backends/jax/residual.py"])
def test_the_architecture_is_printed_as_it_is(place: str) -> None:
    assert block(f"file: ntkbench/{place}", "python") == (ROOT / "ntkbench" / place).read_text(encoding="utf-8")


DOCUMENTS = ["CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
MADE = {
    f"ntkbench/claims/{PLACE}.py": "the worked example of a claim",
    f"ntkbench/data/{SOURCE}.py": "that of a source of data",
    "results/default/": "made by a run of the default study",
    "results/default/verdicts.csv": "the same",
    ".snakemake/": "the workflow's own, made by a run",
    ".snakemake/slurm_logs/": "the same, on a cluster",
    "tests/gpu/results.json": "made by `make test-gpu`",
}
"""What documents name and a checkout need not have."""


def not_there(text: str) -> list[str]:
    """Files and folders that a document names in backticks and that are neither below the root nor in `MADE`.

    A folder ends in a slash, a file has a slash and an ending; of a module alone (`base.py`) there must be one of this name.
    """
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.S | re.M)
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*/|[\w.-]+(?:/[\w.-]+)+\.\w+)`", prose)) - set(MADE)
    modules = {path.name for folder in ("ntkbench", "tests", "workflow") for path in (ROOT / folder).rglob("*.py")}
    alone = set(re.findall(r"`(\w+\.py)`", prose)) - modules
    return sorted(alone | {path for path in named if not (ROOT / path).exists()})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    assert not_there((ROOT / document).read_text(encoding="utf-8")) == []


def test_what_need_not_be_there_is_named_somewhere() -> None:
    everything = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [path for path in MADE if f"`{path}`" not in everything] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the contract (`backends/base.py`)", ["backends/base.py"]),
        ("shared by `limits/` and `ntkbench/limits/`", ["limits/"]),
        ("in `ntkbench/backends/base.py`, its `base.py` and `nowhere.py`", ["nowhere.py"]),
        ("`docs/gone.md`, `docs/gpu.md` and `tests/test_gone.py::test_it`", ["docs/gone.md"]),
        ("`make test`, `gap/laziness`, `results/<study>/x.csv` and `results/default/`", []),
        ("```\n`nowhere/at/all.py`\n```", []),
    ],
)
def test_a_name_of_nothing_is_found(text: str, found: list[str]) -> None:
    assert not_there(text) == found


def test_the_steps_after_the_file_are_named_in_order() -> None:
    steps = [
        "`ntkbench validate", "`make schema`", "`ntkbench claims --markdown`", "`ntkbench catalogue --write`", "`make test`",
        "`make reproduce STUDY=smoke`",
    ]  # fmt: skip
    worked = TEXT[TEXT.index("## A claim") : TEXT.index("## A source of data")]
    places = [worked.index(step) for step in steps]
    assert places == sorted(places)
