"""The citation file is valid, and everything that can be cited has BibTeX that reads."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typst
import yaml
from typer.testing import CliRunner

from ntkbench import bibliography, citation
from ntkbench.backends.base import Backend
from ntkbench.bibliography import Entry, plain
from ntkbench.catalogue import claim as catalogue_page
from ntkbench.claims import all_claims, get
from ntkbench.cli import app
from ntkbench.data import SOURCES
from ntkbench.integrators import INTEGRATORS
from ntkbench.networks.network import PARAMETRIZATIONS
from tests.test_packaging import build_wheel

ROOT = Path(__file__).resolve().parent.parent
FACTS = yaml.safe_load((ROOT / citation.FILE).read_text(encoding="utf-8"))
SCHEMA = ROOT / "build" / "citation" / "cffconvert" / "schemas" / "1.2.0" / "schema.json"
PROGRAMS = ("torch", "jax", "snakemake", "scikit-learn")
REQUIRED = {
    "article": {"journal"},
    "inproceedings": {"booktitle"},
    "book": {"publisher"},
    "techreport": {"institution"},
    "misc": set(),
}
"""By kind of an entry, what BibTeX asks of it beside author, title and year, which all have here."""
LOCATORS = {"doi", "url", "eprint"}
PLUMBING = {"forward", "solve", "synchronize", "facts", "matrix_products"}
"""Calls of a backend that rest on no paper."""


def cite(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["cite", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def problems(facts: Mapping[str, Any]) -> list[str]:
    if not SCHEMA.exists():
        pytest.skip("the official schema is not here: `make build/citation/.installed`, or `make test`, gets it")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(facts)]


def test_the_citation_file_is_valid_by_the_official_schema() -> None:
    assert problems(FACTS) == []


@pytest.mark.parametrize(
    "change", [{"authors": []}, {"cff-version": "1.1.0"}, {"license": "none"}, {"title": None}, {"colour": "red"}]
)
def test_the_schema_finds_what_is_wrong(change: dict[str, Any]) -> None:
    assert problems(FACTS | change) != []


def compile_bibliography(folder: Path, bib: str) -> None:
    """By typst, an independent reader of BibTeX, which stops at the first error."""
    (folder / "refs.bib").write_text(bib, encoding="utf-8")
    source = '#bibliography("refs.bib", full: true, style: "american-psychological-association")'
    (folder / "main.typ").write_text(source, encoding="utf-8")
    typst.compile(str(folder / "main.typ"), root=str(folder), ignore_system_fonts=True)


def test_all_that_can_be_cited_is_bibtex(tmp_path: Path) -> None:
    everything = "\n".join([cite(), cite(*citation.METHODS, *all_claims())])
    assert everything.count("\n@") == len(bibliography.entries()) - len(only_in_the_paper()) > 30
    compile_bibliography(tmp_path, everything)
    for broken in (everything.replace("{ntkbench,", "{", 1), everything.replace("},\n", "\n", 1)):
        with pytest.raises(typst.TypstError):
            compile_bibliography(tmp_path, broken)


def only_in_the_paper() -> set[str]:
    found = {key for keys in citation.METHODS.values() for key in keys}
    for claim in all_claims().values():
        found.update(citation.keys_of_claim(claim))
    return set(bibliography.entries()) - found


@pytest.mark.parametrize("entry", bibliography.entries().values(), ids=lambda entry: entry.key)
def test_references_read_as_text(entry: Entry) -> None:
    text = entry.text()
    assert not set("{}\\") & set(text)
    assert plain(entry.fields["title"]) in text
    assert entry.fields["year"] in text
    assert "None" not in text


def without(entry: Entry, field: str) -> Entry:
    return Entry(entry.kind, entry.key, {name: text for name, text in entry.fields.items() if name != field})


def lacks(entry: Entry) -> set[str]:
    """Fields that an entry should have: a program or what nobody printed has to say where it is."""
    missing = (REQUIRED[entry.kind] | {"author", "title", "year"}) - {name for name, text in entry.fields.items() if text}
    online = entry.kind == "misc" or entry.key in {key for name in PROGRAMS for key in citation.METHODS[name]}
    return missing | ({"doi, url or eprint"} if online and not LOCATORS & entry.fields.keys() else set())


@pytest.mark.parametrize("entry", bibliography.entries().values(), ids=lambda entry: entry.key)
def test_every_entry_has_what_its_kind_asks_for(entry: Entry) -> None:
    assert lacks(entry) == set()


@pytest.mark.parametrize(
    ("key", "field", "told"),
    [
        ("jacot2018neural", "booktitle", "booktitle"),
        ("jacot2018neural", "year", "year"),
        ("holm1979simple", "journal", "journal"),
        ("hairer1993solving", "publisher", "publisher"),
        ("krizhevsky2009learning", "institution", "institution"),
        ("jax2018github", "url", "doi, url or eprint"),
        ("xiao2017fashion", "eprint", "doi, url or eprint"),
        ("paszke2019pytorch", "eprint", "doi, url or eprint"),
    ],
)
def test_a_field_that_is_not_there_is_missed(key: str, field: str, told: str) -> None:
    entry = bibliography.entries()[key]
    assert lacks(without(entry, field)) == {told}


def test_of_every_source_of_a_claim_it_is_said_what_was_read_and_nobody_else_is_told() -> None:
    keys = {key for claim in all_claims().values() for key in citation.keys_of_claim(claim)}
    unsaid = {key for key in keys if not bibliography.entries()[key].read}
    assert unsaid == set()
    assert not any("annote" in bibliography.entries()[key].bibtex() for key in keys)


def test_a_page_of_a_claim_whose_source_was_read_by_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "jacot2018neural"
    known = bibliography.entries() | {key: without(bibliography.entries()[key], "annote")}
    monkeypatch.setattr(bibliography, "entries", lambda: known)
    with pytest.raises(ValueError, match=f"what of {key} was read"):
        list(catalogue_page._sources(get("convergence/initialization")))


def test_accents_are_set() -> None:
    assert plain(r"L{\'e}na{\"i}c N{\o}rsett, Dem{\v{s}}ar {\'E} {F}eynman \& 1--2") == "Lénaïc Nørsett, Demšar É Feynman & 1–2"


def test_an_entry_is_printed_as_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "again.bib"
    file.write_text("\n\n".join(entry.bibtex() for entry in bibliography.entries().values()) + "\n", encoding="utf-8")
    assert bibliography.entries(file) == {key: without(entry, "annote") for key, entry in bibliography.entries().items()}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("@misc{a,\n  year = {1},\n}\n@misc{a,\n}\n", 4),
        ("@misc{a,\n  year = {1},\n@misc{b,\n}\n", 3),
        ("@misc{a,\n  year = 1,\n}\n", 2),
        ("@misc{a,\n  year = {1}},\n}\n", 2),
        ("@misc{a,\n\n}\n", 2),
        ("  year = {1},\n", 1),
    ],
)
def test_a_malformed_bibliography_is_refused(text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "wrong.bib"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"wrong\.bib:{line}: "):
        bibliography.entries(file)


def test_the_software_is_cited_as_its_file_says() -> None:
    text = cite()
    assert text.startswith("@misc{ntkbench,")
    assert f"title = {{{{{FACTS['title']}}}}}" in text
    assert f"Version {FACTS['version']}" in text
    assert all(author["name"] in text for author in FACTS["authors"])
    (year,) = re.findall(r"Copyright \(c\) (\d{4}) ", (ROOT / citation.LICENCE).read_text(encoding="utf-8"))
    assert f"year = {{{year}}}" in text
    told = CliRunner().invoke(app, ["cite"]).stderr
    assert "names neither a DOI nor a repository" in told
    assert CliRunner().invoke(app, ["cite", "ntk"]).stderr == ""


def test_a_release_brings_its_year_and_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    released = FACTS | {"date-released": "2031-02-03", "doi": "10.1/2", "repository-code": "https://example.org/ntkbench"}
    monkeypatch.setattr(citation, "facts", lambda: released)
    done = CliRunner().invoke(app, ["cite"])
    assert all(line in done.stdout for line in ("year = {2031}", "doi = {10.1/2}", "url = {https://example.org/ntkbench}"))
    assert done.stderr == ""


def test_a_licence_without_its_year_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(citation, "ROOT", tmp_path)
    (tmp_path / citation.FILE).write_text((ROOT / citation.FILE).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / citation.LICENCE).write_text("MIT License\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["cite"])
    assert done.exit_code == 2
    assert "LICENSE has no line `Copyright (c) YEAR`" in done.stderr


def test_references_of_the_citation_file_are_those_of_the_bibliography() -> None:
    known = {plain(entry.fields["title"]): entry for entry in bibliography.entries().values()}
    for reference in FACTS["references"]:
        entry = known[reference["title"]]
        assert entry.fields["year"] == str(reference["year"])
        people = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in reference["authors"])
        assert plain(entry.fields["author"]) == people


def test_a_claim_brings_its_own_papers_and_those_of_its_expectations() -> None:
    keys = [entry.key for entry in citation.cited(["hierarchy/truncation"])]
    assert keys == ["huang2020dynamics", "dyer2020asymptotics"]
    both = cite("hierarchy/truncation", "hierarchy")
    assert both.count("@inproceedings{huang2020dynamics,") == 1


def test_every_method_of_the_package_can_be_cited() -> None:
    asked = (Backend.__abstractmethods__ - PLUMBING) | set(INTEGRATORS) | (set(PARAMETRIZATIONS) - {"ntk"})
    assert asked - set(citation.METHODS) == set()
    published = [name for name, source in SOURCES.items() if source.licence != SOURCES["sphere"].licence]
    assert [name for name in published if not name.startswith(tuple(citation.METHODS))] == []
    assert set(citation.METHODS) & set(all_claims()) == set()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hierarchy/trunkation", "did you mean 'hierarchy/truncation'?"),
        ("trunc", "did you mean 'hierarchy/truncation'?"),
        ("limitting_kernels", "did you mean 'limiting_kernels'?"),
        ("xyzzy", "claim or method 'xyzzy' is unknown; choose one of ntk, empirical_ntk, hierarchy"),
        ("", "claim or method '' is unknown; choose one of ntk, empirical_ntk, hierarchy"),
    ],
)
def test_what_is_unknown_is_one_error_with_near_names(name: str, told: str) -> None:
    done = CliRunner().invoke(app, ["cite", "ntk", name])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


def test_the_list_has_all_claims_and_methods() -> None:
    lines = dict(line.split(": ") for line in cite("--list").splitlines())
    assert list(lines) == [*citation.METHODS, *all_claims()]
    assert all(key in bibliography.entries() for keys in lines.values() for key in keys.split(", "))


def test_an_installed_package_cites_as_the_checkout_does(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        wheel.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", "from ntkbench.cli import app; app()", "cite"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == cite()


def test_a_package_without_its_citation_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stripped(importlib.metadata.PathDistribution):
        def read_text(self, filename: str | os.PathLike[str]) -> str | None:
            return None

    monkeypatch.setattr(citation, "ROOT", tmp_path)
    monkeypatch.setattr(citation.metadata, "distribution", lambda name: Stripped(tmp_path))
    done = CliRunner().invoke(app, ["cite"])
    assert done.exit_code == 2
    assert "install it again" in done.stderr
