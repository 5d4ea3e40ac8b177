"""The conda environment, from the lock: `python tests/pins.py > environment.yml`."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"


def locked(name: str, python: str = PYTHON) -> dict[str, str]:
    """Package -> version in `requirements/<name>.txt`, for Linux and this Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
    }
    pins = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)==(\S+)(?: ; (.*?))? \\$", line):
            package, version, marker = match.groups()
            if marker is None or Marker(marker).evaluate(environment):
                pins[canonicalize_name(package)] = version
    return pins


def torch_pin() -> str:
    """The version that the Makefile installs."""
    match = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError("the Makefile does not set TORCH")
    return match[1]


def direct() -> list[str]:
    """The project's own dependencies, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [canonicalize_name(Requirement(text).name) for text in project["dependencies"]]


def environment_yml() -> str:
    """A conda environment with the pins of the CPU lock."""
    pins = {**locked("cpu"), "torch": torch_pin()}
    lines = [
        "# Made by `make lock` from requirements/cpu.txt.",
        "name: ntkbench",
        "channels:",
        "  - conda-forge",
        "dependencies:",
    ]
    lines += [f"  - python={PYTHON}", "  - pip", "  - pip:", *(f"      - {name}=={pins[name]}" for name in direct())]
    return "\n".join([*lines, "      - --editable .", ""])


if __name__ == "__main__":
    sys.stdout.write(environment_yml())
