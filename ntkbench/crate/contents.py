"""What a crate holds: the files of the workflow and of the run, with their places in it, and what each is in a sentence."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ntkbench import files, layout, tables
from ntkbench.provenance import ROOT
from ntkbench.trace.run import Run

WORKFLOW = "Snakefile"
CODE = {
    "workflow": "Rules, scripts and studies of the workflow.",
    "ntkbench": "The package that the workflow runs.",
    "profiles": "Settings of Snakemake.",
    "requirements": "The pinned environments.",
}
ALONE = {
    "CITATION.cff": ("How to cite the software.", "application/yaml"),
    "LICENSE": ("The licence of the code.", "text/plain"),
    "Makefile": ("Installs the pinned environment and runs the workflow.", "text/x-makefile"),
    "README.md": ("What the suite is and how it is used.", "text/markdown"),
    "environment.yml": ("The environment for conda.", "application/yaml"),
    "pyproject.toml": ("The package and what it needs.", "application/toml"),
}
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".npz": "application/zip",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}
RESULTS = {
    "tables": "Verdicts, cross-check, timings and environment of the whole study.",
    "quantities": "One scalar per seed of every quantity of a claim.",
    "judgements": "The verdicts of one claim.",
    "crosscheck": "torch against jax for one case, observable by observable.",
    "measurements": "Every observable of every seed of one case in one backend, with its provenance inside.",
    "inputs": "The data of one case, drawn from the study's seed.",
    "performance": "Seconds and memory of one backend against size.",
    "figures": "A figure of the paper.",
    "paper": "The paper, and the numbers that it prints.",
}
"""What a run leaves, by the folder that it lies in."""


def workflow_files() -> Iterator[tuple[Path, str]]:
    """The files of the workflow and of the code that it runs."""
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file, file.relative_to(ROOT).as_posix()
    yield from ((ROOT / name, name) for name in (WORKFLOW, *ALONE))


def study(run: Run) -> str:
    """Where the study's file is."""
    return f"workflow/config/{run.study.name}.yaml"


def results(run: Run) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Place in the crate -> the file, and which kind of result it is."""
    for file in sorted(path for path in run.folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        inside = file.relative_to(run.folder)
        kind = inside.parts[0] if len(inside.parts) > 1 else "paper" if file.suffix == ".pdf" else "tables"
        if kind in RESULTS and file.suffix in FORMATS:
            yield f"results/{run.study.name}/{inside.as_posix()}", (file, kind)
    if run.paper is not None:
        yield "paper/main.pdf", (run.paper / "main.pdf", "paper")
        for file in sorted((run.paper / "generated").glob("*.json")):
            yield f"paper/generated/{file.name}", (file, "paper")
        # Pictures of another study may lie beside this one's.
        names = [*["scaling"] * run.timed, *map(layout.figure, run.study.cases)]
        for file in (run.paper / "figures" / f"{name}{suffix}" for name in names for suffix in (".svg", ".png")):
            if file.is_file():
                yield f"paper/figures/{file.name}", (file, "figures")


def refuse_other(found: Mapping[str, tuple[Path, str]]) -> None:
    """What is described with a hash is a result: no link, the bytes that its note says, a table that can be read.

    Args:
        found: place in the crate -> the file, and which kind of result it is.

    Raises:
        ValueError: for a link.
        RecordError: for a file that is damaged.
    """
    for file, kind in found.values():
        if file.is_symlink():
            raise ValueError(f"{file} is a link: put the file in its place, or take it away")
        if file.suffix != ".npz":
            files.read_whole(file)
        name = file.stem if kind == "tables" else {"judgements": "verdicts"}.get(kind, kind)
        if file.suffix == ".csv" and name in tables.COLUMNS:
            tables.read_rows(file, name)


def put(source: Path, target: Path) -> None:
    """Copies a file; a record is linked where the file system can: they are gigabytes, and nothing changes one in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.suffix == ".npz":
            os.link(source.resolve(), target)
            return
    except OSError:  # another file system, or one without links
        pass
    shutil.copyfile(source, target)
