"""Under which licences code, data and dependencies come."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from ntkbench.catalogue.markdown import escaped, table
from ntkbench.data import SOURCES
from ntkbench.provenance import data_files

FILES = {
    "fashion_mnist_subset.npz": ("MIT, copyright 2017 Zalando SE", "LICENSE-fashion-mnist.txt"),
    "uci_tabular.npz": ("CC BY 4.0, creators and donors named in the text", "LICENSE-uci.md"),
    "LICENSE-fashion-mnist.txt": ("the text of a licence", "LICENSE-fashion-mnist.txt"),
    "LICENSE-uci.md": ("MIT, as the code", "LICENSE-uci.md"),
    "PROVENANCE.md": ("MIT, as the code", "PROVENANCE.md"),
}
"""Files that come with the package -> their licence, and the file that has it in full or says where they come from."""


def of_files() -> str:
    """A table of the data files; a file without a licence is a KeyError, which a test turns up."""
    rows = []
    for file in data_files():
        licence, text = FILES[file.name]
        rows.append([f"`ntkbench/data/files/{file.name}`", licence, f"[{text}](../ntkbench/data/files/{text})"])
    return table(["file", "licence", "in full"], rows)


def of_sources() -> str:
    """A table of the data sources, fetched ones included."""
    rows = [[f"`{source.name}`", escaped(source.description), escaped(source.licence)] for source in SOURCES.values()]
    return table(["source", "what it is", "licence"], rows)


def of_dependencies(root: Path) -> str:
    """A table of what `pyproject.toml` names and where it is needed, each with the licence that its metadata names.

    Raises:
        ValueError: for a dependency that names none.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"to run": project["dependencies"], "to develop": project["optional-dependencies"]["dev"]}
    rows = [[_name(text), f"{escaped(licence(_name(text)))}", use] for use, texts in groups.items() for text in texts]
    return table(["package", "licence", "needed"], rows)


def licence(package: str) -> str:
    """What an installed package says of its licence: an SPDX expression, else classifiers, else its one-line field.

    Raises:
        ValueError: if it says nothing, or less than a name.
    """
    facts = metadata.metadata(package)
    (expression, line) = ((facts.get_all(field) or [""])[0] for field in ("License-Expression", "License"))
    classifiers = [text for text in facts.get_all("Classifier") or () if text.startswith("License :: OSI Approved :: ")]
    named = str(expression or ", ".join(text.rpartition(" :: ")[2] for text in classifiers) or line.strip())
    if not named or "\n" in named:
        raise ValueError(f"{package} names no licence in its metadata")
    return named


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
