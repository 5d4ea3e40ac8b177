"""No number that was measured is typed by hand: not in the README, not in the published run's, not in the paper's prose."""

import re
from pathlib import Path

import pytest

from ntkbench.claims import all_claims
from ntkbench.verdicts.bootstrap import LEVEL
from tests import published, typed_numbers
from tests.typed_numbers import ROOT, check, written

SIZES = frozenset({64, 256, 1024})
NAMES = {"slope": 0.9812, "share": 0.01549, "three": (-1.31, -1.5, -1.23), "rounding": 2.04e-14, "published": None}


def faults(text: str) -> list[str]:
    return [fault.text for fault in check("x.md", text, NAMES, SIZES)[0]]


@pytest.mark.parametrize("document", typed_numbers.DOCUMENTS)
def test_every_number_is_what_its_source_says(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    found, renewed = check(document, text, published.names(), published.sizes())
    assert found == []
    assert renewed == text


def torn(text: str) -> list[str]:
    """Markers at the beginning of a line: Markdown ends the paragraph there, and takes the rest of that line as HTML."""
    return re.findall(r"^ *<!-- = .*", text, re.M)


@pytest.mark.parametrize("document", typed_numbers.DOCUMENTS)
def test_no_marker_tears_a_paragraph(document: str) -> None:
    assert torn((ROOT / document).read_text(encoding="utf-8")) == []


def test_a_marker_that_tears_a_paragraph_is_found() -> None:
    assert torn("Some 5 words.\n  <!-- = five --> And more.\nThen 6. <!-- = six -->\n") == ["  <!-- = five --> And more."]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("The slope is 0.98.", "0.98"),
        ("Order 4 errs by 3 at width 64.", "3"),
        ("- It leaves 14% at 64 units.", "14%"),
        ("It took 7 minutes of the machine.", "7"),
        ("| a | 1.5 [1.3, 1.6] |", "1.5"),
        ("At 63 units, which no study has.", "63"),
        ("It agrees to 2e-15.", "2e-15"),
        ("`code 1` and then 12 of them", "12"),
        ("K3 is -0.5 of K4.", "-0.5"),
        ("It is 12-fold faster.", "12"),
        ("It took 30s.", "30"),
        ("It is 3x as fast.", "3"),
        ("In `0.13` of cases.", "0.13"),
        ("It errs by .5 only.", ".5"),
        ("Of them 5/6 hold.", "5"),
        ("Three of five cases hold: two of six fail.", "two of six"),
        ("It ended after\n31. Then it was done.", "31"),
        ("1. A step of 7 minutes.\n2. Another.", "7"),
        ("<!-- generated: a -->\n| 1 |\n<!-- /generated -->\nIt took 8 s.", "8"),
        ("   ```python\n   x = 1\n   ```\n   which takes 9 s", "9"),
        ("It exits with 1 after 12 s, see step 3.", "12"),
        ("*You:* 1 minute, and 10 to read; *machine:* 11 minutes", "11"),
        ("With numpy 2.0 and 2.1 it is 13 times as slow.", "13"),
    ],
)
def test_a_planted_number_is_found(text: str, seen: str) -> None:
    assert f"{seen} is typed: nothing says where it comes from" in faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "It falls as m^(-1/2) or 1/m, of orders 2, 3 and 5, by Theorem 2.6 (Huang & Yau 2020).",
        "With 95% intervals, on CIFAR-10.",
        "With 64 to 1,024 units, at width 256; Python 3.11.",
        "```\nmake reproduce  # 31 minutes\n```",
        "`ntkbench plan 3` and [4 figures](figures/5.svg)",
        "## The 3 commands",
        "The case `tanh-1-coats` of commit 640a565 at float64.",
        "1. A step,\n2. `make test`,\n3. and step 2 again: exit code 0, or it exits with 1.",
        "| a | <!-- generated: costs --> 12 <!-- /generated -->\n<!-- matrix: make matrix -->\n| 31 |\n<!-- end of matrix -->",
        "   ```python\n   x = 1\n   ```\n",
        "A marker is `<!-- = expression -->`; *You:* 1 minute, and 10 to read; typst 0.14 and NFS 3.",
    ],
)
def test_what_is_no_result_is_let_pass(text: str) -> None:
    assert faults(text) == []


