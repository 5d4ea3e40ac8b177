"""Documents printed from claims, licences and the published run: `docs/claims/`, captions of figures, blocks of `docs/*.md`.

A block stands between the lines `<!-- generated: NAME -->` and `<!-- /generated -->`; the text around it is written by hand.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Set
from functools import partial
from pathlib import Path

import pandas as pd

from ntkbench import backends, files, history, layout, tables
from ntkbench.catalogue import artifact, licences
from ntkbench.catalogue.claim import page
from ntkbench.catalogue.markdown import escaped, table
from ntkbench.claims import all_claims

BLOCKS: Mapping[str, Callable[[Path], str]] = {
    "run": artifact.run,
    "requirements": artifact.requirements,
    "times": artifact.times,
    "claims": artifact.claims,
    "studies": artifact.studies,
    "data files": lambda root: licences.of_files(),
    "data sources": lambda root: licences.of_sources(),
    "dependencies": licences.of_dependencies,
}
"""Name of a block -> what stands in it, from the checkout's root."""

INDEX = """# The claims

Written by `ntkbench catalogue --write`, as the pages are. Verdicts are those of the published run, counted in torch: one per
expectation and case. Reference ids of the pages, authors' initials and a number, name a statement of a source."""
LETTERS = "Letters without a panel are of panels that the study has no cases for."

_BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def documents(root: Path) -> dict[Path, str]:
    """Every document that is printed, with the text that it should have.

    Args:
        root: of a checkout.

    Raises:
        ValueError: for a block of an unknown name, or a dependency without a licence.
        RecordError: if a file of the published run is missing or damaged.
    """
    reference = root / artifact.REFERENCE
    verdicts, past = tables.read_table(reference / "verdicts.csv", "verdicts"), history.read(reference)
    folder = root / "docs" / "claims"
    found = {folder / f"{id_}.md": page(claim, verdicts, past) for id_, claim in all_claims().items()}
    found[folder / "README.md"] = _index(verdicts)
    found[reference / "figures" / "README.md"] = _captions(set(verdicts["claim"]))
    for file in sorted((root / "docs").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        if _BLOCK.search(text):
            found[file] = _BLOCK.sub(partial(_filled, file, root), text)
    return found


def write(root: Path) -> list[Path]:
    """Bring the documents up to date, and remove pages of claims that are no more.

    Returns:
        What was written or removed; nothing where all was as it should be.

    Raises:
        As `documents`; RecordError if a file cannot be written.
    """
    wanted = documents(root)
    changed = stale(root, wanted)
    for file in changed:
        if file in wanted:
            files.write_bytes(file, wanted[file].encode())
        else:
            file.unlink()
    return changed


def stale(root: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """The documents that are missing or differ from what they should be, and pages that should not be there."""
    differing = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    return differing + [file for file in sorted((root / "docs" / "claims").rglob("*.md")) if file not in wanted]


def _index(verdicts: pd.DataFrame) -> str:
    lines = []
    for id_, claim in all_claims().items():
        rows = verdicts[(verdicts["claim"] == id_) & (verdicts["backend"] == backends.BACKENDS[0])]
        counts = Counter(rows["verdict"])
        found = ", ".join(f"{counts[name]} {name}" for name in history.VERDICTS if counts[name]) or "not in the published study"
        lines.append([f"[{escaped(claim.title)}]({id_}.md)", f"`{id_}`", found, escaped(claim.statement)])
    return f"{INDEX}\n\n{table(['claim', 'id', 'published verdicts', 'statement'], lines)}\n"


def _captions(published: Set[str]) -> str:
    parts = ["# Figures of the published run\n\nFilled marks: torch; open squares: jax. " + LETTERS]
    for id_, claim in ((id_, claim) for id_, claim in all_claims().items() if id_ in published):
        caption = textwrap.fill(f"`{id_}`. {claim.caption}", 130, break_on_hyphens=False)
        parts.append(f"## [{claim.title}]({layout.figure(id_)}.svg)\n\n{caption}")
    return "\n\n".join(parts) + "\n"


def _filled(file: Path, root: Path, block: re.Match[str]) -> str:
    if block[2] not in BLOCKS:
        raise ValueError(f"{file}: no block is called {block[2]!r}; known: {', '.join(BLOCKS)}")
    return f"{block[1]}{BLOCKS[block[2]](root)}\n{block[3]}"
