"""What a result depends on is found by following imports, no more and no less."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ntkbench import provenance
from ntkbench.provenance import ROOT, code_files, code_hash, environment
from ntkbench.stages.dependencies import ENTRY, stage_code


def names(files: tuple[Path, ...], root: Path = ROOT) -> set[str]:
    return {file.relative_to(root).as_posix() for file in files}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    sources = {
        "__init__": "",
        "a": "from ntkbench.group.one import thing\nimport numpy",
        "lazy": "def f():\n    import ntkbench.b",
        "b": "from ntkbench import a as alias",
        "c": "from ntkbench.group import ONE",
        "d": "from .group.two import X\nfrom . import b",
        "cycle1": "import ntkbench.cycle2",
        "cycle2": "from ntkbench import cycle1",
        "group/__init__": "from ntkbench.group.one import ONE\nfrom ntkbench.group.two import X",
        "group/one": "ONE = thing = 1",
        "group/two": "from .one import ONE as X",
    }
    for name, text in sources.items():
        file = tmp_path / "ntkbench" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("a", {"__init__", "a", "group/__init__", "group/one"}),
        ("lazy", {"__init__", "lazy", "b", "a", "group/__init__", "group/one"}),
        ("c", {"__init__", "c", "group/__init__", "group/one", "group/two"}),
        ("d", {"__init__", "d", "b", "a", "group/__init__", "group/one", "group/two"}),
        ("cycle1", {"__init__", "cycle1", "cycle2"}),
        ("group", {"__init__", "group/__init__", "group/one", "group/two"}),
    ],
)
def test_imports_are_followed(package: Path, module: str, expected: set[str]) -> None:
    found = names(code_files(f"ntkbench.{module}", root=package), package)
    assert found == {f"ntkbench/{name}.py" for name in expected}


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no module ntkbench\.stages\.dream"):
        code_files("ntkbench.stages.dream")


def test_the_hash_changes_with_a_name_or_a_byte(package: Path) -> None:
    files = code_files("ntkbench.a", root=package)
    before = code_hash(files, package)
    assert code_hash(reversed(files), package) == before
    one = package / "ntkbench" / "group" / "one.py"
    one.write_text(one.read_text() + " ")
    assert code_hash(files, package) != before
    one.write_text(one.read_text()[:-1])
    assert code_hash(files, package) == before
    assert code_hash(files[1:], package) != before


@pytest.mark.parametrize("claim", ["convergence/initialization", "hierarchy/truncation"])
def test_a_measurement_depends_on_its_own_claim_and_backend(claim: str) -> None:
    of = {backend: names(stage_code("measure", claim, backend)) for backend in ("torch", "jax")}
    for backend, other in (("torch", "jax"), ("jax", "torch")):
        assert f"ntkbench/backends/{backend}/ntk.py" in of[backend]
        assert f"ntkbench/claims/{claim}.py" in of[backend]
        assert "ntkbench/records.py" in of[backend]
        assert not any(name.startswith(f"ntkbench/backends/{other}/") for name in of[backend])
        claims = {n for n in of[backend] if n.startswith("ntkbench/claims/") and n.count("/") == 3 and "__init__" not in n}
        assert claims == {f"ntkbench/claims/{claim}.py"}
    late = (
        "ntkbench/figures/",
        "ntkbench/report/",
        "ntkbench/verdicts/fit",
        "ntkbench/config",
        "ntkbench/cli",
        "ntkbench/crosscheck",
    )
    assert not [name for name in of["jax"] if name.startswith(late)]


def test_the_static_walk_covers_what_really_is_imported() -> None:
    """The oracle: import the modules in a fresh interpreter and look at what Python has loaded."""
    modules = ["ntkbench.stages.prepare", "ntkbench.claims.hierarchy.truncation"]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'ntkbench'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {Path(line).relative_to(ROOT).as_posix() for line in done.stdout.splitlines()}
    # Python loads what packages re-export too; the walk follows that where it is told of the package.
    packages = {name.removesuffix("/__init__.py").replace("/", ".") for name in loaded if name.endswith("/__init__.py")}
    assert "ntkbench/claims/base.py" in loaded
    assert loaded <= names(code_files(*modules, *packages))


def test_no_package_does_more_than_define_and_import() -> None:
    """Else leaving out what a package's `__init__` re-exports would be wrong."""
    import ast

    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr)
    for file in sorted((ROOT / "ntkbench").rglob("__init__.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            assert isinstance(node, allowed), f"{file}:{node.lineno}"
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{file}:{node.lineno}"


@pytest.mark.parametrize("stage", sorted(ENTRY))
def test_every_stage_has_code(stage: str) -> None:
    files = names(stage_code(stage))
    assert ENTRY[stage].replace(".", "/") in {name.removesuffix(".py").removesuffix("/__init__") for name in files}


def test_the_environment_names_no_host() -> None:
    facts = environment()
    assert {"results_version", "commit", "dirty", "versions", "python", "platform", "processor", "cpus"} == set(facts)
    assert facts["versions"]["numpy"]
    if platform.node():
        assert platform.node() not in str({name: value for name, value in facts.items() if name != "commit"})


def test_outside_a_repository_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert (environment()["commit"], environment()["dirty"]) == ("unknown", None)
    monkeypatch.setenv("PATH", "")
    assert environment()["commit"] == "unknown"


def test_the_commit_and_a_change_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "--quiet", "-m", "one")
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    assert (environment()["commit"], environment()["dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("b")
    assert environment()["dirty"] is True