def test_a_marked_number_is_held_against_its_source() -> None:
    assert faults("The slope is 0.98. <!-- = slope -->") == []
    assert faults("The slope is 0.99. <!-- = slope -->") == ["0.99 is 0.9812: write 0.98"]
    assert faults("From -1.31 [-1.50, -1.23] on, 1.5% are left. <!-- = three; share -->") == []
    assert faults("They agree to 2.0e-14. <!-- = rounding -->") == []
    assert faults("The slope is 0.98, or 0.97. <!-- = slope -->") == ["slope gives 1 numbers, the text has 2: 0.98, 0.97"]
    assert faults("It is 1. <!-- = nothing -->") == ["nothing cannot be computed: NameError: name 'nothing' is not defined"]


def test_a_marker_accounts_for_no_number_behind_it_nor_in_another_item() -> None:
    text = "- The slope is 0.98. <!-- = slope --> It was 0.97.\n- Another is 0.98.\n"
    assert [fault.partition(" ")[0] for fault in faults(text)] == ["0.97", "0.98"]


def test_numbers_are_renewed_with_the_digits_that_they_have() -> None:
    text = "The slope is 0.90 <!-- = slope --> and 9.9% are left <!-- = share -->.\n"
    assert check("x.md", text, NAMES, SIZES)[1] == text.replace("0.90", "0.98").replace("9.9%", "1.5%")
    assert [written(1642.1, "1,641"), written(-0.004, "-0.01"), written(12345.0, "1")] == ["1,642", "0.00", "12,345"]


@pytest.mark.parametrize("block", typed_numbers.BLOCKS)
def test_a_table_that_is_let_pass_is_held_by_a_test(block: str) -> None:
    published.tested(typed_numbers.BLOCKS[block][1])
    end = typed_numbers.BLOCKS[block][0]
    everything = "".join((ROOT / document).read_text(encoding="utf-8") for document in typed_numbers.DOCUMENTS)
    assert re.search(rf"<!-- {block}\b[^>]*-->\n.*?<!-- {end} -->", everything, re.S)


