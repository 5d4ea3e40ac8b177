"""Python and the packages against the ranges that the project declares."""

import platform
import tomllib
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ntkbench.doctor.finding import Finding
from ntkbench.provenance import PACKAGE, ROOT

ENVIRONMENT = "`make environment` installs the pinned ones"


def declared() -> tuple[SpecifierSet, list[Requirement]]:
    """The range of Python and those of the packages: of the checkout, whose metadata may be older, else as installed."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        told = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        python, texts = told["requires-python"], told["dependencies"]
    else:
        installed = metadata.metadata(PACKAGE)
        python, texts = installed["Requires-Python"], installed.get_all("Requires-Dist") or []
    requirements = [Requirement(text) for text in texts]
    # What an extra asks for is nobody's lack who has not asked for the extra.
    return SpecifierSet(python), [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def check() -> Iterator[Finding]:
    """Python, then what is missing or out of its range, then the rest in one line."""
    python, requirements = declared()
    running = platform.python_version()
    if running in python:
        yield Finding("python", "ok", running)
    else:
        yield Finding("python", "problem", f"{running}, supported is {python}", "make environment PYTHON=/path/to/another")
    fitting = []
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding("packages", "problem", f"{requirement.name} is not installed", _mend(requirement))
            continue
        if requirement.specifier.contains(version, prereleases=True):
            fitting.append(f"{requirement.name} {version}")
        else:
            found = f"{requirement.name} {version}, supported is {requirement.specifier}"
            yield Finding("packages", "problem", found, _mend(requirement))
    if fitting:
        yield Finding("packages", "ok", "within their ranges: " + ", ".join(fitting))


def _mend(requirement: Requirement) -> str:
    return f"pip install '{requirement.name}{requirement.specifier}'; {ENVIRONMENT}"
