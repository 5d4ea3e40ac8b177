"""From a study's tables to the paper: generated JSON in, PDF out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typst

from ntkbench import bibliography, citation, claims, files, tables
from ntkbench.claims import Case
from ntkbench.report import numbers
from ntkbench.report.costs import scaling_entries


class PaperError(Exception):
    """The paper does not compile, or compiles with warnings; the message is typst's."""


def build(study_dir: Path, output: Path, *, cases: Mapping[str, Mapping[str, Case]], timed: bool = False) -> None:
    """Writes `generated/*.json`, the bibliography and the PDF into the paper's folder; equal inputs give equal bytes.

    Args:
        study_dir: `results/<study>` with verdicts.csv, crosscheck.csv, environment.json and quantities/<claim>.csv.
        output: the PDF; its folder holds a .typ of the same name, claims/<family>.typ (an introduction to the
            claims of a family, where there is one) and figures/<family>-<name>.svg of each claim.
        cases: the study's cases, claim id -> case name -> case.
        timed: whether the study has scaling curves: performance.csv and scaling.csv, and figures/scaling.svg.

    Raises:
        RecordError: if a table is missing or damaged, or the output cannot be written.
        PaperError: if typst reports an error or a warning.
    """
    for name, content in generate(study_dir, output.parent, cases, timed).items():
        files.write_json(output.parent / "generated" / f"{name}.json", content)
    # typst reads nothing from outside of the paper's folder.
    files.write_bytes(output.parent / "generated" / bibliography.FILE.name, bibliography.FILE.read_bytes())
    files.write_bytes(output, render(output.with_suffix(".typ")))


def generate(study_dir: Path, folder: Path, cases: Mapping[str, Mapping[str, Case]], timed: bool = False) -> dict[str, Any]:
    """What `folder/generated/<name>.json` holds, by name: all that the paper prints, and which introductions it has."""
    generated = collect(study_dir, cases, timed)
    generated["study"]["prose"] = sorted(file.stem for file in (folder / "claims").glob("*.typ"))
    return generated


def collect(study_dir: Path, cases: Mapping[str, Mapping[str, Case]], timed: bool = False) -> dict[str, Any]:
    """`study`, `claims`, `example` and `scaling` (None if not `timed`): all that the paper prints and that somebody measured.

    Raises:
        RecordError: if a table is missing or damaged.
        ValueError: if the study has no cases of any claim.
    """
    found = of_tables(study_dir, cases, timed)
    first = claims.get(found["claims"][0]["id"])
    quantities = tables.read_table(study_dir / "quantities" / f"{first.id}.csv", "quantities")
    verdicts = tables.read_table(study_dir / "verdicts.csv", "verdicts")
    return found | {"example": numbers.example(first, cases[first.id], quantities, verdicts)}


def of_tables(study_dir: Path, cases: Mapping[str, Mapping[str, Case]], timed: bool = False) -> dict[str, Any]:
    """`study`, `claims` and `scaling`: what the tables alone say, which a published run keeps. Raises as `collect`."""
    if not cases:
        raise ValueError(f"{study_dir.name} has no cases of any claim: there is nothing to print")
    verdicts = tables.read_table(study_dir / "verdicts.csv", "verdicts")
    crosscheck = tables.read_table(study_dir / "crosscheck.csv", "crosscheck")
    facts = files.read_json(study_dir / "environment.json")
    # Within a family as the study's file has them: its author's order of telling.
    place = {family: k for k, family in enumerate(claims.FAMILIES)}
    chosen = [claims.get(id_) for id_ in sorted(cases, key=lambda id_: place.get(id_.partition("/")[0], len(place)))]
    entries = [numbers.claim_entry(claim, cases[claim.id], verdicts, crosscheck) for claim in chosen]
    return {
        "study": numbers.study_entry(entries, crosscheck, facts) | {"read": _read(chosen)},
        "claims": entries,
        "scaling": scaling_entries(study_dir) if timed else None,
    }


def _read(chosen: Iterable[claims.Claim]) -> list[dict[str, Any]]:
    """What of the claims' sources was at hand, and the keys of those of which it was."""
    found: dict[str | None, list[str]] = {}
    for key in dict.fromkeys(key for claim in chosen for key in citation.keys_of_claim(claim)):
        found.setdefault(bibliography.entries()[key].read, []).append(key)
    return [{"text": text, "keys": keys} for text, keys in found.items()]


def render(source: Path) -> bytes:
    """The PDF of a typst source whose folder holds all that it reads; fonts are typst's own, the time stamp is fixed.

    Raises:
        PaperError: if typst reports an error or a warning (a missing font is only a warning, and changes every line).
    """
    try:
        pdf, warnings = typst.compile_with_warnings(
            str(source), root=str(source.parent), ignore_system_fonts=True, format="pdf", timestamp=0
        )
    except typst.TypstError as error:
        raise PaperError(f"{source} does not compile: {error.diagnostic}") from error
    if warnings:
        raise PaperError(f"{source} compiles with warnings: {'; '.join(warning.diagnostic for warning in warnings)}")
    return bytes(pdf)
