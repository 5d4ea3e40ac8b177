"""Who may import whom, found in the sources and checked in a fresh interpreter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ntkbench"
SOURCES = sorted(PACKAGE.rglob("*.py"))

HOMES: dict[str, tuple[str, ...]] = {
    "torch": ("backends/torch/",),
    "jax": ("backends/jax/",),
    "jaxlib": ("backends/jax/",),
    "matplotlib": ("figures/",),
    "seaborn": ("figures/",),
    "snakemake": (),
    "pydantic": ("config/",),
    "yaml": ("config/", "citation.py"),
    "typer": ("cli/", "report/"),
    "rich": ("cli/", "report/"),
    "typst": ("report/",),
    "packaging": ("doctor/",),
    "threadpoolctl": ("doctor/",),
    "sklearn": ("data/", "baselines.py"),
    "pooch": ("data/",),
    "csv": ("tables.py",),
    "zipfile": ("records.py",),
    "pickle": (),
}
FORMATS = ("load", "save", "savez", "savez_compressed", "loadtxt", "savetxt", "read_csv", "to_csv", "read_json", "to_json")


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def breaches(file: Path, place: str) -> list[str]:
    found = []
    for line, name in imports(file):
        homes = HOMES.get(name.split(".")[0])
        if homes is not None and not place.startswith(homes):
            found.append(f"{place}:{line} imports {name}")
    return found


def test_every_library_stays_at_home() -> None:
    assert len(SOURCES) > 20
    assert [breach for file in SOURCES for breach in breaches(file, file.relative_to(PACKAGE).as_posix())] == []


@pytest.mark.parametrize(
    ("text", "place", "seen"),
    [
        ("import torch", "claims/a.py", True),
        ("def f():\n    from jax import numpy", "backends/torch/a.py", True),
        ("import torch.linalg", "backends/torch/a.py", False),
        ("from matplotlib.figure import Figure", "cli/findings.py", True),
    ],
)
def test_the_walk_sees_a_breach(tmp_path: Path, text: str, place: str, seen: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    assert bool(breaches(file, place)) is seen


def test_file_formats_are_known_to_records_and_tables_alone() -> None:
    found = []
    for file in SOURCES:
        place = file.relative_to(PACKAGE).as_posix()
        # Data sets that come with the package are read where they are described.
        if place in ("records.py", "tables.py") or place.startswith("data/"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Attribute) and node.attr in FORMATS and isinstance(node.value, ast.Name)):
                continue
            if node.value.id in ("np", "numpy", "pd", "pandas"):
                found.append(f"{place}:{node.lineno} {node.value.id}.{node.attr}")
    assert found == []


def test_claims_see_a_backend_only_through_its_contract() -> None:
    for file in sorted((PACKAGE / "claims").rglob("*.py")):
        for line, name in imports(file):
            if name.startswith("ntkbench.backends"):
                assert name == "ntkbench.backends.base", f"{file.name}:{line} imports {name}"


def test_nothing_flows_back_up() -> None:
    later = {
        "claims": ("stages", "figures", "report", "cli", "config", "records", "tables", "crosscheck"),
        "backends": ("claims", "stages", "figures", "report", "cli", "config", "records", "tables", "verdicts", "data"),
        "networks": ("backends", "claims", "stages", "data", "records", "tables"),
        "verdicts": ("stages", "figures", "report", "cli", "config", "backends"),
        "figures": ("stages", "report", "cli", "config", "backends"),
    }
    for folder, forbidden in later.items():
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            for line, name in imports(file):
                wrong = name.startswith(tuple(f"ntkbench.{module}" for module in forbidden))
                assert not wrong, f"{file.relative_to(PACKAGE)}:{line} imports {name}"


def test_the_snakemake_object_is_in_scripts_alone() -> None:
    scripts = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
    assert len(scripts) == 9
    for file in scripts:
        assert "snakemake." in file.read_text(encoding="utf-8")
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 24
    for file in SOURCES:
        assert "snakemake." not in file.read_text(encoding="utf-8"), file


def test_the_snakefile_is_a_table_of_contents() -> None:
    assert len((ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()) <= 60


def loaded_after(statement: str, blocked: tuple[str, ...] = ()) -> set[str]:
    """Top-level names of the modules that Python has loaded after `statement`, with `blocked` made unimportable."""
    program = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        f"{statement}\nprint(*{{name.split('.')[0] for name, module in sys.modules.items() if module is not None}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_no_framework() -> None:
    assert not {"torch", "jax", "numpy"} & loaded_after("import ntkbench")


@pytest.mark.parametrize(("backend", "other"), [("torch", "jax"), ("jax", "torch")])
def test_a_measuring_process_needs_numpy_scipy_and_one_framework(backend: str, other: str) -> None:
    absent = (other, "pandas", "matplotlib", "seaborn", "pydantic", "yaml", "typer", "rich", "typst", "snakemake")
    statement = f"import ntkbench.stages.measure, ntkbench.claims, ntkbench.backends.{backend}; ntkbench.claims.all_claims()"
    loaded = loaded_after(statement, absent)
    assert backend in loaded
    assert other not in loaded


def test_the_command_line_starts_without_what_its_commands_work_with() -> None:
    assert not {"numpy", "scipy", "pandas", "pydantic", "typst"} & loaded_after("import ntkbench.cli")


def test_the_snakefile_and_the_claims_that_every_job_knows_import_no_framework_and_no_scipy() -> None:
    snakefile = "import ntkbench.cli, ntkbench.config, ntkbench.stages.session, ntkbench.claims"
    assert not {"torch", "jax", "scipy"} & loaded_after(f"{snakefile}; ntkbench.claims.all_claims()")
