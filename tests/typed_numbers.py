"""Numbers in Markdown that somebody measured: found, recomputed from what is in the tree, and renewed.

A marker stands behind the numbers that it accounts for, in their paragraph, item or table row, one expression for each in turn:

    left 14% [12, 17] at 64 units and 1.6 times as much <!-- = images_gap.mean("a", "left", 64); times["b"] -->

An expression gives a number or a tuple of numbers, to be written with the digits (and, for a share, the percent sign) that
the text has. `tested("path::name")` accounts for all numbers before it: that test holds them against what runs. `setting`
and `margin` read what the code has (`tests/published.py`). `python -m tests.typed_numbers` says what does not agree,
`--write` puts right what is wrong, digits as they are.

Every number in digits is asked for, measured or set: a setting has a marker or looks like one of `KINDS`. Numbers in words
(twice as fast, a factor of three) escape, but for counts like `three of five`.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkbench.trace import printed
from tests import published

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    *("README.md", "results/reference/README.md", "CONTRIBUTING.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
)

BLOCKS: Mapping[str, tuple[str, str]] = {
    "claims": ("/claims", "tests/test_readme.py::test_the_claims_table_is_the_one_that_the_command_prints"),
    "generated": ("/generated", "tests/test_catalogue.py::test_the_documents_are_up_to_date"),
    "scaleout": ("/scaleout", "tests/test_scaleout.py::test_the_published_estimate_is_what_the_command_prints"),
    "ladder": ("/ladder", "tests/environments/test_ladder.py::test_the_page_has_the_table"),
    "test-matrix": ("/test-matrix", "tests/environments/test_matrix.py::test_the_page_has_the_table_of_every_combination"),
    "matrix": ("end of matrix", "tests/matrix/test_matrix.py::test_the_page_shows_the_file"),
}
"""Tables that a program prints, by the word that opens them: how they end, and the test that holds them against it."""
UNIT = r"(?:x|s|ms|min|h|pp|GB|MB|GiB|MiB)\b|-fold\b|-quantile\b|/\d+\b(?!\w)"
NUMBER = re.compile(r"(?<![\w.^/_-])-?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e-?\d+)?%?" rf"(?:(?={UNIT})|(?![\w/^]|\.\d|-\w))")
MARKER = re.compile(r"(?<!`)<!-- = (.*?)\s-->", re.S)
PRINTED = "|".join(f"<!-- {begin}\\b.*?<!-- {end} -->" for begin, (end, _) in BLOCKS.items())
VERBATIM = re.compile(
    rf"^ *```.*?^ *```$|{PRINTED}|<!--(?! = ).*?-->"
    r"|`(?!-?[\d.,]+%?`)[^`]{1,400}`|!?\[[^\]\n]*\]\([^)\n]*\)|^#.*?$",
    re.S | re.M,
)
"""What is no prose: blocks and spans of code, links, tables that tests hold against what prints them, and headings."""
ITEM = re.compile(r"^ *(\d+)\. ", re.M)

KINDS: Mapping[str, str] = {
    "an exponent or a fraction of the theory": r"\bm\^\(?-?[\d/]+\)?|\b1/m(?:\^\d)?|\(1/2n\)|\bL/m\b|\bt\^\(?p ?[+-] ?\d\)?"
    r"|\bexponent above and up to -\d\b",
    "an order or a kernel of the hierarchy": r"\b[Oo]rders? \d(?:(?:, | and | to |, \d and )\d)*|\bK_?\d\b",
    "a version": r"\b(?:Python|torch|jax|jaxlib|neural-tangents|numpy|typst|threadpoolctl) \d+(?:\.\d+)+(?: and \d+(?:\.\d+)+)?"
    r"|\bNFS \d\b",
    "an exit code": r"\b[Ee]xit code (?:is )?\d\b|\bexits with \d\b",
    "a step of a list": r"\bsteps? \d(?: or \d)?\b",
    "the time that a person needs": r"\*You:\* \d+ minutes?(?:, and \d+ to read)?",
    "a place in a source": r"\b(?:Theorem|section|equation|eq\.|Figure|Table|Corollary) \(?\d+(?:\.\d+)*\)?",
    "a year": r"\b(?:Yau|[Cc]opyright) (?:19|20)\d\d\b",
    "the level of an interval": r"\b95% (?:bootstrap |percentile bootstrap )?intervals?|\bIntervals of 95%",
    "a name": r"\bCIFAR-10\b|\bSHA-256\b|\b64 bits\b",
    "the pixels of an image": r"\b\d+ x \d+ pixels\b",
    "a time at which a network is looked at": r"\bt = \d+\b",
}
"""What is no result, in words, and how it looks. Sizes are apart: they must be of a study."""
SIZE = re.compile(r"(?<![\d.,-])(\d[\d,]*)(?:(?: to | and | or )(\d[\d,]*))?(?=\s+(?:real\s+)?(?:units|images|channels)\b)")
WIDTH = re.compile(r"\bwidth\s+(\d[\d,]*)\b")
COUNTED = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve) (?:of|out of) (?:the )?"
    r"(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|them)\b"
)
"""Counts in words, `three of five`: they are results too, and are to be written in digits."""


@dataclass(frozen=True)
class Fault:
    """A number that is typed, or that is not what its source says."""

    document: str
    line: int
    text: str


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Start and text of each paragraph, list item and table row."""
    for found in re.finditer(r"(?:^(?!\s*$).*\n?)+", text, re.M):
        parts = re.split(r"(?m)^(?=\s*[-*] |\|)", found[0])
        start = found.start()
        for part in parts:
            if part.strip():
                yield start, part
            start += len(part)


