"""Lock, conda environment, metadata and what is shipped agree with one another."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ntkbench
from tests import pins

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ("cpu", "cuda")


def requirements(*extras: str) -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


def unmet(asked: list[Requirement], locked: dict[str, str]) -> list[str]:
    """Names of what is not locked, or locked outside of its range."""
    versions = {requirement: locked.get(canonicalize_name(requirement.name)) for requirement in asked}
    return [r.name for r, version in versions.items() if version is None or not r.specifier.contains(version)]


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_meets_every_declared_range(lock: str, python: str) -> None:
    locked = {**pins.locked(lock, python), "torch": pins.torch_pin()}
    extras = ("dev", "cuda") if lock == "cuda" else ("dev",)
    assert unmet(requirements(*extras), locked) == [], "run `make lock`; for torch change TORCH in the Makefile"


def test_what_is_not_locked_or_locked_out_of_range_is_named() -> None:
    locked = {"numpy": "2.4.6", "pyyaml": "6.0.4", "torch": "2.13.0"}
    asked = [Requirement(text) for text in ("numpy>=2,<3", "PyYAML>=6", "torch>=2.14", "jax[cuda13]>=0.10")]
    assert unmet(asked, locked) == ["torch", "jax"]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_is_hashed_throughout_and_names_no_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^torch==", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(entries) > 80
    assert all("--hash=sha256:" in entry for entry in entries)


def test_a_cpu_needs_nothing_of_cuda() -> None:
    assert not [name for name in pins.locked("cpu") if name.startswith(("nvidia", "cuda", "triton"))]
    assert [name for name in pins.locked("cuda") if name.startswith("nvidia")]
    assert "jax-cuda13-plugin" in pins.locked("cuda")


def test_environment_yml_is_the_lock() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == pins.environment_yml(), "run `make lock`"
    parsed = yaml.safe_load(text)
    assert parsed["dependencies"][0] == f"python={pins.PYTHON}"
    listed = dict(pin.split("==") for pin in parsed["dependencies"][-1]["pip"] if "==" in pin)
    assert set(listed) == {canonicalize_name(r.name) for r in requirements()}
    assert all(pins.locked("cpu").get(name, pins.torch_pin()) == version for name, version in listed.items())


def test_versions_agree() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ntkbench.__version__)
    assert "version" in PROJECT["dynamic"]
    citation = ROOT / "CITATION.cff"
    assert yaml.safe_load(citation.read_text(encoding="utf-8"))["version"] == ntkbench.__version__


def test_what_is_imported_is_declared() -> None:
    """And what is declared is imported, or run by name."""
    from tests.test_layers import SOURCES, imports

    distributions = {"sklearn": "scikit-learn", "yaml": "pyyaml", "jaxlib": "jax"}
    standard = sys.stdlib_module_names
    names = {name.split(".")[0] for file in SOURCES for _, name in imports(file)} - {"ntkbench", ""}
    imported = {canonicalize_name(distributions.get(name, name)) for name in names if name not in standard}
    assert imported | {"snakemake"} == {canonicalize_name(r.name) for r in requirements()}


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built in `folder`."""
    command = [sys.executable, "-c", "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"]
    from tests.scratch import copy_checkout

    copy_checkout(folder / "copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff"):
        (folder / "copy" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, str(folder)], cwd=folder / "copy", check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_code_data_and_types(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as file:
        shipped = {name for name in file.namelist() if name.startswith("ntkbench/")}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ntkbench").rglob("*.py")}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ntkbench" / "data" / "files").iterdir()}
    assert shipped == sources | data | {"ntkbench/py.typed", "ntkbench/references.bib"}


def test_committed_files_name_no_host_of_a_package_index() -> None:
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False).stdout.split()
    hosts = re.compile(r"https?://[^\s/]*(pypi|pythonhosted|simple)[^\s]*|file:///opt")
    for name in tracked:
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix in {".txt", ".toml", ".yml", ".yaml", ".md", ".smk", ".py", ""}
            and path != Path(__file__)
        ):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="ignore")), name


def test_make_help_lists_the_targets() -> None:
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in (
        "reproduce",
        "test",
        "test-matrix",
        "test-gpu",
        "environment",
        "report",
        "benchmark",
        "lint",
        "lock",
        "clean",
    ):
        assert re.search(rf"make {target} ", done.stdout), target


def test_ci_runs_make_test_and_a_slurm_cluster() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make test", "make slurm-check"]
