"""The hand-written text: every citation exists, and no measured number is typed."""

import re
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest
from docutils.core import publish_parts

from ntkbench import bibliography
from ntkbench.citation import METHODS, sources
from ntkbench.claims import all_claims
from ntkbench.verdicts.bootstrap import LEVEL

ROOT = Path(__file__).parents[2]
TEXTS = sorted([ROOT / "paper" / "main.typ", *(ROOT / "paper" / "claims").glob("*.typ")])
BIBLIOGRAPHY = bibliography.FILE.read_text(encoding="utf-8")
KEYS = re.findall(r"^@\w+\{(\S+),$", BIBLIOGRAPHY, flags=re.MULTILINE)
KEY = re.compile(r"[a-z]+\d{4}[a-z]+")
LAYOUT = re.compile(r"\d+\.\d+(?:pt|em|cm|mm|fr)\b|numbering: \"[^\"]*\"")
DECIMAL = re.compile(r"\d+\.\d+")
ALLOWED = {f"{100 * LEVEL:g}": "one-sided level of the tests, a constant of the method"}


def cited_by_claims() -> set[str]:
    texts = [claim.source for claim in all_claims().values()]
    texts += [expectation.source for claim in all_claims().values() for expectation in claim.expectations]
    return {part["key"] for text in texts for part in sources(text)}


def cited_by_the_paper() -> set[str]:
    return {key for file in TEXTS for key in re.findall(r"@([\w-]+)", file.read_text(encoding="utf-8")) if KEY.fullmatch(key)}


def cited_by_methods() -> set[str]:
    return {key for keys in METHODS.values() for key in keys}


def test_keys_are_unique_and_well_formed() -> None:
    assert len(KEYS) == BIBLIOGRAPHY.count("@") > 0
    assert len(set(KEYS)) == len(KEYS)
    assert all(KEY.fullmatch(key) for key in KEYS)


@pytest.mark.parametrize("cited", [cited_by_claims, cited_by_the_paper, cited_by_methods])
def test_every_citation_is_in_the_bibliography(cited: Callable[[], set[str]]) -> None:
    assert cited()
    assert cited() - set(KEYS) == set()


def test_every_reference_is_cited() -> None:
    assert set(KEYS) - cited_by_claims() - cited_by_the_paper() - cited_by_methods() == set()


@pytest.mark.parametrize("entry", re.split(r"\n(?=@)", BIBLIOGRAPHY.strip()), ids=KEYS)
def test_entries_have_author_title_year_and_place(entry: str) -> None:
    for field in ("author", "title", "year"):
        assert re.search(rf"^\s*{field}\s*=\s*\{{.+\}},$", entry, flags=re.MULTILINE), f"no {field}"
    assert re.search(r"^\s*(journal|booktitle|publisher|institution|eprint|url)\s*=", entry, flags=re.MULTILINE)
    (year,) = re.findall(r"^\s*year\s*=\s*\{(\d{4})\}", entry, flags=re.MULTILINE)
    assert year in entry.partition(",")[0]


def decimals(text: str) -> list[str]:
    return [number for number in DECIMAL.findall(LAYOUT.sub("", text)) if number not in ALLOWED]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_no_measured_number_is_typed(file: Path) -> None:
    assert decimals(file.read_text(encoding="utf-8")) == []


def test_the_rule_against_typed_numbers_can_fail() -> None:
    assert decimals("the slope is -0.98, set at 9.5pt with level 2.5%") == ["0.98"]


PARAMS = {"title": "T", "claim": "a/b", "statement": "|K2_limit|_F *falls*", "caption": "Left: `x` | y_ and K_p."}
JOB = {"params": PARAMS, "config": {"study": "smoke"}}
"""What Snakemake hands to a caption."""


@pytest.mark.parametrize("file", sorted((ROOT / "workflow" / "report").glob("*.rst")), ids=lambda file: file.name)
def test_captions_of_the_report_render_without_a_complaint(file: Path) -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 as Snakemake has it: the text is no HTML
    text = environment.from_string(file.read_text(encoding="utf-8")).render(snakemake=JOB)
    html = publish_parts(text, writer="html5", settings_overrides={"halt_level": 2, "report_level": 1})["body"]
    assert "<p>" in html
    if file.name == "figure.rst":
        assert "|K2_limit|_F *falls*" in html
        assert "Left: `x` | y_ and K_p." in html