def prose(text: str, sizes: frozenset[int]) -> str:
    """The text with all that is no result blanked, places kept."""
    for pattern in (VERBATIM, *(re.compile(kind.replace(" ", r"\s+")) for kind in KINDS.values())):
        text = pattern.sub(lambda found: _blank(found[0]), text)
    items = [0]

    def item(found: re.Match[str]) -> str:
        """Of a list the numbers go up by one: another number at the beginning of a line is a sentence's."""
        if int(found[1]) not in (1, items[-1] + 1):
            return found[0]
        items.append(int(found[1]))
        return _blank(found[0])

    text = ITEM.sub(item, text)

    def known(found: re.Match[str]) -> str:
        numbers = [int(number.replace(",", "")) for number in found.groups() if number]
        return _blank(found[0]) if set(numbers) <= sizes else found[0]

    return WIDTH.sub(known, SIZE.sub(known, text))


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def sections(text: str, sizes: frozenset[int]) -> Iterator[tuple[list[re.Match[str]], str | None, int]]:
    """Numbers that stand together, the expressions that account for them (None: nothing does), and where they begin."""
    plain = prose(text, sizes)
    markers = list(MARKER.finditer(text))
    hidden = MARKER.sub(lambda found: _blank(found[0]), plain)
    for start, block in blocks(text):
        place, end = start, start + len(block)
        for marker in [one for one in markers if start <= one.start() < end]:
            yield list(NUMBER.finditer(hidden, place, marker.start())), marker[1], place
            place = marker.end()
        if left := list(NUMBER.finditer(hidden, place, end)):
            yield left, None, place
        for words in COUNTED.finditer(hidden, start, end):
            yield [words], None, words.start()


def check(document: str, text: str, names: Mapping[str, Any], sizes: frozenset[int]) -> tuple[list[Fault], str]:
    """What is wrong in a document, and the document with what can be put right put right."""
    faults: list[Fault] = []
    edits: list[tuple[int, int, str]] = []
    for numbers, expression, place in sections(text, sizes):
        line = text.count("\n", 0, numbers[0].start() if numbers else place) + 1
        if expression is None:
            faults += [
                Fault(document, text.count("\n", 0, n.start()) + 1, f"{n[0]} is typed: nothing says where it comes from")
                for n in numbers
            ]
            continue
        try:
            values = _values(expression, names, len(numbers))
        except Exception as error:  # whatever an expression may do
            faults.append(Fault(document, line, f"{expression} cannot be computed: {type(error).__name__}: {error}"))
            continue
        if values is None:
            continue
        if len(values) != len(numbers):
            there = ", ".join(number[0] for number in numbers) or "no number"
            faults.append(
                Fault(document, line, f"{expression} gives {len(values)} numbers, the text has {len(numbers)}: {there}")
            )
            continue
        for number, value in zip(numbers, values, strict=True):
            if (right := written(value, number[0])) != number[0]:
                faults.append(
                    Fault(document, text.count("\n", 0, number.start()) + 1, f"{number[0]} is {value!r}: write {right}")
                )
                edits.append((number.start(), number.end(), right))
    for begin, end, right in sorted(edits, reverse=True):
        text = text[:begin] + right + text[end:]
    return faults, text


def _values(expression: str, names: Mapping[str, Any], count: int) -> list[float] | None:
    """Numbers of all expressions in turn; None where a test accounts for them."""
    found = eval(f"[{expression.replace(';', ',')}]", {"__builtins__": {}, **names})  # noqa: S307 (our own documents)
    if any(value is None for value in found):
        return None
    return [float(x) for value in found for x in (value if isinstance(value, Sequence) else [value])]


def written(value: float, like: str) -> str:
    """A number with the digits of another: `0.0155` like `2.0%` is `1.6%`."""
    share = "%" if like.endswith("%") else ""
    mantissa, _, exponent = like.removesuffix("%").replace(",", "").partition("e")
    scaled = value * (100 if share else 1) / 10.0 ** int(exponent or 0)
    digits = len(mantissa.partition(".")[2])
    text = printed.fixed(scaled, digits)
    if "," in like or abs(scaled) >= 10_000:
        text = f"{int(text):,}" if not digits else text
    return text + (f"e{exponent}" if exponent else "") + share


def main(*options: str) -> int:
    """Exit code 1 if any number is typed or not what its source says."""
    names, sizes = published.names(), published.sizes()
    wrong = 0
    for document in DOCUMENTS:
        faults, text = check(document, (ROOT / document).read_text(encoding="utf-8"), names, sizes)
        for fault in faults:
            print(f"{fault.document}:{fault.line}: {fault.text}")
        if "--write" in options:
            (ROOT / document).write_text(text, encoding="utf-8")
        wrong += len(faults)
    print(f"{wrong} numbers are typed or not what their sources say")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