@pytest.mark.parametrize("document", [name for name in typed_numbers.DOCUMENTS if name.startswith(("docs/", "CONTR"))])
def test_a_number_planted_into_a_sentence_of_a_document_is_found(document: str) -> None:
    text, names, sizes = (ROOT / document).read_text(encoding="utf-8"), published.names(), published.sizes()
    plain = typed_numbers.prose(text, sizes)
    ends = [found.end() for found in re.finditer(r"[a-z]{3}\. (?=[A-Z][a-z]+ [a-z]+ [a-z]+)", plain)]
    assert ends
    for end in (ends[0], ends[len(ends) // 2], ends[-1]):
        found, _ = check(document, f"{text[:end]}It took 4711 s. {text[end:]}", names, sizes)
        assert "4711" in " ".join(fault.text for fault in found)


def test_constants_of_the_code_are_read() -> None:
    assert published.setting("ntkbench.verdicts.bootstrap:LEVEL") == LEVEL
    assert published.margin("convergence/initialization/bias") == 0.2
    assert published.margin("gap/condition_number/useful") == 0.3
    with pytest.raises(AttributeError):
        published.setting("ntkbench.verdicts.bootstrap:NOTHING")
    with pytest.raises(ValueError, match="not enough values"):
        published.margin("convergence/initialization/nothing")


def test_a_test_that_is_named_must_be_there() -> None:
    published.tested("tests/test_readme.py::test_no_placeholder_is_left")
    with pytest.raises(ValueError, match="there is no test"):
        published.tested("tests/test_readme.py::test_that_nobody_wrote")


def test_captions_of_the_published_figures_are_the_claims() -> None:
    text = (published.REFERENCE / "figures" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"## \[([^\]]*)\]\([\w-]+\.svg\)\n\n`([a-z]+/\w+)`\. (.*?)(?=\n\n|\n*\Z)", text, re.S)
    assert {id_: (title, " ".join(caption.split())) for title, id_, caption in shown} == {
        claim.id: (claim.title, claim.caption) for claim in all_claims().values()
    }


PAPER = ROOT / "paper"
PROSE = sorted([PAPER / "main.typ", PAPER / "appendix_expansion.typ", *(PAPER / "claims").glob("*.typ")])
CALL = r"\([^()\[\]]*(?:\([^()\[\]]*(?:\([^()\[\]]*\)[^()\[\]]*)*\)[^()\[\]]*)*\)"  # arguments, but no text in brackets
CODE = re.compile(
    r"//[^\n]*|`[^`]*`|(?<!\\)\$(?:[^$\\]|\\.)*\$|\"(?:[^\"\\]|\\.)*\"|<[a-z][\w-]*>|@[\w-]+"  # comments, math, texts, labels
    rf"|^\s*#(?:let|set|show|import|include)\b[^\n]*$|#[a-z][\w.-]*(?:{CALL}|\.[\w-]+)*"  # code
    r"|\(?\b[\w.-]+(?:\(\))?(?:\([^()]*\))? ?(?:[<>]=?|==|\+) ?\d+"  # conditions
    r"|\b[a-z]+: [\d.]+\w*%?|\b[\d.]+(?:pt|em|cm)\b",  # layout
    re.S | re.M,
)
SETTINGS = {
    "main.typ": {
        "luma(235)": "a grey",
        "the 95% interval": "level of an interval",
        "slopes with 95% intervals": "the same",
        "beyond order 2": "an order of the hierarchy",
        "only orders 3 and 4": "the same",
        "Numbers from 1000 are rounded down": "how numbers are printed",
        f"a one-sided level of {100 * LEVEL:g}%": "level of the tests",
        "at a weight variance of 4, because at 1 it is": "what trial runs changed: settings, not results",
        "at feature strength 1 order five": "the same",
        "at widths to 65536 beside those to 1024": "the same",
        "up to 256 times as long": "the same",
    },
    "hierarchy.typ": {"one on 512 images in": "size of a run that is published apart"},
}
"""Numbers in the paper's prose that nobody measured, in their words, and what they are."""


def typed_in_prose(text: str, settings: dict[str, str]) -> list[str]:
    """Numbers that stand in the prose of a typst source, the phrases of `settings` left out."""
    for phrase in settings:
        text = text.replace(phrase, re.sub(r"\d", " ", phrase))
    return re.findall(r"(?<![\w.#^_-])[-−]?\d+(?:\.\d+)?%?(?!\w)", CODE.sub(" ", text))


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_the_papers_prose_holds_no_number(file: Path) -> None:
    settings = SETTINGS.get(file.name, {})
    text = file.read_text(encoding="utf-8")
    assert [phrase for phrase in settings if phrase not in text] == []
    assert typed_in_prose(text, settings) == []


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_a_number_planted_between_two_sentences_of_the_paper_is_found(file: Path) -> None:
    text, settings = file.read_text(encoding="utf-8"), SETTINGS.get(file.name, {})
    ends = [found.end() for found in re.finditer(r"[a-z]\. (?=[A-Z][a-z]+ [a-z]+ [a-z]+)", text)]
    assert ends
    assert [
        text[end - 30 : end + 30] for end in ends if typed_in_prose(f"{text[:end]}41 of them. {text[end:]}", settings) != ["41"]
    ] == []


@pytest.mark.parametrize(
    ("planted", "seen"),
    [
        ("errs by 3 percent of $K_2$", ["3"]),
        ("a slope of -0.98 at most", ["-0.98"]),
        ('#plural(study.claims, "claim") and 406 verdicts', ["406"]),
        ("#if x.len() > 0 [of 12 cases] else [none]", ["12"]),
        ("14% are left (@method)", ["14%"]),
        ("Theory has $m^(-1\\/2)$, #fixed(x, digits: 3) of it, at 9.5pt", []),
    ],
)
def test_a_number_planted_in_the_papers_prose_is_found(planted: str, seen: list[str]) -> None:
    assert typed_in_prose(planted, {}) == seen
