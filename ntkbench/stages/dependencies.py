"""Which code each stage runs: the workflow names these files as inputs, and results carry their hash."""

from functools import cache
from pathlib import Path

from ntkbench.provenance import ROOT, code_files, code_hash

ENTRY = {
    "inputs": "ntkbench.stages.prepare",
    "measure": "ntkbench.stages.measure",
    "crosscheck": "ntkbench.stages.crosscheck",
    "analyse": "ntkbench.stages.analyse",
    "collect": "ntkbench.stages.collect",
    "performance": "ntkbench.stages.performance",
    "scaling": "ntkbench.stages.scaling",
    "figures": "ntkbench.figures",
    "paper": "ntkbench.report.paper",
}


@cache
def stage_code(stage: str, claim: str | None = None, backend: str | None = None, root: Path = ROOT) -> tuple[Path, ...]:
    """The files that a stage runs, for one claim and one backend where it has them.

    Args:
        stage: a key of `ENTRY`.
        claim: `<family>/<name>`.
        backend: `torch` or `jax`.
        root: the folder that holds the package.
    """
    modules = [ENTRY[stage]]
    if claim is not None:
        modules.append("ntkbench.claims." + claim.replace("/", "."))
    if backend is not None:
        modules.append(f"ntkbench.backends.{backend}")
        if stage == "performance":
            modules.append(f"ntkbench.backends.{backend}.naive")
    return code_files(*modules, root=root)


@cache
def stage_hash(stage: str, claim: str | None = None, backend: str | None = None) -> str:
    """The hash of `stage_code` as the files are when this process first asks; a later change does not alter it."""
    return code_hash(stage_code(stage, claim, backend))
