"""A step of a trace, and the two last ones before a reader's eyes: the generated numbers and the PDF."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ntkbench.files import RecordError, read_whole
from ntkbench.publish import FILES
from ntkbench.report import paper
from ntkbench.trace import as_published
from ntkbench.trace.again import Finding
from ntkbench.trace.run import Run
from ntkbench.units import counted

Status = Literal["ok", "changed", "not kept", "not checked", "broken"]


@dataclass(frozen=True)
class Link:
    """One step of a trace.

    Attributes:
        name: what it is: `paper`, `figures`, `tables`, `numbers`, `verdicts`, `judgements`, `quantities`, `cross-check`,
            `measurement`, `inputs`, `settings`, `code`, `machine`, `again`.
        status: `ok`; `changed` since, which breaks nothing; `not kept` in this folder; `not checked`, because something that
            it is made of is broken; `broken`.
        text: the file, and what was found.
    """

    name: str
    status: Status
    text: str


def judged(name: str, path: Path, found: Finding, upstream: Iterable[Link]) -> Link:
    """A file that differs from what its sources give is broken itself only if they are not."""
    if found.kind == "same":
        return Link(name, "ok", f"{path}: {found.text}")
    suspect = any(link.status in ("broken", "not checked") for link in upstream)
    if found.kind == "differs" and suspect:
        return Link(name, "not checked", f"{path}: what it is made of is broken")
    return Link(name, "broken", f"{path}: {found.text}")


def records_besides(count: int, case: str | None) -> str:
    """How many records of a claim a link speaks of together: of all its cases, or of those besides one that is shown."""
    whose = "all the claim's cases" if case is None else f"the claim's cases besides {case}"
    return f"{counted(count, 'record')} of {whose}, controls among them"


def of_paper(run: Run, names: Sequence[str], upstream: Sequence[Link]) -> list[Link]:
    """The PDF and the generated numbers of these names; of a published run all files, by the hashes published with them."""
    published = run.folder / "paper.pdf"
    if run.paper is None:
        where = f"{published}; the numbers it was set from are" if published.is_file() else "the paper of this run is"
        return [Link("paper", "not kept", f"{where} not kept here"), *_as_published(run)]
    numbers = [judged("numbers", path, found, upstream) for path, found in _generated(run, names)]
    pdf = run.paper / "main.pdf"
    try:
        same = paper.render(run.paper / "main.typ") == pdf.read_bytes()
        found = Finding.of(same, "set again, byte for byte", "set again it has other bytes")
    except (paper.PaperError, OSError) as error:
        found = Finding("differs", str(error))
    return [judged("paper", pdf, found, [*numbers, *upstream]), *numbers, *_changed_figures(run.paper)]


def _as_published(run: Run) -> Iterator[Link]:
    """A link for each file of a published run that is another one since, or one for all."""
    if run.keeps_measurements:
        return
    path = run.folder / FILES
    try:
        hashes = as_published.listed(run.folder)
    except RecordError as error:
        yield Link("tables", "broken", str(error))
        return
    if hashes is None:
        told = f"{run.folder} was published before {FILES} was, which has the hashes of tables, figures and PDF"
        yield Link("figures", "not kept", told)
        return
    broken = [Link(_kind(name), "broken", told) for name, told in as_published.faults(run.folder, run.study, hashes)]
    yield from broken
    if not broken:
        told = f"{path}: {counted(len(hashes), 'file')} verified, paper and tables among them"
        yield Link("figures", "ok", told)


def _kind(name: str) -> str:
    """Which link a published file belongs to."""
    if name.endswith(".pdf"):
        return "paper"
    return "figures" if name.startswith("figures/") else "tables"


def _changed_figures(folder: Path) -> Iterator[Link]:
    """Pictures that are not those that their notes speak of; the PDF is set from whatever lies there."""
    for path in sorted((folder / "figures").glob("*.svg")):
        try:
            read_whole(path)
        except RecordError as error:
            yield Link("figures", "broken", str(error))


def _generated(run: Run, names: Sequence[str]) -> Iterable[tuple[Path, Finding]]:
    for name in names:
        path = (run.paper or Path()) / "generated" / f"{name}.json"
        try:
            text = json.dumps(run.content[name], indent=2, sort_keys=True, allow_nan=False) + "\n"
            same = path.read_text(encoding="utf-8") == text
        except (RecordError, OSError, UnicodeDecodeError) as error:
            yield path, Finding("differs", str(error))
        else:
            yield path, Finding.of(same, "made again of the tables, byte for byte", "it is not what the tables give")
