"""The papers that claims and methods rest on: `references.bib`, as BibTeX and in words."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("references.bib")
ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303", "v": "\u030c"}
"""LaTeX's commands for accents, and the characters that Unicode combines with a letter."""
LETTERS = {r"{\o}": "ø", r"\&": "&", "--": "–"}
"""What else the file has of LaTeX."""


@dataclass(frozen=True)
class Entry:
    """One entry of a bibliography.

    Attributes:
        kind: `article`, `inproceedings`, ...
        key: by which it is cited.
        fields: by name, LaTeX's accents and braces included.
    """

    kind: str
    key: str
    fields: Mapping[str, str]

    @property
    def read(self) -> str | None:
        """What of a source was at hand when claims were written from it, the field `annote`; None where none is."""
        return self.fields.get("annote")

    def bibtex(self) -> str:
        """As BibTeX, without what is said of our reading."""
        told = (f"  {name} = {{{value}}}," for name, value in self.fields.items() if name != "annote")
        return "\n".join([f"@{self.kind}{{{self.key},", *told, "}"])

    def text(self) -> str:
        """In words: authors, title, place and year, without LaTeX."""
        given = {name: plain(value) for name, value in self.fields.items()}
        *others, last = [" ".join(reversed(name.split(", ", 1))) for name in given["author"].split(" and ")]
        authors = f"{', '.join(others)} and {last}" if others else last
        venue = given.get("journal") or given.get("booktitle")
        volume = given.get("volume", "") + (f"({given['number']})" if "number" in given else "")
        # A volume counts the series where the proceedings are part of one.
        numbered = [venue, f"{given['series']} {volume}"] if "series" in given else [f"{venue or ''} {volume}".strip()]
        rest = [given.get(name) for name in ("publisher", "institution", "pages", "year")]
        rest += [f"arXiv:{given['eprint']}" if "eprint" in given else None]
        rest += [f"doi:{given['doi']}" if "doi" in given else None, given.get("url")]
        title = given["title"] + ("" if given["title"].endswith("?") else ".")
        return f"{authors}. {title} {', '.join(filter(None, [*numbered, *rest]))}."


def plain(text: str) -> str:
    """LaTeX's accents, letters and braces as Unicode."""
    for command, letter in LETTERS.items():
        text = text.replace(command, letter)

    def combined(found: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", found[2] + ACCENTS[found[1]])

    return re.sub(r"[{}]", "", re.sub(r"\\(['`\"^~v])\{?(\w)\}?", combined, text))


@cache
def entries(file: Path = FILE) -> dict[str, Entry]:
    """Every entry by key, in the order of the file: a field a line, `name = {value},`, and a line `}` after the last.

    Raises:
        ValueError: naming the line that is none of that, or a key that comes twice.
    """
    found: dict[str, Entry] = {}
    fields: dict[str, str] = {}
    inside = False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if begin := re.fullmatch(r"@(\w+)\{(\w+),", line):
            if inside or begin[2] in found:
                raise ValueError(f"{file}:{number}: an entry begins within another, or its key comes twice: {line}")
            fields, inside = {}, True
            found[begin[2]] = Entry(begin[1], begin[2], fields)
        elif inside and (field := re.fullmatch(r" +(\w+) *= \{(.*)\},", line)) and field[2].count("{") == field[2].count("}"):
            fields[field[1]] = field[2]
        elif line == "}" and inside:
            inside = False
        elif line or inside:
            raise ValueError(f"{file}:{number}: neither an entry's beginning, a field `name = {{value}},` nor its end: {line}")
    return found
