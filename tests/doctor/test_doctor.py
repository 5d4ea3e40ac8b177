"""`ntkbench doctor` finds what is wrong with packages and frameworks: every bad state is shown to be found."""

import json
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner

from ntkbench import doctor
from ntkbench.backends import BACKENDS
from ntkbench.cli import app
from ntkbench.doctor import Finding, frameworks, machine, packages, tools
from ntkbench.doctor.frameworks import Probe
from ntkbench.records import write_record
from tests.scratch import copy_checkout


def problems(findings: Iterable[Finding]) -> list[str]:
    """Each with its check; whoever reads one is told what to do."""
    wrong = [finding for finding in findings if finding.state == "problem"]
    assert all(finding.mend for finding in wrong)
    return [f"{finding.check}: {finding.found}" for finding in wrong]


# Packages


def test_what_is_installed_here_is_within_its_ranges() -> None:
    found = list(packages.check())
    assert [finding.state for finding in found] == ["ok", "ok"]
    assert f"torch {metadata.version('torch')}" in found[1].found


@pytest.mark.parametrize("version", ["3.10.14", "4.0.0a1"])
def test_an_unsupported_python_is_found(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(packages, "declared", lambda: (SpecifierSet(">=3.11,<4"), []))
    monkeypatch.setattr(platform, "python_version", lambda: version)
    assert problems(packages.check()) == [f"python: {version}, supported is <4,>=3.11"]


def test_a_version_out_of_range_and_a_missing_package_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "torch":
            return "2.3.0+cpu"
        if name == "typst":
            raise metadata.PackageNotFoundError(name)
        return true(name)

    true = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    supported = next(requirement.specifier for requirement in packages.declared()[1] if requirement.name == "torch")
    assert problems(packages.check()) == [
        f"packages: torch 2.3.0+cpu, supported is {supported}",
        "packages: typst is not installed",
    ]


def test_without_a_checkout_the_installed_metadata_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Told(dict[str, Any]):
        get_all = dict.get

    told = Told({"Requires-Python": ">=3.11", "Requires-Dist": ["numpy<1", "snakefmt>=99; extra == 'dev'"]})
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    monkeypatch.setattr(metadata, "metadata", lambda name: told)
    assert packages.declared()[1] == [Requirement("numpy<1")]
    assert problems(packages.check()) == [f"packages: numpy {metadata.version('numpy')}, supported is <1"]


# Frameworks


@pytest.fixture(scope="module")
def probes() -> dict[str, Probe]:
    """What the two frameworks are here."""
    return {name: frameworks.probe(name) for name in BACKENDS}


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, probes: dict[str, Probe]) -> dict[str, Probe]:
    """Probes that a test may change before they are looked at."""
    changed = dict(probes)
    monkeypatch.setattr(frameworks, "probe", changed.__getitem__)
    return changed


def test_this_installation_has_sound_frameworks(pretend: dict[str, Probe]) -> None:
    found = list(frameworks.check())
    assert problems(found) == []
    parts = {f"{name}{part}" for name in BACKENDS for part in ("", " device", " precision", " threads")}
    assert {finding.check for finding in found} == {"cross-check", *parts}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("facts", [{"tf32": True}, {"deterministic": False}, {"precision": "float32"}])
def test_a_wrong_flag_is_found(pretend: dict[str, Probe], name: str, facts: dict[str, Any]) -> None:
    pretend[name] = replace(pretend[name], facts={**pretend[name].facts, **facts})
    ((flag, value),) = facts.items()
    assert f"{name} precision: {flag} is {value}" in problems(frameworks.check())


@pytest.mark.parametrize("deviation", [3e-4, float("nan")])
def test_products_with_few_bits_are_found_whatever_the_flags_say(pretend: dict[str, Probe], deviation: float) -> None:
    pretend["jax"] = replace(pretend["jax"], single_precision=deviation)
    told = f"float32 differs from float64 by {deviation:.1g}, 1e-05 is allowed"
    assert problems(frameworks.check()) == [f"jax precision: {told}"]


def test_ten_bits_of_mantissa_lose_more_than_single_precision_may() -> None:
    """A product whose factors are rounded as TF32 rounds them, and one in float32, against float64."""

    def cut(matrix: np.ndarray) -> np.ndarray:
        unit = 2.0 ** (np.floor(np.log2(np.abs(matrix))) - 10)
        return np.round(matrix / unit) * unit

    def off(product: np.ndarray) -> float:
        return float(np.abs(product - one @ two).max() / np.abs(one @ two).max())

    one, two = np.random.default_rng(0).standard_normal((2, 64, 64))
    assert off(cut(one) @ cut(two)) > 3 * frameworks.SINGLE
    assert off(one.astype(np.float32) @ two.astype(np.float32)) < frameworks.SINGLE / 3


@pytest.mark.parametrize("name", BACKENDS)
def test_libraries_that_take_more_threads_than_asked_for_are_found(pretend: dict[str, Probe], name: str) -> None:
    pretend[name] = replace(pretend[name], pools={"libopenblas (openblas)": 4})
    assert problems(frameworks.check()) == [f"{name} threads: asked for one thread, libopenblas (openblas) runs 4"]
    pretend[name] = replace(pretend[name], pools={}, facts={**pretend[name].facts, "threads": 2})
    assert problems(frameworks.check()) == [f"{name} threads: asked for one thread, {name} itself runs 2"]


