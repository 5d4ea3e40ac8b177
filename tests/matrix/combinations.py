"""The combinations of Python, torch and jax that are supported and tried, and an environment for each."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.pins import ROOT, locked, torch_pin


@dataclass(frozen=True)
class Combination:
    """An environment: the lock of its Python, apart from what it names.

    Attributes:
        name: of one word, for folders and tables.
        python: `3.11`.
        torch: the version of torch, which the lock does not have.
        pins: package -> version, in place of the lock's.
        about: what sets it apart, for a table.
    """

    name: str
    python: str
    torch: str
    pins: Mapping[str, str]
    about: str

    def versions(self) -> dict[str, str]:
        """Package -> version of everything but the project itself; torch without its build's suffix."""
        return {**locked("cpu", self.python), **self.pins, "torch": self.torch}


def bounds(package: str) -> SpecifierSet:
    """The versions of a package that the project allows.

    Raises:
        ValueError: if it is no dependency of the project.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        if (requirement := Requirement(text)).name == package:
            return requirement.specifier
    raise ValueError(f"{package} is no dependency of the project")


def oldest(package: str) -> str:
    """The oldest version that the project allows, with three numbers: `0.10.0` for `>=0.10`."""
    (bound,) = (specifier.version for specifier in bounds(package) if specifier.operator == ">=")
    return ".".join([*bound.split("."), "0", "0"][:3])


def combinations() -> tuple[Combination, ...]:
    """All of them, the one that `make environment` makes on the oldest Python first; the others differ from it one by one."""
    old, new, torch = "3.11", "3.12", torch_pin()
    here, there = locked("cpu", old), locked("cpu", new)
    as_here = {name: version for name, version in here.items() if there.get(name, version) != version}
    jax = {name: oldest("jax") for name in ("jax", "jaxlib")}
    return (
        Combination("locked", old, torch, {}, "the lock"),
        Combination("python-3.12", new, torch, as_here, "Python 3.12, every package as in the lock of 3.11"),
        Combination("newest", new, torch, {}, "the lock on Python 3.12, which has the newest supported torch and jax"),
        Combination("oldest-torch", old, oldest("torch"), {}, "the oldest supported torch"),
        Combination("oldest-jax", old, torch, jax, "the oldest supported jax"),
    )


def interpreter(version: str) -> Path | None:
    """The Python of this version on the path, if there is one and it starts."""
    found = shutil.which(f"python{version}")
    if found is None:
        return None
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return Path(found) if re.match(rf"Python {re.escape(version)}\.", done.stdout) else None


class NotInstalled(Exception):
    """An environment that cannot be made here; the message says why, in one line."""


def install(combination: Combination, folder: Path) -> Path:
    """Make the environment by `make environment`, then put the combination's own pins in place; a finished one is kept.

    Args:
        folder: of the environment; anything else that is there is removed.

    Returns:
        Its Python.

    Raises:
        NotInstalled: if there is no such Python, or a package is not to be had or contradicts another.
    """
    made = interpreter(combination.python)
    if made is None:
        raise NotInstalled(f"no python{combination.python} on the path")
    python, finished = folder / "bin" / "python", folder / ".combination"
    wanted = "".join(f"{name}=={version}\n" for name, version in sorted(combination.versions().items()))
    if finished.is_file() and finished.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # As in the Makefile: constraints for the whole machine would contradict the lock.
    settings = {**os.environ, "PIP_CONSTRAINT": os.devnull, "PIP_USER": "0", "PYTHONNOUSERSITE": "1"}
    pip = [str(python), "-m", "pip"]
    own = [f"{name}=={version}" for name, version in combination.pins.items()]
    chosen = {"PYTHON": made, "VENV": folder.resolve(), "TORCH": combination.torch, "ACCELERATOR": "cpu"}
    steps = [["make", "environment", *(f"{name}={value}" for name, value in chosen.items())]]
    if own:
        steps += [[*pip, "install", "--quiet", "--no-deps", *own], [*pip, "check"]]
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(_last_line(done.stderr) or _last_line(done.stdout) or f"{step[0]} failed")
    finished.write_text(wanted, encoding="utf-8")
    return python


def _last_line(text: str) -> str:
    """The last line that says something, of pip's errors rather than of make's."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("make")]
    return lines[-1] if lines else ""
