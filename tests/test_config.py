"""A study is valid as a whole, or every problem of it is named with key, value and mend."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ntkbench import config
from ntkbench.config import ConfigError, load
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parent.parent
DIGITS = {**TINY["claims"]["hierarchy/truncation"]["defaults"], "dataset": "digits", "input_dim": 64}
CASE = ("claims", "hierarchy/truncation", "cases", "plain")
DEFAULTS = ("claims", "hierarchy/truncation", "defaults")


def write(folder: Path, study: dict[str, Any], name: str = "tiny") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def changed(keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    study = copy.deepcopy(TINY)
    inner = study
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return study


def message(folder: Path, study: dict[str, Any], name: str = "tiny") -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, study, name))
    return str(caught.value)


def test_a_valid_study_is_loaded(tmp_path: Path) -> None:
    study = load(write(tmp_path, TINY))
    assert (study.name, study.seed, study.backends) == ("tiny", TINY["seed"], ("torch", "jax"))
    assert study.memory_bytes == 2**30
    case = study.cases["hierarchy/truncation"]["plain"]
    assert case.widths == tuple(TINY["claims"]["hierarchy/truncation"]["defaults"]["widths"])
    assert study.cases["hierarchy/truncation"]["shuffled"].control == "shuffled_top"


def test_a_cell_is_plain_and_makes_the_case_again(tmp_path: Path) -> None:
    from ntkbench.stages.cell import Cell

    study = load(write(tmp_path, TINY))
    plain = study.cell("hierarchy/truncation", "plain")
    assert json.loads(json.dumps(plain)) == plain
    assert Cell.make(**plain).case == study.cases["hierarchy/truncation"]["plain"]


def test_cases_share_a_process_in_the_files_order(tmp_path: Path) -> None:
    names = tuple(TINY["claims"]["hierarchy/truncation"]["cases"])
    assert load(write(tmp_path, TINY)).batches == {"hierarchy/truncation": tuple((name,) for name in names)}
    study = load(write(tmp_path, {**TINY, "cases_per_job": 2}))
    assert study.batches == {"hierarchy/truncation": (names[:2], names[2:])}
    assert load(write(tmp_path, {**TINY, "cases_per_job": 9})).batches == {"hierarchy/truncation": (names,)}


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("sed",), 1, ["sed = 1", "did you mean 'seed'"]),
        (("seed",), -1, ["seed = -1", "at least 0"]),
        (("seed",), True, ["seed = true", "whole number"]),
        (("seed",), "7", ['seed = "7"', "whole number"]),
        (("study",), "other", ['study = "other"', "'tiny'"]),
        (("backends",), ["torch"], ["backends", "a cross-check needs two"]),
        (("backends",), ["torch", "torch"], ["backends", "once"]),
        (("backends",), ["torch", "tensorflow"], ["backends.1", "tensorflow", "jax"]),
        (("device",), "gpu", ['device = "gpu"', "did you mean 'cpu'? choose one of auto, cpu, cuda"]),
        (("threads",), 0, ["threads = 0", "at least 1"]),
        (("cases_per_job",), 0, ["cases_per_job = 0", "at least 1"]),
        (("memory_gib",), -2, ["memory_gib = -2", "above 0"]),
        (("memory_gib",), 1e-9, ["memory_gib", "at least 0.001"]),
        (("claims",), {}, ["claims = {}", "1 or more"]),
        (
            ("claims", "hierarchy/truncatoin"),
            {"cases": {"a": {}}},
            ["hierarchy/truncatoin", "did you mean 'hierarchy/truncation'"],
        ),
        (("claims", "hierarchy/truncation", "default"), {}, ["default", "did you mean 'defaults'"]),
        (("claims", "hierarchy/truncation", "cases"), {}, ["hierarchy/truncation.cases = {}", "1 or more"]),
        ((*CASE, "width"), [8], ["plain.width = [8]", "did you mean 'widths'"]),
        ((*CASE, "widths"), [16, 8], ["plain", "widths must", "[16, 8]"]),
        ((*CASE, "widths"), [-8, 16], ["plain", "width", "at least 1, got -8"]),
        ((*CASE, "widths"), [8, 16.5], ["plain.widths.1 = 16.5", "whole number"]),
        ((*CASE, "widths"), [8, True], ["plain.widths.1 = true", "whole number"]),
        ((*CASE, "widths"), [], ["plain", "widths"]),
        ((*CASE, "seeds"), 1, ["plain", "seeds must be at least 2"]),
        ((*CASE, "seeds"), "8", ['plain.seeds = "8"', "whole number"]),
        ((*CASE, "step"), float("inf"), ["plain.step", "finite"]),
        ((*CASE, "activation"), "relu", ["plain", "relu", "second derivative"]),
        ((*CASE, "control"), "mean-field", ["plain.control", "mean_field"]),
        ((*CASE, "train_size"), 0, ["plain", "train_size"]),
        (DEFAULTS, {"dataset": "sphere"}, ["1 problem", "defaults: lacks", "add them to the case or to the defaults"]),
        ((*DEFAULTS, "depht"), 2, ["defaults.depht = 2", "did you mean 'depth'"]),
        (("claims", "hierarchy/truncation", "cases", "Bad Name"), {"seeds": 3}, ["Bad Name", "[a-z0-9]"]),
        (("claims", "hierarchy/truncation", "cases", "again"), {}, ["again", "same as plain"]),
        ((*CASE, "test_size"), 8, ["plain", "test_size is 8", "no test points"]),
        ((*CASE, "feature_strength"), 2.0, ["plain", "feature_strength is 2.0", "mean_field"]),
        ((*CASE, "one_output"), True, ["plain.one_output = true", "unknown key"]),
        (DEFAULTS, DIGITS, ["defaults.dataset = ", "'digits' has 10 outputs", "digits_parity"]),
        ((*CASE, "widths"), [8, 10**9], ["plain.widths = [8, 1000000000]", "GiB", "memory_gib is 1"]),
        (
            (*CASE[:-1], "shuffled", "times"),
            [1.0],
            ["shuffled.times = [1.0]", "vouches for 'error_p4' but resembles no case of it; take times: [0.5, 1.0] of plain"],
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, keys: tuple[str, ...], value: Any, words: list[str]) -> None:
    text = message(tmp_path, changed(keys, value))
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": [16, 8]}, "defaults.widths = [16, 8]: widths must"),
        ({"seeds": 1}, "defaults.seeds = 1: seeds must be at least 2"),
        ({"train_size": 0}, "defaults.train_size = 0: train_size"),
        ({"activation": "relu"}, "defaults.activation = \"relu\": activation 'relu' has no"),
        ({"dataset": "digits", "input_dim": 64}, "defaults.dataset = \"digits\": dataset 'digits' has 10 outputs"),
        ({"widths": [8, 10**9]}, "defaults.widths = [8, 1000000000]: the largest network"),
    ],
    ids=str,
)
@pytest.mark.parametrize("own", [(), ("depth", "input_dim")], ids=["all shared", "some in each case"])
def test_one_wrong_default_is_one_problem(tmp_path: Path, change: dict[str, Any], own: tuple[str, ...], words: str) -> None:
    study = copy.deepcopy(TINY)
    section = study["claims"]["hierarchy/truncation"]
    section["defaults"] |= change
    for case in section["cases"].values():
        case |= {name: section["defaults"][name] for name in own}
    for name in own:
        del section["defaults"][name]
    text = message(tmp_path, study)
    assert "has 1 problem:" in text
    assert words in text


@pytest.mark.parametrize(("name", "value"), [("widths", [16, 8]), ("seeds", 1), ("activation", "relu")])
@pytest.mark.parametrize("shared", [True, False])
def test_a_wrong_value_of_two_cases_is_a_problem_of_each(tmp_path: Path, name: str, value: Any, shared: bool) -> None:
    study = copy.deepcopy(TINY)
    section = study["claims"]["hierarchy/truncation"]
    section["cases"]["mean-field"] |= {name: section["defaults"][name]}
    for case in ("plain", "shuffled"):
        section["cases"][case] |= {name: value}
    if not shared:
        del section["defaults"][name]
    text = message(tmp_path, study)
    assert "has 2 problems:" in text
    assert f"cases.plain.{name} = " in text
    assert f"cases.shuffled.{name} = " in text


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    study = changed(("sed",), 1)
    study["device"] = "gpu"
    study["claims"]["hierarchy/truncation"]["cases"]["plain"] = {"seeds": 1}
    text = message(tmp_path, study)
    assert "3 problems" in text
    assert all(word in text for word in ("sed = 1", 'device = "gpu"', "seeds must be at least 2"))


def test_a_train_size_above_the_data_set_is_refused(tmp_path: Path) -> None:
    shared = TINY["claims"]["hierarchy/truncation"]["defaults"]
    digits = {"dataset": "digits_parity", "input_dim": 64, "train_size": 10**6}
    text = message(tmp_path, changed(DEFAULTS, {**shared, **digits}))
    assert "train_size" in text
    assert "1000000" in text


def test_a_claim_without_its_control_is_refused(tmp_path: Path) -> None:
    study = copy.deepcopy(TINY)
    del study["claims"]["hierarchy/truncation"]["cases"]["shuffled"]
    text = message(tmp_path, study)
    assert "expectation 'error_p4' has no negative control; add a case with control: shuffled_top" in text
    assert "error_p3" not in text


def test_a_claim_of_which_nothing_would_be_drawn_is_refused(tmp_path: Path) -> None:
    study = copy.deepcopy(TINY)
    own = {"dataset": "digits_parity", "input_dim": 64, "image": [8, 8, 1], "antisymmetric": True, "activation": "erf"}
    for case in study["claims"]["hierarchy/truncation"]["cases"].values():
        case |= own
    text = message(tmp_path, study)
    assert "claims.hierarchy/truncation.cases: none is drawn in the claim's figure; add a case with" in text
    assert "antisymmetric one of [False]" in text


def test_a_claim_with_controls_only_is_refused(tmp_path: Path) -> None:
    study = copy.deepcopy(TINY)
    del study["claims"]["hierarchy/truncation"]["cases"]["plain"]
    assert "add a regular one" in message(tmp_path, study)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study: tiny\nstudy: tiny\n", "'study' is given twice"),
        ("study: [", "no valid YAML"),
        ("- a\n", "holds a list"),
        ("", "holds nothing"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(path)


def test_a_missing_study_names_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, TINY)
    with pytest.raises(ConfigError, match=r"dream\.yaml is missing; studies in .*: tiny"):
        load(tmp_path / "dream.yaml")
    with pytest.raises(ConfigError, match=r"studies in .*: none; give a file, or work in a checkout"):
        load(tmp_path / "elsewhere" / "dream.yaml")


def test_a_number_in_exponent_notation_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    path.write_text(path.read_text().replace("step: 0.25", "step: 25e-2"))
    assert "25e-2" in path.read_text()
    assert load(path).cases["hierarchy/truncation"]["plain"].step == 0.25


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path, TINY)
    assert config.from_options(tmp_path, {"study": "tiny"}).name == "tiny"
    with pytest.raises(ConfigError, match="studdy.*did you mean 'study'"):
        config.from_options(tmp_path, {"studdy": "tiny"})


def test_cuda_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**TINY, "device": "cuda"})
    study = config.from_options(tmp_path, {"study": "tiny"})
    monkeypatch.setattr(config.device, "gpu_present", lambda: True)
    config.check_device(study)
    monkeypatch.setattr(config.device, "gpu_present", lambda: False)
    config.check_device(dataclasses.replace(study, device="auto"))
    with pytest.raises(ConfigError, match="device = 'cuda': no NVIDIA GPU answers"):
        config.check_device(study)


def test_a_hidden_gpu_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for code, present in ((0, True), (9, False)):
        command.write_text(f"#!/bin/sh\nexit {code}\n")
        command.chmod(0o755)
        assert config.gpu_present() is present
    command.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert config.gpu_present() is False


FAST = {"quantity": "hierarchy", "axis": "points", "sizes": [2, 4], "width": 8, "order": 3}
NAIVE = {**FAST, "quantity": "naive_hierarchy", "sizes": [4, 6]}


def timed(fast: dict[str, Any], naive: dict[str, Any]) -> dict[str, Any]:
    return {**TINY, "performance": {"curves": {"fast": {**FAST, **fast}, "naive": {**NAIVE, **naive}}}}


@pytest.mark.parametrize(("fast", "naive"), [({}, {}), ({"points": 7}, {}), ({}, {"points": 7})])
def test_a_naive_curve_has_its_twin_whatever_is_said_of_the_size_that_varies(
    tmp_path: Path, fast: dict[str, Any], naive: dict[str, Any]
) -> None:
    found = load(write(tmp_path, timed(fast, naive))).performance
    assert found is not None
    assert [curve.name for curve in found.curves] == ["fast", "naive"]


@pytest.mark.parametrize(
    ("fast", "naive", "words"),
    [
        ({"width": 9}, {}, ["curves.naive = [4, 6]", "compared with nothing"]),
        ({}, {"sizes": [3, 5]}, ["curves.naive = [3, 5]", "compared with nothing"]),
        ({"axis": "width"}, {}, ["curves.naive = [4, 6]", "compared with nothing"]),
        ({"outputs": 3}, {}, ["curves.fast.outputs = 3", "hierarchy is of one output"]),
        ({}, {"outputs": 3}, ["curves.naive.outputs = 3", "naive_hierarchy is of one output"]),
        ({"activation": "relu"}, {}, ["curves.fast.activation"]),
        ({}, {"axis": "outputs"}, ["curves.naive.axis"]),
    ],
)
def test_one_wrong_curve_is_one_problem(tmp_path: Path, fast: dict[str, Any], naive: dict[str, Any], words: list[str]) -> None:
    text = message(tmp_path, timed(fast, naive))
    assert all(word in text for word in words), text
    assert text.count("performance.curves.") == 1, text


def test_the_schema_in_the_repository_is_the_models() -> None:
    committed = json.loads((ROOT / "workflow" / "schemas" / "study.schema.json").read_text())
    assert committed == config.json_schema(), "run `make schema`"


def test_the_schema_accepts_and_refuses_as_the_model_does(tmp_path: Path) -> None:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(TINY)) == []
    for keys, value in (
        (("sed",), 1),
        (("seed",), "7"),
        ((*CASE, "width"), [8]),
        ((*CASE, "seeds"), "8"),
        (("claims", "dream/claim"), {"cases": {"a": {}}}),
        (("claims", "hierarchy/truncation", "cases", "Bad Name"), {"seeds": 3}),
    ):
        assert list(validator.iter_errors(changed(keys, value))), keys


@pytest.mark.parametrize("path", sorted((ROOT / "workflow" / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_project_are_valid(path: Path) -> None:
    assert load(path).name == path.stem
