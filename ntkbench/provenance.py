"""What a result depends on: the code that made it, found by following imports, and the machine that ran it."""

import ast
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = "ntkbench"
ROOT = Path(__file__).resolve().parent.parent

RESULTS_VERSION = 1
"""Goes up by one with every change of the code that moves a result by more than rounding (docs/versioning.md). A test measures
the canary, small cases with stored results, and says when that is due."""

DISTRIBUTIONS = (
    "ntkbench",
    "numpy",
    "scipy",
    "torch",
    "jax",
    "jaxlib",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "seaborn",
    "pydantic",
    "snakemake",
    "typst",
)


def code_files(*modules: str, root: Path = ROOT) -> tuple[Path, ...]:
    """The files of the package that `modules` run when they are imported, themselves included.

    Imports are followed statically, inside functions too. A package's `__init__` runs when any of its modules is imported,
    so it is listed; what it re-exports is followed only where a name is imported from the package itself. What a module
    loads by a computed name (backends, claims) is not seen, and must be named by the caller.

    Args:
        modules: dotted names, for instance `ntkbench.stages.measure`.
        root: the folder that holds the package.

    Returns:
        Absolute paths, sorted.

    Raises:
        ValueError: if a module does not exist.
    """
    seen: dict[str, Path] = {}
    pending = list(modules)
    for name in modules:
        if _file(name, root) is None:
            raise ValueError(f"there is no module {name} below {root}")
    while pending:
        name = pending.pop()
        file = _file(name, root)
        if name in seen or file is None:
            continue
        seen[name] = file
        pending.extend(_imports(name, file, root))
    ancestors = {init for name in seen for init in _ancestors(name, root)}
    return tuple(sorted({*seen.values(), *ancestors}))


def code_hash(files: Iterable[Path], root: Path = ROOT) -> str:
    """SHA-256 over the names (relative to `root`) and contents of `files`."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(root).as_posix()}:{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def data_files(root: Path = ROOT) -> tuple[Path, ...]:
    """The data sets that come with the package, sorted."""
    return tuple(sorted(p for p in (root / PACKAGE / "data" / "files").glob("*") if p.is_file()))


def environment() -> dict[str, Any]:
    """Commit, versions and machine, as plain values; nothing that names the host or the user."""
    commit, dirty = _git()
    return {
        "results_version": RESULTS_VERSION,
        "commit": commit,
        "dirty": dirty,
        "versions": {name: version for name in DISTRIBUTIONS if (version := _version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
    }


@cache
def _file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _ancestors(name: str, root: Path) -> Iterator[Path]:
    parts = name.split(".")
    for end in range(1, len(parts)):
        if (init := root.joinpath(*parts[:end], "__init__.py")).is_file():
            yield init


def _imports(name: str, file: Path, root: Path) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in _statements(file, file.stat().st_mtime_ns):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        else:
            base = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            if base.split(".")[0] == PACKAGE:
                members = [f"{base}.{alias.name}" for alias in node.names]
                yield from (member for member in members if _file(member, root))
                # A package is itself imported from only where one of the names is no module of it.
                if not all(_file(member, root) for member in members):
                    yield base


@cache
def _statements(file: Path, modified: int) -> tuple[ast.Import | ast.ImportFrom, ...]:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    return tuple(node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git() -> tuple[str, bool | None]:
    """The commit and whether tracked files differ from it; `unknown` outside a repository of our own."""
    top = _run_git("rev-parse", "--show-toplevel")
    commit = _run_git("rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != ROOT:
        return "unknown", None
    return commit, bool(_run_git("status", "--porcelain", "--untracked-files=no"))


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