@pytest.mark.parametrize(("build", "told"), [("cpu", "the cpu build"), ("cuda", "see CUDA_VISIBLE_DEVICES")])
def test_a_gpu_that_is_passed_by_is_found(
    pretend: dict[str, Probe], monkeypatch: pytest.MonkeyPatch, build: str, told: str
) -> None:
    monkeypatch.setattr(frameworks, "gpu_present", lambda: True)
    monkeypatch.setattr(frameworks, "build_of", lambda name, version: build)
    for name in BACKENDS:
        pretend[name] = replace(pretend[name], facts={**pretend[name].facts, "device": "cpu"})
    found = problems(frameworks.check())
    assert len(found) == 2
    assert all(f"takes the CPU though an NVIDIA GPU answers: {told}" in line for line in found)


def test_a_gpu_that_is_taken_is_named(pretend: dict[str, Probe]) -> None:
    pretend["torch"] = replace(pretend["torch"], facts={**pretend["torch"].facts, "device": "cuda", "device_name": "H100"})
    assert Finding("torch device", "ok", "device: auto takes H100") in list(frameworks.check())


def test_builds_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        name = "jax-cuda13-plugin"

    builds = {"2.13.0+cpu": "cpu", "2.13.0": "cpu", "2.11.0+cu130": "cuda"}
    assert {version: frameworks.build_of("torch", version) for version in builds} == builds
    monkeypatch.setattr(metadata, "distributions", lambda: iter([Distribution()]))
    assert frameworks.build_of("jax", "0.10.2") == "cuda"
    monkeypatch.setattr(metadata, "distributions", lambda: iter([]))
    assert frameworks.build_of("jax", "0.10.2") == "cpu"


def test_arrays_that_do_not_fit_each_other_are_found(pretend: dict[str, Probe]) -> None:
    ((width, arrays),) = pretend["jax"].measured.items()
    pretend["jax"] = replace(pretend["jax"], measured={width: {**arrays, "K2": arrays["K2"][:1]}})
    (found,) = problems(frameworks.check())
    assert found.startswith("cross-check: doctor, probe: K2 at width 16 has shape")


@pytest.mark.parametrize("package", BACKENDS)
def test_a_missing_framework_is_found_in_the_process_that_needs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('no module', name={package!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(frameworks.ProbeFailed, match=f"backend '{package}' needs the package '{package}'"):
        frameworks.probe(package)


def test_a_framework_that_fails_is_a_problem_and_the_other_is_still_examined(
    monkeypatch: pytest.MonkeyPatch, probes: dict[str, Probe]
) -> None:
    def probe(name: str) -> Probe:
        if name == "torch":
            raise frameworks.ProbeFailed("no answer within 300 s")
        return probes[name]

    monkeypatch.setattr(frameworks, "probe", probe)
    found = list(frameworks.check())
    assert problems(found) == ["torch: no answer within 300 s"]
    assert "jax" in {finding.check for finding in found}
    assert "cross-check" not in {finding.check for finding in found}


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frameworks, "PATIENCE", 0.01)
    with pytest.raises(frameworks.ProbeFailed, match=r"no answer within 0\.01 s"):
        frameworks.probe("torch")


def test_a_record_that_cannot_be_read_back_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with versions of numpy that store the arguments of `savez` among the arrays."""
    write_record(tmp_path / "probe.npz", {"16/K2": np.ones(2)}, {})
    damaged = (tmp_path / "probe.npz").read_bytes()[:-40]

    def ended(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        Path(command[-1]).write_bytes(damaged)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(frameworks.subprocess, "run", ended)
    with pytest.raises(frameworks.ProbeFailed, match="what it computed cannot be read"):
        frameworks.probe("torch")


def test_a_wrong_kernel_in_one_framework_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probes: dict[str, Probe]
) -> None:
    """A copy of the package whose torch NTK leaves out a millionth."""
    copy_checkout(tmp_path / "copy")
    source = tmp_path / "copy" / "ntkbench" / "backends" / "torch" / "backend.py"
    text, line = source.read_text(encoding="utf-8"), "found.append(within_budget.kernel("
    assert text.count(line) == 1
    source.write_text(text.replace(line, "found.append((1 - 1e-6) * within_budget.kernel("), encoding="utf-8")
    monkeypatch.setattr(frameworks, "ROOT", tmp_path / "copy")
    mutated = {"torch": frameworks.probe("torch"), "jax": probes["jax"]}
    monkeypatch.setattr(frameworks, "probe", mutated.__getitem__)
    told = "torch and jax differ in K2_convolutional by 1e-06 (allowed 1e-10)"
    assert problems(frameworks.check()) == [f"cross-check: {told}"]


# The command


def run(monkeypatch: pytest.MonkeyPatch, *findings: Finding, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "examine", lambda study, results: iter(findings))
    result = CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_the_exit_code_is_one_if_there_is_a_problem_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ok, note, problem = Finding("a", "ok", "[x]"), Finding("b", "note", "y", "this"), Finding("c", "problem", "z", "that")
    code, output = run(monkeypatch, ok, note)
    assert code == 0
    assert "2 checks: 1 ok, 1 note, 0 problems" in output
    code, output = run(monkeypatch, ok, note, problem)
    assert code == 1
    told = ["ok       a: [x]", "note     b: y", "         this", "problem  c: z", "         that"]
    assert output.splitlines()[:5] == told


def test_json_holds_every_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, Finding("c", "problem", "z", "that"), arguments=("--json",))
    assert code == 1
    assert json.loads(output) == [{"check": "c", "state": "problem", "found": "z", "mend": "that"}]


def test_the_parts_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in (packages, frameworks, tools):
        monkeypatch.setattr(part, "check", lambda part=part: iter([Finding(part.__name__, "ok", "")]))
    monkeypatch.setattr(machine, "check", lambda study, results: iter([Finding(f"{study} {results}", "ok", "")]))
    told = [finding.check.rpartition(".")[2] for finding in doctor.examine(Path("study"), Path("results"))]
    assert told == ["packages", "frameworks", "study results", "tools"]
